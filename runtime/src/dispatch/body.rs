//! A request's body on its way in: bounded in size, and in the time that it may stand still.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::failure::Failure;
use crate::http::{Body, BodyError};

/// The body, and the word that a limit was met, for whoever waits for the answer.
pub(super) struct Limited {
    pub(super) body: Body,
    /// `None` where there is no body.
    pub(super) failure: Option<oneshot::Receiver<Failure>>,
}

/// Bounds a body.
///
/// # Errors
/// When its declared length is over the limit already.
pub(super) fn limited(body: Incoming, limit: u64, idle: Duration) -> Result<Limited, Failure> {
    if body.is_end_stream() {
        return Ok(Limited { body: Body::empty(), failure: None });
    }
    if body.size_hint().lower() > limit {
        return Err(Failure::RequestBodyTooLarge { limit });
    }
    let (report, failure) = oneshot::channel();
    let body = Counted { body, left: limit, limit, idle, timer: None, report: Some(report) };
    Ok(Limited { body: Body::boxed(body), failure: Some(failure) })
}

struct Counted {
    body: Incoming,
    left: u64,
    limit: u64,
    idle: Duration,
    /// Armed only while a reader waits.
    timer: Option<Pin<Box<Sleep>>>,
    report: Option<oneshot::Sender<Failure>>,
}

impl Counted {
    fn fail(&mut self, failure: Failure) -> BodyError {
        if let Some(report) = self.report.take() {
            let _ = report.send(failure.clone());
        }
        failure.into()
    }

    fn stands_still(&mut self, context: &mut Context<'_>) -> bool {
        let idle = self.idle;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + idle)));
        timer.as_mut().poll(context).is_ready()
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending if self.stands_still(context) => {
                return Poll::Ready(Some(Err(self.fail(Failure::RequestTimeout))));
            }
            Poll::Pending => return Poll::Pending,
            Poll::Ready(frame) => frame,
        };
        self.timer = None;
        match frame {
            None => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                match self.left.checked_sub(length) {
                    Some(left) => self.left = left,
                    None => {
                        let limit = self.limit;
                        return Poll::Ready(Some(Err(self.fail(Failure::RequestBodyTooLarge { limit }))));
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
