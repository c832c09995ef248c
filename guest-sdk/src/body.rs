//! Bodies between the host's streams and axum's [`Body`], frame by frame, never whole.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use wasip2::http::types::{FutureTrailers, IncomingBody, IncomingRequest, IncomingResponse, OutgoingBody};
use wasip2::io::poll::Pollable;
use wasip2::io::streams::{InputStream, StreamError};
use wstd::io::AsyncOutputStream;
use wstd::runtime::{AsyncPollable, WaitFor};

use crate::head;

/// How much is asked of the host at once. It hands over what is there, so a larger number only allows larger copies.
const CHUNK: u64 = 64 * 1024;

/// The host's side of a message whose body can be taken, once.
pub(crate) enum Source {
    Request(IncomingRequest),
    Response(IncomingResponse),
}

/// A body that the host streams to us. It is opened when it is first read: most requests have none, and a handle less is
/// a call less.
pub(crate) struct Incoming {
    state: State,
    /// What `content-length` announced.
    length: Option<u64>,
}

enum State {
    Unopened(Source),
    Data(Data),
    Trailers(Trailers),
    Done,
}

/// Drop order: whatever a resource lent out goes before the resource itself.
struct Data {
    ready: Ready,
    stream: InputStream,
    body: IncomingBody,
}

struct Trailers {
    ready: Ready,
    trailers: FutureTrailers,
}

/// Waits for a pollable, more than once if need be: readiness may turn out to be nothing.
#[derive(Default)]
struct Ready {
    waiting: Option<WaitFor>,
    pollable: Option<AsyncPollable>,
}

impl Ready {
    fn poll(&mut self, context: &mut Context<'_>, subscribe: impl FnOnce() -> Pollable) -> Poll<()> {
        let pollable = self.pollable.get_or_insert_with(|| AsyncPollable::new(subscribe()));
        let waiting = self.waiting.get_or_insert_with(|| pollable.wait_for());
        ready!(Future::poll(Pin::new(waiting), context));
        self.waiting = None;
        Poll::Ready(())
    }
}

impl Incoming {
    pub(crate) fn body(source: Source, length: Option<u64>) -> Body {
        Body::new(Self { state: State::Unopened(source), length })
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            match &mut self.state {
                State::Unopened(_) => {
                    let State::Unopened(source) = std::mem::replace(&mut self.state, State::Done) else { continue };
                    self.state = State::Data(open(source)?);
                }
                State::Data(data) => match ready!(data.poll(context)) {
                    Some(frame) => return Poll::Ready(Some(frame)),
                    None => {
                        let State::Data(data) = std::mem::replace(&mut self.state, State::Done) else { continue };
                        self.state = State::Trailers(data.finish());
                    }
                },
                State::Trailers(trailers) => {
                    let frame = ready!(trailers.poll(context));
                    self.state = State::Done;
                    return Poll::Ready(frame);
                }
                State::Done => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Done) || self.length == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        // Exact only before the first byte is taken; afterwards nobody asks.
        match (&self.state, self.length) {
            (State::Unopened(_), Some(length)) => SizeHint::with_exact(length),
            _ => SizeHint::default(),
        }
    }
}

fn open(source: Source) -> io::Result<Data> {
    let body = match source {
        Source::Request(request) => request.consume(),
        Source::Response(response) => response.consume(),
    };
    let taken = |()| io::Error::other("the body was taken before");
    let body = body.map_err(taken)?;
    let stream = body.stream().map_err(taken)?;
    Ok(Data { ready: Ready::default(), stream, body })
}

impl Data {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            match self.stream.read(CHUNK) {
                Ok(bytes) if bytes.is_empty() => {
                    let Self { ready, stream, .. } = self;
                    ready!(ready.poll(context, || stream.subscribe()));
                }
                Ok(bytes) => {
                    // A wait that is over unasked must not stay with the executor: it would find it ready, again and again,
                    // and never sleep while the other side is slow.
                    self.ready.waiting = None;
                    return Poll::Ready(Some(Ok(Frame::data(bytes.into()))));
                }
                Err(StreamError::Closed) => return Poll::Ready(None),
                Err(StreamError::LastOperationFailed(error)) => {
                    return Poll::Ready(Some(Err(io::Error::other(error.to_debug_string()))));
                }
            }
        }
    }

    fn finish(self) -> Trailers {
        let Self { ready, stream, body } = self;
        drop(ready);
        drop(stream);
        Trailers { ready: Ready::default(), trailers: IncomingBody::finish(body) }
    }
}

impl Trailers {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            match self.trailers.get() {
                None => {
                    let Self { ready, trailers } = self;
                    ready!(ready.poll(context, || trailers.subscribe()));
                }
                Some(Ok(Ok(Some(fields)))) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(head::headers(&fields)))));
                }
                Some(Ok(Ok(None)) | Err(())) => return Poll::Ready(None),
                Some(Ok(Err(_))) => return Poll::Ready(Some(Err(io::Error::other("the trailers were lost")))),
            }
        }
    }
}

/// The next frame of a body.
pub(crate) async fn frame(body: &mut Body) -> Option<io::Result<Frame<Bytes>>> {
    let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
    Some(frame.map_err(io::Error::other))
}

/// Sends `first`, then the rest of the body. When the body fails, the host is not told that it ended: it breaks the message off,
/// and the reader can tell half a body from a whole one.
pub(crate) async fn send(mut first: Option<Frame<Bytes>>, mut body: Body, outgoing: OutgoingBody) -> io::Result<()> {
    let stream = outgoing.write().map_err(|()| io::Error::other("the body was written before"))?;
    let stream = AsyncOutputStream::new(stream);
    let mut trailers = None;
    loop {
        let frame = match first.take() {
            Some(frame) => frame,
            None => match frame(&mut body).await {
                Some(frame) => frame?,
                None => break,
            },
        };
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => stream.write_all(&data).await?,
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    drop(stream);
    let trailers = trailers
        .map(|trailers| head::fields(&trailers))
        .transpose()
        .map_err(|_| io::Error::other("the host refuses a trailer"))?;
    OutgoingBody::finish(outgoing, trailers).map_err(|_| io::Error::other("the body is not as long as announced"))
}
