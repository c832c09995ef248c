//! The response body on its way in: held to its idle time, with no clean end where there was none.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use super::upload::Progress;
use super::{exchange, headers};
use crate::failure::{Failure, Wait};
use crate::http::{self, BodyError, Permit};

/// A response body from an origin.
pub(super) struct Download {
    /// Gone after an error, and the connection with it: it is not used again.
    body: Option<http::Body>,
    idle: Duration,
    /// Runs only while somebody waits for a frame: a reader that stands still is not the origin's fault.
    timer: Option<Pin<Box<Sleep>>>,
    armed: bool,
    upload: Option<(Progress, oneshot::Sender<()>)>,
    /// The right to be asking the origin; given back as soon as the body is over.
    permit: Option<Permit>,
}

impl Download {
    /// Wraps a body. The upload is stopped when the response is over, or nobody wants it any more.
    pub(super) fn new(
        body: http::Body,
        idle: Duration,
        upload: Option<(Progress, oneshot::Sender<()>)>,
        permit: Option<Permit>,
    ) -> Self {
        Self { body: Some(body), idle, timer: None, armed: false, upload, permit }
    }

    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let deadline = || Instant::now() + self.idle;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline())));
        if !self.armed {
            timer.as_mut().reset(deadline());
            self.armed = true;
        }
        timer.as_mut().poll(context)
    }

    fn fail(&mut self, failure: Failure) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let sender = self.upload.take().and_then(|(progress, _)| progress.failure());
        (self.body, self.permit) = (None, None);
        Poll::Ready(Some(Err(sender.unwrap_or(failure).into())))
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        match Pin::new(body).poll_frame(context) {
            Poll::Ready(Some(Ok(mut frame))) => {
                this.armed = false;
                if let Some(trailers) = frame.trailers_mut() {
                    headers::clean_trailers(trailers);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => this.fail(exchange::failure(error.as_ref())),
            Poll::Ready(None) => {
                (this.upload, this.permit) = (None, None);
                Poll::Ready(None)
            }
            Poll::Pending if this.poll_idle(context).is_ready() => {
                this.fail(Failure::OriginTimeout { wait: Wait::Body, limit: this.idle })
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
