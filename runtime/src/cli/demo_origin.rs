//! The origin behind `eyot dev`: for every origin that a worker names and nobody defines, it tells what it was asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::config::positive_time;
use crate::http::Body;
use crate::observe;

#[derive(Serialize)]
struct Echo<'a> {
    origin: &'a str,
    method: &'a str,
    path: &'a str,
    headers: BTreeMap<&'a str, String>,
}

/// Starts it on a free port of 127.0.0.1, on a thread of its own; origin NAME is at `http://ADDRESS/NAME`.
pub(super) fn start() -> std::io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("eyot-demo-origin".into()).spawn(move || runtime.block_on(serve(listener)))?;
    Ok(address)
}

async fn serve(listener: std::net::TcpListener) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        observe::spawn("demo origin", async move {
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(socket), service_fn(answer));
            if let Err(error) = served.await {
                tracing::debug!(%error, "a connection to the demo origin ended");
            }
        });
    }
}

/// The longest that it waits before it answers.
const LONGEST: Duration = Duration::from_secs(10);

/// As long as a service that does some work: `?wait=300ms`.
fn wait(query: Option<&str>) -> Duration {
    let wait = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).find(|(name, _)| name == "wait");
    wait.and_then(|(_, text)| positive_time(&text).ok()).unwrap_or_default().min(LONGEST)
}

/// Paths are `/NAME/…`. Below `/echo` the body is sent back as it comes; everywhere else it is read to its end, unlooked at.
async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (head, mut body) = request.into_parts();
    let (origin, path) = split(head.uri.path());
    if path.starts_with("/echo") {
        return Ok(Response::new(Body::received(body, head.version)));
    }
    while let Some(Ok(_)) = body.frame().await {}
    tokio::time::sleep(wait(head.uri.query())).await;
    let value = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, field)| (name.as_str(), value(field))).collect();
    let echo = Echo { origin, method: head.method.as_str(), path, headers };
    let mut response = Response::new(Body::from(Bytes::from(serde_json::to_vec(&echo).unwrap_or_default())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn split(path: &str) -> (&str, &str) {
    let rest = path.trim_start_matches('/');
    match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    }
}
