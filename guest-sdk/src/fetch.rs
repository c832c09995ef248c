//! Requests out, streamed both ways.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, StatusCode};
use http_body::{Body as _, Frame};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{ErrorCode, IncomingResponse, OutgoingRequest};
use wstd::runtime::AsyncPollable;

use crate::body::{self, Incoming, Source};
use crate::{head, worker};

/// Sends a request and returns the response as soon as its head is there.
///
/// The URI is absolute. The request's body goes out while the response comes in, frame by frame: an origin that answers while it
/// still reads, such as one that echoes, is no problem, and neither body is ever held whole. The response can be returned from
/// a handler as it is.
///
/// A worker may ask only the origins and the hosts that its `eyot.toml` lists.
///
/// # Errors
/// The request makes no sense to the host, the destination is not allowed, or nobody answers.
///
/// ```no_run
/// use eyot_sdk::prelude::*;
///
/// async fn handle() -> Result<Response> {
///     let request = Request::get("https://example.com/").body(Body::empty()).map_err(FetchError::from)?;
///     Ok(fetch(request).await?)
/// }
/// # fn main() {}
/// ```
pub async fn fetch<B: Into<Body>>(request: Request<B>) -> std::result::Result<Response, FetchError> {
    let mut request = request.map(Into::into);
    let first = peek(&mut request).await?;
    let has_body = first.is_some() || !request.body().is_end_stream();
    match request.body().size_hint().exact() {
        _ if first.is_some() => {}
        // Nothing to announce: the host writes `content-length: 0` where the method needs one (RFC 9110 §8.6).
        Some(0) => drop(request.headers_mut().remove(CONTENT_LENGTH)),
        Some(length) => drop(request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length))),
        None => {}
    }

    let method = request.method().clone();
    let outgoing = outgoing(&request)?;
    let sink = if has_body { Some(outgoing.body()) } else { None };
    let pending = outgoing_handler::handle(outgoing, None)?;
    match sink {
        // The upload goes on by itself. When it fails, the host breaks the request off and the response tells.
        Some(Ok(sink)) => {
            let upload = body::send(first, request.into_body(), sink);
            wstd::runtime::spawn(async move { drop(upload.await) }).detach();
        }
        Some(Err(())) => return Err(FetchError::invalid("content-length is given twice, or is no number")),
        None => {}
    }
    answer(pending, &method).await
}

/// Looks whether there is a body at all.
///
/// A request without `content-length` may have a body or not; only reading tells, and announcing a body that never comes makes
/// some origins refuse. Where a body is unusual this waits for the first frame; elsewhere it takes what is there already,
/// because a client may wait for the response before it sends more.
async fn peek(request: &mut Request<Body>) -> std::result::Result<Option<Frame<Bytes>>, FetchError> {
    if request.body().size_hint().exact().is_some() || request.body().is_end_stream() {
        return Ok(None);
    }
    let unusual = [Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS].contains(request.method());
    let body = request.body_mut();
    let first = poll_fn(|context| match Pin::new(&mut *body).poll_frame(context) {
        Poll::Pending if !unusual => Poll::Ready(None),
        polled => polled,
    });
    first.await.transpose().map_err(|error| FetchError::invalid(error.to_string()))
}

fn outgoing(request: &Request<Body>) -> std::result::Result<OutgoingRequest, FetchError> {
    let refused = |what: &str| FetchError::invalid(format!("the host refuses the {what}"));
    let uri = request.uri();
    let Some(authority) = uri.authority() else {
        return Err(FetchError::invalid(format!("{uri} has no host; Origin::named(…).fetch(…) gives it one")));
    };
    let fields = head::fields(request.headers()).map_err(|_| refused("header fields"))?;
    let outgoing = OutgoingRequest::new(fields);
    outgoing.set_method(&head::wasi_method(request.method())).map_err(|()| refused("method"))?;
    let scheme = head::wasi_scheme(uri.scheme().unwrap_or(&Scheme::HTTPS));
    outgoing.set_scheme(Some(&scheme)).map_err(|()| refused("scheme"))?;
    outgoing.set_authority(Some(authority.as_str())).map_err(|()| refused("authority"))?;
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    outgoing.set_path_with_query(Some(path)).map_err(|()| refused("path"))?;
    Ok(outgoing)
}

async fn answer(
    pending: wasip2::http::types::FutureIncomingResponse,
    method: &Method,
) -> std::result::Result<Response, FetchError> {
    let incoming = loop {
        AsyncPollable::new(pending.subscribe()).wait_for().await;
        match pending.get() {
            Some(Ok(incoming)) => break incoming?,
            Some(Err(())) => return Err(FetchError::invalid("the response was taken before")),
            None => {}
        }
    };
    response(incoming, method)
}

