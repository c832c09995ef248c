//! What becomes of a request's body that nobody has read to its end.
//!
//! On HTTP/1 the next request comes behind it. hyper takes what it has at hand when the body is dropped, and else closes the connection:
//! without having said so in a response that has been written by then, and although a small rest costs less to read than a connection.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Method, Request, Response, Version};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::http::{Body, BodyError};
use crate::observe;

/// A rest that is read and forgotten so that the connection can go on.
const DRAINED: u64 = 64 * 1024;

/// The body of a request, as it arrives.
pub(super) struct Arrival {
    body: Body,
    /// There is nothing more to come, or nothing that can be understood.
    over: bool,
    /// How long the rest may take to arrive. `None`: it is not waited for.
    patience: Option<Duration>,
    last: Last,
}

/// Whether this is the last request of its connection. Known when the response is made; what a guest leaves unread after that is not.
#[derive(Clone, Debug, Default)]
pub(super) struct Last(Option<Arc<AtomicBool>>);

impl Arrival {
    /// Takes the body out of a request, to watch over it.
    pub(super) fn of(request: Request<Body>, patience: Duration) -> (Request<Self>, Last) {
        let (parts, body) = request.into_parts();
        let (empty, http1) = (body.is_end_stream(), parts.version <= Version::HTTP_11);
        // After CONNECT the client may believe in a tunnel (RFC 9110 §9.3.6).
        let tunnel = parts.method == Method::CONNECT;
        let last = Last((http1 && (tunnel || !empty)).then(|| Arc::new(AtomicBool::new(tunnel))));
        // Whoever was promised `100 Continue` may go without sending the body at all (RFC 9110 §10.1.1).
        let patience = (http1 && !parts.headers.contains_key(EXPECT)).then_some(patience);
        (Request::from_parts(parts, Self { body, over: empty, patience, last: last.clone() }), last)
    }

    /// A body that comes from another worker: no connection depends on it.
    pub(super) fn inside(body: Body) -> Self {
        Self { over: body.is_end_stream(), body, patience: None, last: Last::default() }
    }

    /// Wants nothing more of it: what is left is too much, too slow or no HTTP.
    pub(super) fn give_up(&mut self) {
        self.over = true;
        self.last.mark();
    }
}

impl Last {
    fn mark(&self) {
        if let Some(last) = &self.0 {
            last.store(true, Relaxed);
        }
    }

    /// Says in the response that the connection ends, where it does (RFC 9112 §9.6).
    pub(super) fn tell(&self, response: &mut Response<Body>) {
        if self.0.as_ref().is_some_and(|last| last.load(Relaxed)) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if self.over || self.body.is_end_stream() {
            return;
        }
        let small = self.body.size_hint().upper().is_some_and(|rest| rest <= DRAINED);
        // A large isolate is cleared by a thread on which no task can be started.
        match self.patience.filter(|_| small && tokio::runtime::Handle::try_current().is_ok()) {
            Some(patience) => {
                let body = std::mem::take(&mut self.body);
                observe::spawn("unread-body", async move { drop(tokio::time::timeout(patience, drain(body)).await) });
            }
            None => self.last.mark(),
        }
    }
}

async fn drain(mut body: Body) {
    while let Some(Ok(_)) = body.frame().await {}
}

impl http_body::Body for Arrival {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(None) => self.over = true,
            // Nothing comes behind trailers, and who has read them need not ask (RFC 9112 §7.1.2).
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => self.over = true,
            Poll::Ready(Some(Err(_))) => self.give_up(),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
