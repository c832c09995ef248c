//! One request on one pool: its times, its one retry, and what went wrong.

use std::error::Error;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Error as ClientError;
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, capture_connection};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::connect::History;
use super::download::Download;
use super::pool::Pool;
use super::upload::{Handle, Progress, Sender, Upload};
use super::{Timeouts, headers};
use crate::failure::{Failure, Wait};
use crate::http::{Body, Permit, strip_hop_by_hop, strip_ours};

/// How many interim responses one request may get. Few servers send more than one (RFC 9110 §15.2).
const MOST_INTERIM: usize = 16;

/// What is sent, and for whom.
pub(super) struct Outgoing {
    pub(super) head: Head,
    pub(super) body: Body,
    pub(super) sender: Sender,
    /// Held until the response body is over.
    pub(super) permit: Option<Permit>,
}

/// The head of a request. Host is among the headers; the target has scheme and authority.
#[derive(Clone)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) target: Uri,
    pub(super) headers: HeaderMap,
}

/// Sends a request and waits for the head of its response.
pub(super) async fn send(pool: &Pool, outgoing: Outgoing, times: Timeouts) -> Result<Response<Body>, Failure> {
    let Outgoing { mut head, body, sender, permit } = outgoing;
    let expect = head.headers.contains_key(header::EXPECT);
    let upload = Upload::new(body, sender, expect);
    let length = upload.as_ref().map_or(Some(0), |(body, _)| body.size_hint().exact());
    headers::set_framing(&mut head.headers, &head.method, length);
    let Some((body, handle)) = upload else {
        head.headers.remove(header::EXPECT);
        return send_without_body(pool, head, times, permit).await;
    };
    let Handle { progress, stop, proceed } = handle;
    match attempt(pool, head.request(Body::boxed(body)), times, proceed, Some(&progress)).await {
        Ok(response) => Ok(finish(response, times.idle, Some((progress, stop)), permit)),
        Err(broken) => {
            let own = progress.failure().or_else(|| broken.short.then(|| sender.broke_off("it was too short")));
            Err(own.unwrap_or(broken.failure))
        }
    }
}

/// A request without a body may be sent again, once, when it is idempotent (RFC 9110 §9.2.2) and went out on a connection that had
/// served before and closed without one byte in answer: the origin closed it while it was idle, and has not seen the request.
async fn send_without_body(
    pool: &Pool,
    head: Head,
    times: Timeouts,
    permit: Option<Permit>,
) -> Result<Response<Body>, Failure> {
    let mut answer = attempt(pool, head.clone().request(Body::empty()), times, None, None).await;
    if matches!(&answer, Err(broken) if broken.unseen && head.method.is_idempotent()) {
        answer = attempt(pool, head.request(Body::empty()), times, None, None).await;
    }
    match answer {
        Ok(response) => Ok(finish(response, times.idle, None, permit)),
        Err(broken) => Err(broken.failure),
    }
}

impl Head {
    fn request(self, body: Body) -> http::Request<Body> {
        let mut request = http::Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.target;
        *request.headers_mut() = self.headers;
        request
    }
}

/// Why an attempt gave no response.
struct Broken {
    failure: Failure,
    /// The origin has not begun with the request.
    unseen: bool,
    /// The request body ended before the length that it had declared.
    short: bool,
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self { failure, unseen: false, short: false }
    }
}

/// Interim responses, counted.
#[derive(Default)]
struct Interim {
    count: AtomicUsize,
    too_many: Notify,
}

async fn attempt(
    pool: &Pool,
    mut request: http::Request<Body>,
    times: Timeouts,
    proceed: Option<oneshot::Sender<()>>,
    upload: Option<&Progress>,
) -> Result<Response<Incoming>, Broken> {
    let mut captured = capture_connection(&mut request);
    let interim = watch_interim(&mut request, proceed);
    let mut response = pin!(pool.request(request));
    let connected = timeout(times.connect, connected(&mut captured, response.as_mut())).await;
    let Ok(answer) = connected else {
        return Err(Failure::OriginTimeout { wait: Wait::Connection, limit: times.connect }.into());
    };
    let history = captured.connection_metadata().as_ref().and_then(history);
    let reused = history.as_ref().is_some_and(History::begin);
    let before = history.as_ref().map_or(0, History::reads);
    let answer = match answer {
        Some(answer) => answer,
        None => {
            let flood = interim.too_many.notified();
            tokio::select! {
                biased;
                // First, because all of them may be here together with the answer.
                () = flood => return Err(too_many_interim()),
                answer = response => answer,
                () = too_late(times.first_byte, upload) => {
                    return Err(Failure::OriginTimeout { wait: Wait::Head, limit: times.first_byte }.into());
                }
            }
        }
    };
    if interim.count.load(Ordering::Relaxed) > MOST_INTERIM {
        return Err(too_many_interim());
    }
    let response = answer.map_err(|error| {
        let silent = history.as_ref().is_some_and(|history| history.reads() == before);
        broken(&error, reused, silent)
    })?;
    if let Some(why) = unacceptable(&response) {
        if let Some(connection) = captured.connection_metadata().as_ref() {
            connection.poison();
        }
        return Err(Failure::OriginInvalid(why.to_owned()).into());
    }
    Ok(response)
}

