//! The live tail: requests and guests' lines while they come, as server-sent events.
//!
//! It needs no store, so `eyot dev` has it, too.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{FromRef, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream;
use serde::Serialize;
use tokio::time::{Instant, Interval, interval_at};
use utoipa::{IntoParams, OpenApi as _};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::{Access, Caller};
use super::extract::Query;
use super::problem::{Problem, Refused};
use crate::auth::operator::Grant;
use crate::observe::tail::{Sample, Statuses, Tail, Wanted};
use crate::observe::{NoTail, Tails, Told};
use crate::store::Scope;

/// A quiet tail says that it is there, to whoever stands between.
const QUIET: Duration = Duration::from_secs(15);

/// So often it is looked whether the token still holds.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// A filter has so many values at most, each with so many bytes: all of them are asked on each request.
const MOST_VALUES: usize = 32;
const LONGEST_VALUE: usize = 1024;

/// What the handler works with.
#[derive(Clone)]
pub(super) struct Watching {
    pub(super) tails: Tails,
    pub(super) access: Access,
}

impl FromRef<Watching> for Access {
    fn from_ref(watching: &Watching) -> Self {
        watching.access.clone()
    }
}

pub(super) fn paths() -> OpenApiRouter<Watching> {
    OpenApiRouter::with_openapi(super::Description::openapi()).routes(routes!(follow))
}

/// What one wants to see. Of several values of a filter one has to fit, of several filters all.
#[derive(Default, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filters {
    /// Names of workers; `*` stands for any number of characters. Without one: all that the token covers, and for a token that covers
    /// `*` also what led to no worker.
    worker: Vec<String>,
    /// `404`, or `5xx` for a class.
    status: Vec<String>,
    /// Methods.
    method: Vec<String>,
    /// `NAME:VALUE`: a field that the client sent. Of several of them all have to fit.
    header: Vec<String>,
    /// What the path or the line contains.
    search: Option<String>,
    /// A part of all requests, each with its lines: a number from 0 to 1.
    #[param(minimum = 0, maximum = 1)]
    sample: Option<f64>,
}

