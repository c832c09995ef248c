//! Plain hyper on one thread: HTTP/1.1 with keep-alive, answers from the host itself, no isolation of any kind.
//!
//! It is the limit that the benchmark measures against, so it holds nothing that a server needs but a benchmark does not:
//! no timeouts, no limits, no logs.

use std::convert::Infallible;
use std::future::ready;
use std::process::ExitCode;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

type Answer = Response<Full<Bytes>>;
type Handler = fn(&Request<Incoming>) -> Answer;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (handler, address): (Handler, _) = match arguments.as_slice() {
        [workload, address] if workload == "hello" => (hello, address),
        [workload, address] if workload == "jwt" => (jwt, address),
        _ => {
            eprintln!("usage: bench-hyper hello|jwt ADDRESS");
            return ExitCode::from(2);
        }
    };
    match serve(address, handler) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("{address}: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "only the node's tasks have names")]
fn serve(address: &str, handler: Handler) -> std::io::Result<Infallible> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(connection(stream, handler));
        }
    })
}

async fn connection(stream: TcpStream, handler: Handler) {
    let service = service_fn(|request| ready(Ok::<_, Infallible>(handler(&request))));
    // The load generator counts the connections that fail.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn hello(_request: &Request<Incoming>) -> Answer {
    answer(StatusCode::OK, "text/plain", Bytes::from_static(b"hello\n"))
}

fn jwt(request: &Request<Incoming>) -> Answer {
    let text = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let greeting = greeting::answer(text(AUTHORIZATION), text(ACCEPT_LANGUAGE));
    let status = StatusCode::from_u16(greeting.status).expect("200 and 401 are statuses");
    answer(status, greeting::MEDIA_TYPE, greeting.body.into())
}

fn answer(status: StatusCode, media_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}