fn too_many_interim() -> Broken {
    Failure::OriginInvalid("too many interim responses".to_owned()).into()
}

/// Waits until the request has a connection; the answer, if it came to that first.
async fn connected<F: Future>(captured: &mut CaptureConnection, response: Pin<&mut F>) -> Option<F::Output> {
    let captured = async {
        drop(captured.wait_for_connection_metadata().await);
    };
    tokio::select! {
        biased;
        answer = response => Some(answer),
        () = captured => None,
    }
}

fn history(connection: &Connected) -> Option<History> {
    let mut extensions = http::Extensions::new();
    connection.get_extras(&mut extensions);
    extensions.remove()
}

/// Counts interim responses, and lets the body go at `100 Continue`. hyper tells of them over HTTP/1.1 only; over HTTP/2 they are
/// bounded by the time to the first byte, and the body goes after a wait.
fn watch_interim(request: &mut http::Request<Body>, proceed: Option<oneshot::Sender<()>>) -> Arc<Interim> {
    let interim = Arc::new(Interim::default());
    let (seen, proceed) = (Arc::clone(&interim), std::sync::Mutex::new(proceed));
    hyper::ext::on_informational(request, move |response| {
        if response.status() == StatusCode::CONTINUE
            && let Some(proceed) = proceed.lock().ok().and_then(|mut proceed| proceed.take())
        {
            let _ = proceed.send(());
        }
        if seen.count.fetch_add(1, Ordering::Relaxed) >= MOST_INTERIM {
            seen.too_many.notify_one();
        }
    });
    interim
}

/// Resolves when the origin has had its turn for so long. While the request body is on its way, each piece that the origin takes
/// begins the time anew, and a sender who is slow does not count against the origin.
async fn too_late(limit: Duration, upload: Option<&Progress>) {
    let mut deadline = Instant::now() + limit;
    loop {
        sleep_until(deadline).await;
        let Some(upload) = upload else { return };
        let next = upload.since().unwrap_or_else(Instant::now) + limit;
        if next <= deadline {
            return;
        }
        deadline = next;
    }
}

fn unacceptable(response: &Response<Incoming>) -> Option<&'static str> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Some("101 Switching Protocols, which was not asked for");
    }
    // A client would not know the class of such a status, which is all that it may go by (RFC 9110 §15).
    if response.status().as_u16() > 599 {
        return Some("a status above 599");
    }
    headers::bad_framing(response.headers())
}

fn finish(
    response: Response<Incoming>,
    idle: Duration,
    upload: Option<(Progress, oneshot::Sender<()>)>,
    permit: Option<Permit>,
) -> Response<Body> {
    let (head, body) = response.into_parts();
    // Not the extensions, and not the version: they are of that connection.
    let body = match Body::received(body, head.version) {
        body if body.is_end_stream() => body,
        body => Body::boxed(Download::new(body, idle, upload, permit)),
    };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    let received = head.version;
    strip_hop_by_hop(response.headers_mut());
    strip_ours(response.headers_mut());
    response.extensions_mut().insert(Received(received));
    response
}

/// The version in which a response was received, for `Via`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received(pub(super) http::Version);

fn broken(error: &ClientError, reused: bool, silent: bool) -> Broken {
    let mut broken = Broken { failure: failure(error), unseen: false, short: false };
    let lost = matches!(broken.failure, Failure::OriginReset(_));
    for cause in causes(error) {
        if let Some(http2) = cause.downcast_ref::<h2::Error>() {
            // Refused before it was looked at (RFC 9113 §8.7), or the whole connection ended.
            let refused = http2.reason() == Some(h2::Reason::REFUSED_STREAM);
            broken.unseen = reused && lost && (refused || http2.is_go_away() || http2.is_io());
            return broken;
        }
        if let Some(cause) = cause.downcast_ref::<hyper::Error>() {
            broken.short |= cause.is_body_write_aborted();
        }
    }
    broken.unseen = reused && lost && silent;
    broken
}

/// What an error of hyper's means.
pub(super) fn failure(error: &(dyn Error + 'static)) -> Failure {
    let mut deepest = error;
    for cause in causes(error) {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.clone();
        }
        if let Some(http2) = cause.downcast_ref::<h2::Error>()
            && http2.is_library()
        {
            return Failure::OriginInvalid(http2.to_string());
        }
        if let Some(http) = cause.downcast_ref::<hyper::Error>()
            && http.is_parse()
        {
            return Failure::OriginInvalid(http.to_string());
        }
        deepest = cause;
    }
    Failure::OriginReset(deepest.to_string())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}
