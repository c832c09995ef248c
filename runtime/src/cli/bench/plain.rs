//! The limit: hyper on a thread of the process that serves, which answers with bytes it was given. It holds nothing that a server needs
//! but a benchmark does not: no time-outs, no limits, no logs.

use std::convert::Infallible;
use std::future::ready;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};
use std::thread;

use http::header::{CONNECTION, DATE};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::link::Answer;
use crate::observe;

type Given = Arc<OnceLock<Response<Full<Bytes>>>>;

/// The plain handler, for as long as its process lives.
pub(super) struct Plain {
    pub(super) address: SocketAddr,
    given: Given,
}

impl Plain {
    pub(super) fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let given = Given::default();
        let theirs = Arc::clone(&given);
        thread::Builder::new()
            .name("eyot-plain".to_owned())
            .spawn(move || runtime.block_on(serve(listener, theirs)))?;
        Ok(Self { address, given })
    }

    /// Says what it answers from now on; the first time counts.
    pub(super) fn answer_with(&self, answer: Answer) {
        let mut response = Response::new(Full::new(Bytes::from(answer.body)));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        // hyper writes what is true of both.
        for own in [CONNECTION, DATE] {
            response.headers_mut().remove(own);
        }
        let _ = self.given.set(response);
    }
}

async fn serve(listener: TcpListener, given: Given) -> std::io::Result<Infallible> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let given = Arc::clone(&given);
        observe::spawn("plain handler", async move {
            let service = service_fn(|_: Request<Incoming>| ready(Ok::<_, Infallible>(answer(&given))));
            // Whoever asks counts the connections that fail.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

fn answer(given: &OnceLock<Response<Full<Bytes>>>) -> Response<Full<Bytes>> {
    given.get().cloned().unwrap_or_else(|| {
        let mut early = Response::new(Full::default());
        *early.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        early
    })
}