/// Follows requests and lines while they come. Event `request` is a line of the access log; `log` is a line that a guest wrote, which
/// comes only where no status, method or header is asked for; `dropped` says how many were left out, because you read too slowly; `end`
/// is the last one, and says why. The data of each is a JSON object.
#[utoipa::path(
    get, path = "/v1/tail", tag = "tail", operation_id = "follow", params(Filters),
    responses(
        (status = 200, body = String, content_type = "text/event-stream", description = "Events, until either side ends them."),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "There are too many tails."),
        Refused
    )
)]
pub(super) async fn follow(
    State(watching): State<Watching>,
    caller: Caller,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<impl IntoResponse, Problem> {
    caller.may(Scope::Read)?;
    let wanted = Filters::read(query)?.wanted(caller.grant().cloned())?;
    let tail = watching.tails.open(wanted)?;
    tracing::info!(who = caller.who(), "a tail begins");
    let look_again = interval_at(Instant::now() + LOOK_AGAIN, LOOK_AGAIN);
    let following = Following { tail, access: watching.access, headers, look_again, ended: false };
    let events = stream::unfold(following, |mut following| async move {
        let event = following.next().await?;
        Some((Ok::<_, Infallible>(event), following))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(QUIET)))
}

/// One who follows.
struct Following {
    tail: Tail,
    access: Access,
    /// Those of the request: its token is among them.
    headers: HeaderMap,
    look_again: Interval,
    ended: bool,
}

#[derive(Serialize)]
struct Dropped {
    events: u64,
}

#[derive(Serialize)]
struct End {
    why: String,
}

impl Following {
    async fn next(&mut self) -> Option<Event> {
        while !self.ended {
            let told = tokio::select! {
                biased;
                _ = self.look_again.tick() => match Caller::find(&self.access, &self.headers).await {
                    Ok(_) => continue,
                    Err(problem) => return Some(self.end(problem.detail)),
                },
                told = self.tail.next() => told,
            };
            return Some(match told {
                Some(Told::Request(json)) => Event::default().event("request").data(json),
                Some(Told::Line(json)) => Event::default().event("log").data(json),
                Some(Told::Dropped(events)) => json("dropped", &Dropped { events }),
                None => self.end(NoTail::Ended.to_string()),
            });
        }
        None
    }

    fn end(&mut self, why: String) -> Event {
        self.ended = true;
        json("end", &End { why })
    }
}

fn json(name: &str, data: &impl Serialize) -> Event {
    // What has only strings and numbers can be written.
    Event::default().event(name).json_data(data).unwrap_or_default()
}

impl Filters {
    fn read(query: Vec<(String, String)>) -> Result<Self, Problem> {
        let mut read = Self::default();
        for (name, value) in query {
            if value.is_empty() || value.len() > LONGEST_VALUE {
                return Err(Problem::bad(format!("`{name}` has 1 to {LONGEST_VALUE} bytes")));
            }
            let twice = || Problem::bad(format!("`{name}` can be given once"));
            let values = match &*name {
                "worker" => &mut read.worker,
                "status" => &mut read.status,
                "method" => &mut read.method,
                "header" => &mut read.header,
                "search" => match read.search.replace(value) {
                    None => continue,
                    Some(_) => return Err(twice()),
                },
                "sample" => {
                    let rate = value.parse().map_err(|_| Problem::bad("`sample` is a number from 0 to 1"))?;
                    match read.sample.replace(rate) {
                        None => continue,
                        Some(_) => return Err(twice()),
                    }
                }
                _ => return Err(Problem::bad(format!("{name:?} is no filter; /openapi.json lists what there is"))),
            };
            if values.len() == MOST_VALUES {
                return Err(Problem::bad(format!("`{name}` has {MOST_VALUES} values at most")));
            }
            values.push(value);
        }
        Ok(read)
    }

    /// As it is asked on the cores. Nobody sees what `grant` does not cover.
    fn wanted(self, grant: Option<Grant>) -> Result<Wanted, Problem> {
        let of = |name: &'static str| move |error: &dyn std::fmt::Display| Problem::bad(format!("`{name}`: {error}"));
        let asked = match self.worker.is_empty() {
            true => None,
            false => Some(Grant::parse(Scope::Read, &self.worker, &[""; 0]).map_err(|error| of("worker")(&error))?),
        };
        let may = move |worker: Option<&str>| match worker {
            Some(name) => [&grant, &asked].into_iter().flatten().all(|globs| globs.covers_worker(name)),
            None => asked.is_none() && grant.as_ref().is_none_or(Grant::covers_all_workers),
        };
        let statuses = self.status.iter().map(|status| Statuses::parse(status));
        let methods = self.method.iter().map(|method| Method::from_bytes(method.as_bytes()));
        Ok(Wanted {
            workers: Box::new(may),
            statuses: statuses.collect::<Result<_, _>>().map_err(|error| of("status")(&error))?,
            methods: methods.collect::<Result<_, _>>().map_err(|error| of("method")(&error))?,
            headers: self.header.iter().map(|field| header(field)).collect::<Result<_, _>>()?,
            search: self.search,
            sample: self.sample.map_or(Ok(Sample::ALL), Sample::of).map_err(|error| of("sample")(&error))?,
        })
    }
}

fn header(field: &str) -> Result<(HeaderName, HeaderValue), Problem> {
    let parsed = field.split_once(':').and_then(|(name, value)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value.trim()).ok()?))
    });
    parsed.ok_or_else(|| Problem::bad(format!("`header`: {field:?} is no field; write NAME:VALUE")))
}

impl From<NoTail> for Problem {
    fn from(error: NoTail) -> Self {
        match error {
            NoTail::TooMany => Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_tails", error.to_string()),
            NoTail::Ended => Self::new(StatusCode::SERVICE_UNAVAILABLE, "ending", error.to_string()),
        }
    }
}
