//! A request's body on its way in: bounded in size, and in the time that it may stand still.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::failure::Failure;
use crate::http::{Body, BodyError, strip_ours};

/// The body, and what becomes known of it while it is read.
pub(super) struct Limited {
    pub(super) body: Body,
    /// The word that a limit was met, for whoever waits for the answer. `None` where there is no body.
    pub(super) failure: Option<oneshot::Receiver<Failure>>,
    /// How many bytes were read, for the log. `None` where there is no body.
    pub(super) read: Option<Arc<AtomicU64>>,
}

/// Bounds a body.
///
/// # Errors
/// When its declared length is over the limit already.
pub(super) fn limited(body: Body, limit: u64, idle: Duration) -> Result<Limited, Failure> {
    if body.is_end_stream() {
        return Ok(Limited { body: Body::empty(), failure: None, read: None });
    }
    if body.size_hint().lower() > limit {
        return Err(Failure::RequestBodyTooLarge { limit });
    }
    let (report, failure) = oneshot::channel();
    let read = Arc::new(AtomicU64::new(0));
    let body = Counted { body, read: Arc::clone(&read), limit, idle, timer: None, report: Some(report) };
    Ok(Limited { body: Body::boxed(body), failure: Some(failure), read: Some(read) })
}

struct Counted {
    body: Body,
    read: Arc<AtomicU64>,
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
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            Some(Ok(mut frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                let (read, limit) = (self.read.load(Relaxed) + length, self.limit);
                if read > limit {
                    return Poll::Ready(Some(Err(self.fail(Failure::RequestBodyTooLarge { limit }))));
                }
                self.read.store(read, Relaxed);
                if let Some(trailers) = frame.trailers_mut() {
                    strip_ours(trailers);
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

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    #[tokio::test]
    async fn trailers_lose_the_names_that_are_ours_and_bytes_are_counted() {
        let mut trailers = HeaderMap::new();
        trailers.insert("eyot-claims", "forged".parse().unwrap());
        trailers.insert("checksum", "1".parse().unwrap());
        let frames = [Frame::data(Bytes::from_static(b"abc")), Frame::trailers(trailers)];
        let frames = StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, BodyError>)));
        let limited = limited(Body::boxed(frames), 3, Duration::from_secs(1)).unwrap();
        let collected = limited.body.collect().await.unwrap();
        assert_eq!(limited.read.unwrap().load(Relaxed), 3);
        let trailers = collected.trailers().unwrap();
        assert!(trailers.get("eyot-claims").is_none() && trailers.get("checksum").is_some());
    }

    #[tokio::test]
    async fn one_byte_over_the_limit_is_an_error_and_is_reported() {
        let frames = [Frame::data(Bytes::from_static(b"abc")), Frame::data(Bytes::from_static(b"d"))];
        let frames = StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, BodyError>)));
        let limited = limited(Body::boxed(frames), 3, Duration::from_secs(1)).unwrap();
        assert!(limited.body.collect().await.is_err());
        assert_eq!(limited.failure.unwrap().await, Ok(Failure::RequestBodyTooLarge { limit: 3 }));
    }
}
