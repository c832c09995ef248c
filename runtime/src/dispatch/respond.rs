//! The only place that makes error responses out of failures.

use std::str::FromStr;

use bytes::Bytes;
use headers_accept::Accept;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use mediatype::MediaType;
use mediatype::names::{APPLICATION, JSON, PLAIN, TEXT};
use serde::Serialize;

use crate::failure::{Failure, Fault};
use crate::http::Body;
use crate::observe::{RequestId, TraceId};

/// Carries the failure's stable code.
pub(super) const ERROR: HeaderName = HeaderName::from_static("eyot-error");

/// What can be asked for somewhere on this node; routes may take any other method too.
pub(super) const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS";

const AS_TEXT: MediaType<'_> = MediaType::new(TEXT, PLAIN);
const AS_JSON: MediaType<'_> = MediaType::new(APPLICATION, JSON);

/// How much a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What the failure is, without text of the guest or names from inside.
    Public,
    /// Everything: in `eyot dev` the client is the author.
    Full,
}

/// The form of an error body that this client asked for; text when it does not care.
fn wants_json(accept: Option<&HeaderValue>) -> bool {
    let accept = accept.and_then(|value| Accept::from_str(value.to_str().ok()?).ok());
    accept.is_some_and(|accept| accept.negotiate(&[AS_TEXT, AS_JSON]) == Some(&AS_JSON))
}

#[derive(Serialize)]
struct Problem<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    code: &'a str,
    status: u16,
    message: &'a str,
    request_id: &'a str,
}

/// The response to a request that failed, in the form that its `Accept` asks for.
pub(super) fn failed(
    failure: &Failure,
    id: &RequestId,
    accept: Option<&HeaderValue>,
    detail: Detail,
) -> Response<Body> {
    let message = message(failure, detail);
    let (content_type, body) = if wants_json(accept) {
        let inner =
            Inner { code: failure.code(), status: failure.status(), message: &message, request_id: id.as_str() };
        ("application/json", serde_json::to_vec(&Problem { error: inner }).unwrap_or_default())
    } else {
        let text = format!("{}: {message}\nrequest {}\n", failure.code(), id.as_str());
        ("text/plain; charset=utf-8", text.into_bytes())
    };
    let mut response = Response::new(Body::from(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(failure.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(ERROR, HeaderValue::from_static(failure.code()));
    extra(failure, headers);
    response
}

/// The answer to `OPTIONS *`, which asks the node and not a route (RFC 9110 §9.3.7).
pub(super) fn options() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
    response
}

/// The fields that the status demands.
fn extra(failure: &Failure, headers: &mut HeaderMap) {
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    match failure {
        // RFC 9110 §15.5.6
        Failure::MethodNotAllowed { allow } => set(ALLOW, allow),
        // RFC 9110 §15.5.2, RFC 6750 §3
        Failure::Unauthorized { challenge, .. }
        | Failure::AmbiguousToken { challenge, .. }
        | Failure::InsufficientScope { challenge } => set(WWW_AUTHENTICATE, challenge),
        // RFC 9110 §10.2.3: whole seconds
        Failure::Overloaded { retry_after, .. } => set(RETRY_AFTER, &retry_after.as_secs().max(1).to_string()),
        _ => {}
    }
}

/// What the operator should know at once: what this node, a worker or an origin did, not what clients do. What is refused because
/// there is too much of it is counted, and costs no line each.
pub(super) fn tell(failure: &Failure, id: &RequestId, trace: TraceId, worker: Option<&str>) {
    let (code, request_id, trace_id) = (failure.code(), id.as_str(), tracing::field::display(trace));
    match failure.fault() {
        _ if matches!(failure, Failure::Overloaded { .. }) => {
            tracing::debug!(request_id, trace_id, worker, code, "{failure}");
        }
        Fault::Node => tracing::error!(request_id, trace_id, worker, code, "{failure}"),
        Fault::Worker | Fault::Origin => tracing::warn!(request_id, trace_id, worker, code, "{failure}"),
        Fault::Client => tracing::debug!(request_id, trace_id, worker, code, "{failure}"),
    }
}

/// What the client may read: a worker's own words only in development.
fn message(failure: &Failure, detail: Detail) -> String {
    if detail == Detail::Full {
        return failure.to_string();
    }
    match failure {
        Failure::WorkerTrapped(_) => "the worker trapped".to_owned(),
        Failure::WorkerError(_) => "the worker answered with an error".to_owned(),
        Failure::EgressDenied(_) => "egress denied".to_owned(),
        Failure::Internal(_) => "internal error".to_owned(),
        Failure::LoopDetected { .. } => "the request went round in a circle".to_owned(),
        failure if failure.fault() == Fault::Origin => "the origin did not return a valid response".to_owned(),
        failure => failure.to_string(),
    }
}
