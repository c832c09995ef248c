//! Plain hyper on one thread: HTTP/1.1 with keep-alive, `hello` from the host itself, no isolation of any kind.
//!
//! It is the limit that the benchmark measures against, so it holds nothing that a server needs but a benchmark does not:
//! no timeouts, no limits, no logs.

use std::convert::Infallible;
use std::future::ready;
use std::process::ExitCode;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

fn main() -> ExitCode {
    let Some(address) = std::env::args().nth(1) else {
        eprintln!("usage: bench-hyper ADDRESS");
        return ExitCode::from(2);
    };
    match serve(&address) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("{address}: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "only the node's tasks have names")]
fn serve(address: &str) -> std::io::Result<Infallible> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(connection(stream));
        }
    })
}

async fn connection(stream: TcpStream) {
    let service = service_fn(|_: Request<Incoming>| ready(Ok::<_, Infallible>(hello())));
    // The load generator counts the connections that fail.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn hello() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"hello\n")));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
