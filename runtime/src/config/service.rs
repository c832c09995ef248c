//! `[[service]]` of eyot.toml: another worker that a worker calls; and `callers`, the workers that may call it.

use std::time::Duration;

use toml::Spanned;

use super::form;
use super::reader::{Key, Table, Wrong, key};
use super::units;

/// Another worker that a worker calls, at `http://NAME.worker.internal/`.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name.
    pub worker: String,
    /// How long each call may take to the head of its answer. `None`: as long as the caller itself has.
    pub timeout: Option<Duration>,
    /// How often a call is made again that failed, if its method is idempotent (RFC 9110 §9.2.2) and it has no content.
    pub retries: u32,
    /// So many calls are made again for each that is made, 0 to 1.
    pub retry_budget: f32,
    /// The share of calls, 0 to 1, that fail before none is made for a while. `None`: each call is made.
    pub breaker: Option<f32>,
    /// Of so many calls.
    pub breaker_calls: u32,
    /// For how long none is made.
    pub breaker_wait: Duration,
}

const WORKER: Key = key("worker", "the name of a worker", "\"prices\"");
const TIMEOUT: Key = key("timeout", "a time", "\"500ms\"");
const RETRIES: Key = key("retries", "a number of calls", "2");
const BUDGET: Key = key("retry_budget", "a share of all calls", "\"20%\"");
const BREAKER: Key = key("breaker", "a share of calls that fail", "\"50%\"");
const CALLS: Key = key("breaker_calls", "a number of calls", "20");
const WAIT: Key = key("breaker_wait", "a time", "\"5s\"");
const CALLERS: Key = key("callers", "a list of names of workers", "[\"storefront\"]");

/// Further calls of one that failed five times make it no better.
const MOST_RETRIES: u32 = 5;
/// What is counted is kept, a bit for each.
const MOST_CALLS: u32 = 1000;
const LONGEST: Duration = Duration::from_secs(600);

impl Service {
    /// One of this name that says nothing else: a call is made once, and whatever it comes to is the answer.
    #[must_use]
    pub fn of(worker: impl Into<String>) -> Self {
        Self {
            worker: worker.into(),
            timeout: None,
            retries: 0,
            retry_budget: 0.2,
            breaker: None,
            breaker_calls: 20,
            breaker_wait: Duration::from_secs(5),
        }
    }
}

/// All workers that the worker of this name calls, each once.
pub(super) fn read_services(root: &Table<'_>, own: &str) -> Vec<Service> {
    let mut services: Vec<Service> = Vec::new();
    for table in root.tables("service") {
        let Some((place, service)) = read_service(&table) else { continue };
        if services.iter().any(|other| other.worker == service.worker) {
            let message = format!("there are two [[service]] with worker = `{}`", service.worker);
            table.source.fault(place, message, "remove one of the two");
        } else if service.worker == own {
            table.source.fault(place, "a worker is no service of its own", "call the function itself");
        } else {
            services.push(service);
        }
    }
    services
}

fn read_service(table: &Table<'_>) -> Option<(std::ops::Range<usize>, Service)> {
    let worker = table.required_with(WORKER, form::name);
    let timeout = table.optional_with(TIMEOUT, time);
    let retries = table.count(RETRIES, 0..=MOST_RETRIES);
    let budget = table.optional_with(BUDGET, form::share);
    let breaker = table.optional_with(BREAKER, form::share);
    let calls = table.count(CALLS, 1..=MOST_CALLS);
    let wait = table.optional_with(WAIT, time);
    let worker = worker?;
    for (key, needs, is_alone) in [
        (BUDGET, "retries", budget.is_some() && retries.is_none_or(|retries| retries == 0)),
        (CALLS, "breaker", calls.is_some() && breaker.is_none()),
        (WAIT, "breaker", wait.is_some() && breaker.is_none()),
    ] {
        if let Some(value) = table.value(key.name).filter(|_| is_alone) {
            let message = format!("`{}` says nothing without `{needs}`", key.name);
            table.source.fault(value.span(), message, format!("write `{needs}`, too, or leave it out"));
        }
    }
    let default = Service::of(worker.get_ref().clone());
    let service = Service {
        timeout: timeout.map(Spanned::into_inner),
        retries: retries.unwrap_or(default.retries),
        retry_budget: budget.map_or(default.retry_budget, share),
        breaker: breaker.map(share),
        breaker_calls: calls.unwrap_or(default.breaker_calls),
        breaker_wait: wait.map_or(default.breaker_wait, Spanned::into_inner),
        ..default
    };
    Some((worker.span(), service))
}

/// The workers that may call this one, each once.
pub(super) fn read_callers(root: &Table<'_>) -> Vec<String> {
    root.list_once(CALLERS, form::name)
}

/// Crates of others count in single precision.
#[expect(clippy::cast_possible_truncation, reason = "it is a number of percent")]
fn share(share: Spanned<f64>) -> f32 {
    share.into_inner() as f32
}

fn time(text: &str) -> Result<Duration, Wrong> {
    match units::positive_time(text)? {
        time if time <= LONGEST => Ok(time),
        _ => Err(Wrong::new("it is 10 minutes at most", "write, for example, \"500ms\"")),
    }
}
