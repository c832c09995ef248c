//! One body type for requests and responses, so that no room is generic over bodies.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Version;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

/// Why a body ended before its end. The reader can only give up; the text is for the log.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body of a request or a response, streamed. The common cases need no allocation.
#[derive(Debug, Default)]
pub struct Body(Kind);

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Incoming(Received),
    Boxed(UnsyncBoxBody<Bytes, BodyError>),
}

impl Body {
    /// A body of no bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// How many bytes it has, where all of them are here already: nothing can go wrong with it any more.
    #[must_use]
    pub fn in_memory(&self) -> Option<u64> {
        match &self.0 {
            Kind::Empty => Some(0),
            Kind::Full(bytes) => Some(bytes.len() as u64),
            Kind::Incoming(_) | Kind::Boxed(_) => None,
        }
    }

    /// A body that is received in a message of this version.
    #[must_use]
    pub fn received(body: hyper::body::Incoming, version: Version) -> Self {
        if body.is_end_stream() {
            return Self::empty();
        }
        Self(Kind::Incoming(Received { body, http2: version == Version::HTTP_2 }))
    }

    /// Any other body.
    pub fn boxed<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        Self(Kind::Boxed(body.map_err(Into::into).boxed_unsync()))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::empty() } else { Self(Kind::Full(bytes)) }
    }
}

/// The other side ended the body before its end: an HTTP/2 stream was reset without an error and without END_STREAM.
#[derive(Debug, thiserror::Error)]
#[error("the stream was reset before its end")]
pub struct Cut;

/// A body that hyper receives.
#[derive(Debug)]
struct Received {
    body: hyper::body::Incoming,
    /// Whether its end must have been said. hyper takes RST_STREAM(NO_ERROR) for an end, but only END_STREAM is one (RFC 9113
    /// §8.1); over HTTP/1.1 it knows the end by itself.
    http2: bool,
}

impl Received {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(None) if self.http2 && !self.body.is_end_stream() => Poll::Ready(Some(Err(Cut.into()))),
            frame => frame.map_err(Into::into),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match &mut this.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                this.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Incoming(incoming) => incoming.poll_frame(context),
            Kind::Boxed(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(_) => false,
            Kind::Incoming(incoming) => incoming.body.is_end_stream(),
            Kind::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Incoming(incoming) => incoming.body.size_hint(),
            Kind::Boxed(body) => body.size_hint(),
        }
    }
}
