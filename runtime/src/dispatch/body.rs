//! A request's body on its way in: bounded in size, and in the time that it may stand still.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use super::arrival::Arrival;
use super::pace::Wait;
use crate::failure::Failure;
use crate::http::{Body, BodyError, Pace, strip_ours};

/// The body, and what becomes known of it while it is read.
pub(super) struct Limited {
    pub(super) body: Body,
    /// The word that a limit was met, for whoever waits for the answer. `None` where there is no body.
    pub(super) failure: Option<oneshot::Receiver<Failure>>,
    /// How many bytes were read, for the log. `None` where there is no body.
    pub(super) read: Option<Arc<AtomicU64>>,
    pub(super) broken: Broken,
}

/// Why a request's body broke, once it has. A request without one has nothing that could.
#[derive(Clone, Default)]
pub(super) struct Broken(Option<Arc<OnceLock<Failure>>>);

impl Broken {
    /// Whom to blame for `failure`: a guest that passes a broken body on breaks, too, and that is not its fault.
    pub(super) fn cause<'a>(&'a self, failure: &'a Failure) -> &'a Failure {
        self.why().unwrap_or(failure)
    }

    fn why(&self) -> Option<&Failure> {
        self.0.as_ref()?.get()
    }

    fn broke(&self, failure: &Failure) {
        if let Some(why) = &self.0 {
            let _ = why.set(failure.clone());
        }
    }

    /// What came of a request with such a body, with the blame where it belongs.
    pub(super) fn judge(self, result: Result<Response<Body>, Failure>) -> Result<Response<Body>, Failure> {
        let response = result.map_err(|failure| self.cause(&failure).clone())?;
        if self.0.is_none() || response.body().in_memory().is_some() {
            return Ok(response);
        }
        let cause = move |error| self.why().map_or(error, |failure| failure.clone().into());
        Ok(response.map(|body| Body::boxed(body.map_err(cause))))
    }
}

/// Bounds a body.
///
/// # Errors
/// When its declared length is over the limit already.
pub(super) fn limited(body: Arrival, limit: u64, pace: Pace) -> Result<Limited, Failure> {
    if body.is_end_stream() {
        return Ok(Limited { body: Body::empty(), failure: None, read: None, broken: Broken::default() });
    }
    if body.size_hint().lower() > limit {
        return Err(Failure::RequestBodyTooLarge { limit });
    }
    let (report, failure) = oneshot::channel();
    let read = Arc::new(AtomicU64::new(0));
    let broken = Broken(Some(Arc::default()));
    let (counts, breaks) = (Arc::clone(&read), broken.clone());
    let (wait, waited) = (None, Duration::ZERO);
    let body = Counted { body, read: counts, limit, pace, wait, waited, report: Some(report), broken: breaks };
    Ok(Limited { body: Body::boxed(body), failure: Some(failure), read: Some(read), broken })
}

struct Counted {
    body: Arrival,
    read: Arc<AtomicU64>,
    limit: u64,
    pace: Pace,
    /// There only while a reader waits.
    wait: Option<Wait>,
    /// How long readers have waited before.
    waited: Duration,
    report: Option<oneshot::Sender<Failure>>,
    broken: Broken,
}

impl Counted {
    fn fail(&mut self, failure: Failure) -> BodyError {
        self.body.give_up();
        self.broken.broke(&failure);
        if let Some(report) = self.report.take() {
            let _ = report.send(failure.clone());
        }
        failure.into()
    }
}

/// Why a body ended before its end: it is not chunked as it should be (RFC 9112 §7.1), or its sender has gone.
fn broken(error: &(dyn std::error::Error + 'static)) -> Failure {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    let malformed = causes.any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|cause| matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput))
    });
    if malformed { Failure::BadRequest("the request body is malformed") } else { Failure::ClientGone }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { body, wait, pace, waited, read, .. } = &mut *self;
        let mut polled = Pin::new(&mut *body).poll_frame(context);
        if polled.is_pending() {
            let patience = || pace.patience(*waited, read.load(Relaxed));
            polled = Wait::poll(wait, patience, context, |context| Pin::new(body).poll_frame(context));
        }
        let Poll::Ready(frame) = polled else {
            return match wait.as_mut().is_some_and(|wait| wait.is_over(context)) {
                true => Poll::Ready(Some(Err(self.fail(Failure::RequestTimeout)))),
                false => Poll::Pending,
            };
        };
        if let Some(wait) = wait.take() {
            *waited += wait.took();
        }
        match frame {
            None => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(self.fail(broken(&*error))))),
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
    use http_body_util::StreamBody;

    use super::*;

    fn arrival(frames: impl IntoIterator<Item = Frame<Bytes>, IntoIter: Send + 'static>) -> Arrival {
        let frames = StreamBody::new(futures_util::stream::iter(frames.into_iter().map(Ok::<_, BodyError>)));
        Arrival::of(http::Request::new(Body::boxed(frames)), Duration::ZERO).0.into_body()
    }

    const PACE: Pace = Pace { idle: Duration::from_secs(1), rate: 240 };

    #[tokio::test]
    async fn trailers_lose_the_names_that_are_ours_and_bytes_are_counted() {
        let mut trailers = HeaderMap::new();
        trailers.insert("eyot-claims", "forged".parse().unwrap());
        trailers.insert("checksum", "1".parse().unwrap());
        let frames = [Frame::data(Bytes::from_static(b"abc")), Frame::trailers(trailers)];
        let limited = limited(arrival(frames), 3, PACE).unwrap();
        let collected = limited.body.collect().await.unwrap();
        assert_eq!(limited.read.unwrap().load(Relaxed), 3);
        let trailers = collected.trailers().unwrap();
        assert!(trailers.get("eyot-claims").is_none() && trailers.get("checksum").is_some());
    }

    #[tokio::test]
    async fn one_byte_over_the_limit_is_an_error_and_is_reported() {
        let frames = [Frame::data(Bytes::from_static(b"abc")), Frame::data(Bytes::from_static(b"d"))];
        let limited = limited(arrival(frames), 3, PACE).unwrap();
        assert!(limited.body.collect().await.is_err());
        assert_eq!(limited.failure.unwrap().await, Ok(Failure::RequestBodyTooLarge { limit: 3 }));
    }
}