fn response(incoming: IncomingResponse, method: &Method) -> std::result::Result<Response, FetchError> {
    let status = StatusCode::from_u16(incoming.status()).map_err(|_| ErrorCode::HttpProtocolError)?;
    let headers = head::headers(&incoming.headers());
    let body = if worker::without_body(method, status) {
        Body::empty()
    } else {
        Incoming::body(Source::Response(incoming), head::content_length(&headers))
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// An origin that the operator named: an upstream server that this worker may ask, without knowing where it is.
///
/// The worker's `eyot.toml` lists the name (`origins = ["api"]`); the node's configuration says where it is and how it is reached.
///
/// ```no_run
/// use eyot_sdk::prelude::*;
///
/// async fn proxy(request: Request) -> Result<Response> {
///     Ok(Origin::named("api").fetch(request).await?)
/// }
/// # fn main() {}
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    name: &'a str,
}

impl<'a> Origin<'a> {
    /// The origin of this name.
    #[must_use]
    pub fn named(name: &'a str) -> Self {
        Self { name }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Sends a request to this origin. Only path and query of its URI count, so the client's own request can be passed on.
    ///
    /// # Errors
    /// The name is no host name, the worker may not ask this origin, or the origin does not answer.
    pub async fn fetch<B: Into<Body>>(&self, request: Request<B>) -> std::result::Result<Response, FetchError> {
        fetch_from(authority(self.name, "origin")?, request).await
    }
}

/// Another worker that `eyot.toml` lists as `[[service]]`, asked by its name: it runs beside this one, and no connection is made.
///
/// What goes wrong there is an answer, 500, 503 or 504 with the field `eyot-error`, as its clients would get it.
///
/// ```no_run
/// use eyot_sdk::prelude::*;
///
/// async fn handle() -> Result<Response> {
///     let request = Request::get("/prices/tea").body(Body::empty()).map_err(FetchError::from)?;
///     Ok(Service::named("prices").fetch(request).await?)
/// }
/// # fn main() {}
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service<'a> {
    name: &'a str,
}

impl<'a> Service<'a> {
    /// The worker of this name.
    #[must_use]
    pub fn named(name: &'a str) -> Self {
        Self { name }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Sends a request to it. Only path and query of its URI count, so the client's own request can be passed on.
    ///
    /// # Errors
    /// The name is no host name, this worker may not call that one, most calls have failed lately, or workers call each other in a circle.
    pub async fn fetch<B: Into<Body>>(&self, request: Request<B>) -> std::result::Result<Response, FetchError> {
        fetch_from(authority(self.name, "worker")?, request).await
    }
}

async fn fetch_from<B: Into<Body>>(
    authority: Authority,
    request: Request<B>,
) -> std::result::Result<Response, FetchError> {
    let (mut parts, body) = request.into_parts();
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(authority);
    uri.path_and_query = parts.uri.path_and_query().cloned().or(Some(PathAndQuery::from_static("/")));
    parts.uri = http::Uri::from_parts(uri).map_err(|error| FetchError::invalid(error.to_string()))?;
    fetch(Request::from_parts(parts, body)).await
}

/// The name of an origin or of a worker as a host: what the node maps to it.
fn authority(name: &str, kind: &str) -> std::result::Result<Authority, FetchError> {
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if name.is_empty() || !name.bytes().all(is_label) {
        return Err(FetchError::invalid(format!("{name:?} is no name of an origin or a worker")));
    }
    let host = format!("{name}.{kind}.internal");
    Authority::try_from(host).map_err(|error| FetchError::invalid(error.to_string()))
}

/// Why a request brought no response.
///
/// As a response it is 504 where somebody was too slow, otherwise 502, and its reason goes to the log, not to the client.
#[derive(Clone, Debug)]
pub struct FetchError {
    code: Option<ErrorCode>,
    why: String,
}

impl FetchError {
    fn invalid(why: impl Into<String>) -> Self {
        Self { code: None, why: why.into() }
    }

    /// Somebody was too slow: the name server, the connection, or the origin itself.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(
            self.code,
            Some(
                ErrorCode::DnsTimeout
                    | ErrorCode::ConnectionTimeout
                    | ErrorCode::ConnectionReadTimeout
                    | ErrorCode::ConnectionWriteTimeout
                    | ErrorCode::HttpResponseTimeout
            )
        )
    }

    /// The destination is not among those that the worker may ask.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.code, Some(ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited))
    }
}

impl From<ErrorCode> for FetchError {
    fn from(code: ErrorCode) -> Self {
        Self { why: format!("{code:?}"), code: Some(code) }
    }
}

impl From<http::Error> for FetchError {
    fn from(error: http::Error) -> Self {
        Self::invalid(error.to_string())
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "no response: {}", self.why)
    }
}

impl std::error::Error for FetchError {}

impl IntoResponse for FetchError {
    fn into_response(self) -> Response {
        #[cfg(feature = "log")]
        log::warn!("{self}");
        if self.is_timeout() {
            (StatusCode::GATEWAY_TIMEOUT, "the origin did not answer in time\n").into_response()
        } else {
            (StatusCode::BAD_GATEWAY, "the origin did not answer\n").into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::authority;

    #[test]
    fn origins_and_workers_are_reached_by_their_names() {
        assert_eq!(authority("api", "origin").unwrap().as_str(), "api.origin.internal");
        assert_eq!(authority("api", "worker").unwrap().as_str(), "api.worker.internal");
    }

    #[test]
    fn a_name_that_would_lead_elsewhere_is_refused() {
        for name in ["a/b", "evil.example/", "user@host", "a b", "a:80#", "", "a?b", "a\r\nhost: b"] {
            assert!(authority(name, "origin").is_err(), "{name:?}");
        }
    }
}
