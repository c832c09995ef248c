//! The operator's own listener: is the process alive, is it ready, what does it count; and the API by which workers are deployed.
//!
//! May import: all rooms up to `acme`.
//!
//! The way in: a [`Panel`] is a [`Handle`]; `node.rs` gives it cores and a loopback address of its own, so that
//! it answers when the others have all the work and all the connections they may have. It hands what begins with `/v1/` to its [`Api`].
//!
//! Invariants: answers only to loopback names, so that no page in the operator's browser can ask it through a name
//! that it made point here (DNS rebinding); holds no lock while it answers; nothing is changed or shown of workers without a token, but what
//! happens in `eyot dev`.

pub mod api;
mod host;
mod root;

pub use api::Api;
pub use root::first_token;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::acme::Orders;
use crate::failure::Failure;
use crate::http::{Body, Client};
use crate::ingress::{Closed, Handle};
use crate::store::Fleet;

/// Whether new requests should be sent here. Not before the listeners are up, and no longer once the node drains.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<AtomicBool>);

impl Ready {
    /// Says so, or takes it back.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    /// What was said last.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
/// Prometheus' text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What there is, and what it is for.
const PAGES: [(&str, &str); 3] = [
    ("/healthz", "200 while the process runs"),
    ("/readyz", "200 when requests may be sent to this node, else 503"),
    ("/metrics", "counters in Prometheus' text format"),
];

/// Answers the operator's questions.
#[derive(Clone)]
pub struct Panel {
    ready: Ready,
    api: Option<Api>,
    orders: Option<Arc<Orders>>,
    fleet: Option<Arc<Fleet>>,
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl Panel {
    /// `metrics` writes the page for Prometheus, anew for each scrape.
    pub fn new(ready: Ready, metrics: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self { ready, api: None, orders: None, fleet: None, metrics: Arc::new(metrics) }
    }

    /// With an API.
    #[must_use]
    pub fn with(self, api: Option<Api>) -> Self {
        Self { api, ..self }
    }

    /// With certificates that are ordered.
    #[must_use]
    pub fn with_orders(self, orders: Option<Arc<Orders>>) -> Self {
        Self { orders, ..self }
    }

    /// With a fleet.
    #[must_use]
    pub fn with_fleet(self, fleet: Option<Arc<Fleet>>) -> Self {
        Self { fleet, ..self }
    }

    /// A node is ready without a certificate that is still to come: where only nodes are sent to that are, nobody would ever look whether
    /// its name is theirs. And so is one whose fleet's server is away, since it serves what it has. But it is said.
    fn ready(&self) -> String {
        let mut text = "ready\n".to_owned();
        let standing = self.orders.iter().flat_map(|orders| orders.standing());
        for missing in standing.filter(|standing| standing.not_after.is_none()) {
            let why = missing.trouble.unwrap_or_else(|| "it is ordered".to_owned());
            // Writing to a String does not fail.
            let _ = writeln!(text, "no certificate yet for {}: {why}", missing.names.join(", "));
        }
        if self.fleet.as_ref().is_some_and(|fleet| !fleet.is_connected()) {
            text.push_str("the fleet's server is away: what was deployed last is served\n");
        }
        text
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        if let Err(reason) = host::check(request) {
            return text(StatusCode::MISDIRECTED_REQUEST, TEXT, format!("{reason}\n"));
        }
        let path = request.uri().path();
        if !PAGES.iter().any(|(page, _)| *page == path) {
            return text(StatusCode::NOT_FOUND, TEXT, contents());
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".to_owned());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/readyz" if !self.ready.is_set() => text(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready\n".to_owned()),
            "/readyz" => text(StatusCode::OK, TEXT, self.ready()),
            "/metrics" => text(StatusCode::OK, METRICS, (self.metrics)()),
            _ => text(StatusCode::OK, TEXT, "ok\n".to_owned()),
        }
    }
}

impl Handle for Panel {
    fn refused(&self, _: &Client, failure: &Failure) {
        tracing::debug!(code = failure.code(), "a request to the operator's listener was refused: {failure}");
    }

    fn cut(&self, _: &'static str) {}

    async fn handle(&self, _: &Arc<Client>, request: Request<Body>) -> Result<Response<Body>, Closed> {
        // hyper leaves the content of an answer to HEAD out, and keeps its length.
        match &self.api {
            Some(api) if is_of_api(request.uri().path()) && host::check(&request).is_ok() => {
                Ok(api.handle(request).await)
            }
            _ => Ok(self.answer(&request)),
        }
    }
}

fn is_of_api(path: &str) -> bool {
    path.starts_with("/v1/") || path == "/openapi.json"
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn contents() -> String {
    let mut text = "not found; there are\n".to_owned();
    for (page, what) in PAGES {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{page:<10} {what}");
    }
    text
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::ingress::{Cores, Listening};

    async fn ask(panel: &Panel, method: Method, path: &str) -> (Response<()>, String) {
        let request = Request::builder().method(method).uri(path).header("host", "127.0.0.1:9090").body(()).unwrap();
        let (head, body) = panel.answer(&request).into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(head, ()), String::from_utf8(body.to_vec()).unwrap())
    }

    fn panel() -> Panel {
        Panel::new(Ready::default(), || "eyot_isolates_in_use 0\n".to_owned())
    }

    #[tokio::test]
    async fn health_does_not_depend_on_readiness() {
        let panel = panel();
        assert_eq!(ask(&panel, Method::GET, "/healthz").await.0.status(), 200);
        assert_eq!(ask(&panel, Method::GET, "/readyz").await.0.status(), 503);
        panel.ready.set(true);
        assert_eq!(ask(&panel, Method::GET, "/readyz").await.0.status(), 200);
        panel.ready.set(false);
        assert_eq!(ask(&panel, Method::GET, "/readyz").await.0.status(), 503);
    }

    #[tokio::test]
    async fn metrics_are_in_prometheus_format() {
        let (head, body) = ask(&panel(), Method::GET, "/metrics").await;
        assert_eq!(head.headers()[CONTENT_TYPE], METRICS);
        assert_eq!(body, "eyot_isolates_in_use 0\n");
    }

    #[tokio::test]
    async fn other_methods_are_refused_and_the_right_ones_named() {
        let (head, _) = ask(&panel(), Method::POST, "/metrics").await;
        assert_eq!(head.status(), 405);
        assert_eq!(head.headers()[ALLOW], "GET, HEAD");
    }

    #[tokio::test]
    async fn an_unknown_path_lists_what_there_is() {
        let (head, body) = ask(&panel(), Method::GET, "/").await;
        assert_eq!(head.status(), 404);
        assert!(PAGES.iter().all(|(page, _)| body.contains(page)));
    }

    #[tokio::test]
    async fn the_panel_is_served_like_any_other_handler() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let limits = crate::ingress::tests::limits();
        let listening = Listening::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let mut client = tokio::net::TcpStream::connect(listening.address()).await.unwrap();
        let cores = Cores::start("admin", 1, &limits, &[], || {}, |_| panel()).unwrap();
        cores.listen([listening]);
        client.write_all(b"HEAD /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("content-length: 3"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "HEAD has no content: {answer}");
    }

    #[tokio::test]
    async fn a_foreign_name_is_refused() {
        let request = Request::builder().uri("/metrics").header("host", "rebind.example:9090").body(()).unwrap();
        assert_eq!(panel().answer(&request).status(), 421);
    }
}
