//! The content of a request, and what nobody but us checks of it: its length, and its trailers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::server::RequestStream;
use http_body::{Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, HeaderMap};
use tokio::sync::Notify;

use super::request::is_of_a_connection;
use super::streams::Receiving;
use super::watch::Notes;
use crate::http::{Body, BodyError};

/// Why content is none.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Malformed {
    #[error("the content has not the length that was declared")]
    Length,
    #[error("the trailers have a field that trailers do not have")]
    Trailers,
}

/// What a request declares of its content; an error where that is none (RFC 9110 §8.6). Several fields are one value if they agree.
pub(super) fn declared(headers: &HeaderMap) -> Result<Option<u64>, ()> {
    let mut declared = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits =
            value.to_str().ok().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
        let length = digits.and_then(|digits| digits.parse::<u64>().ok()).ok_or(())?;
        if declared.is_some_and(|declared| declared != length) {
            return Err(());
        }
        declared = Some(length);
    }
    Ok(declared)
}

/// Content that is still to come, wholly or in part.
pub(super) struct Arriving {
    stream: RequestStream<Receiving, Bytes>,
    /// What has come already.
    first: Option<Bytes>,
    trailers: Option<HeaderMap>,
    part: Part,
    declared: Option<u64>,
    came: u64,
    notes: Arc<Notes>,
    /// To be told when somebody wants it.
    wanted: Option<Arc<Notify>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Content,
    Trailers,
    Over,
}

impl Arriving {
    /// The content of a request. Its stream is looked at once, so that a request that has come whole and without content has none.
    ///
    /// # Errors
    /// What has come is not what was declared (`notes` say so), or the request was taken back.
    pub(super) async fn of(
        stream: RequestStream<Receiving, Bytes>,
        declared: Option<u64>,
        notes: Arc<Notes>,
        wanted: Option<Arc<Notify>>,
    ) -> Result<Body, ()> {
        let mut this =
            Self { stream, first: None, trailers: None, part: Part::Content, declared, came: 0, notes, wanted };
        let came = std::future::poll_fn(|context| Poll::Ready(this.content(context))).await;
        match came {
            Poll::Pending => {}
            Poll::Ready(Ok(Some(first))) => this.first = Some(first),
            Poll::Ready(Ok(None)) if declared.unwrap_or(0) > 0 => {
                this.notes.malformed();
                return Err(());
            }
            // What comes behind it comes at once, if it comes at all.
            Poll::Ready(Ok(None)) => match std::future::poll_fn(|context| Poll::Ready(this.trailers(context))).await {
                Poll::Ready(Ok(None)) => return Ok(Body::empty()),
                Poll::Ready(Ok(trailers)) => (this.part, this.trailers) = (Part::Trailers, trailers),
                Poll::Pending => this.part = Part::Trailers,
                Poll::Ready(Err(_)) => return Err(()),
            },
            Poll::Ready(Err(_)) => return Err(()),
        }
        Ok(Body::boxed(this))
    }

    fn content(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Ok(Some(first)));
        }
        let polled = self.stream.poll_recv_data(context).map_err(BodyError::from);
        polled.map_ok(|piece| piece.map(|mut piece| piece.copy_to_bytes(piece.remaining())))
    }

    fn trailers(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, BodyError>> {
        match self.trailers.take() {
            Some(trailers) => Poll::Ready(Ok(Some(trailers))),
            None => self.stream.poll_recv_trailers(context).map_err(BodyError::from),
        }
    }

    /// RFC 9114 §4.1.2: the stream ends with this, in both directions. Who answers the request looks at the notes.
    fn malformed(&mut self, malformed: Malformed) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.notes.malformed();
        self.part = Part::Over;
        self.stream.stop_sending(Code::H3_MESSAGE_ERROR);
        Poll::Ready(Some(Err(malformed.into())))
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(wanted) = this.wanted.take() {
            wanted.notify_one();
        }
        if this.part == Part::Content {
            match ready!(this.content(context)) {
                Ok(Some(piece)) => {
                    this.came = this.came.saturating_add(piece.len() as u64);
                    if this.declared.is_some_and(|declared| declared < this.came) {
                        return this.malformed(Malformed::Length);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Ok(None) if this.declared.is_some_and(|declared| declared != this.came) => {
                    return this.malformed(Malformed::Length);
                }
                Ok(None) => this.part = Part::Trailers,
                Err(error) => {
                    this.part = Part::Over;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        if this.part == Part::Over {
            return Poll::Ready(None);
        }
        match ready!(this.trailers(context)) {
            Ok(Some(trailers)) if this.notes.is_malformed() || is_of_a_connection(&trailers) => {
                this.malformed(Malformed::Trailers)
            }
            trailers => {
                this.part = Part::Over;
                Poll::Ready(trailers.map(|trailers| trailers.map(Frame::trailers)).transpose())
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.part == Part::Over
    }

    fn size_hint(&self) -> SizeHint {
        match self.declared {
            Some(declared) => SizeHint::with_exact(declared.saturating_sub(self.came)),
            None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_length_is_one_number() {
        let headers = |values: &[&'static str]| -> HeaderMap {
            values.iter().map(|value| (CONTENT_LENGTH, hyper::header::HeaderValue::from_static(value))).collect()
        };
        assert_eq!(declared(&headers(&[])), Ok(None));
        assert_eq!(declared(&headers(&["3"])), Ok(Some(3)));
        assert_eq!(declared(&headers(&["3", "3"])), Ok(Some(3)));
        for bad in [&["3", "4"][..], &["+3"], &["3, 3"], &[""], &["-1"], &["99999999999999999999"]] {
            assert_eq!(declared(&headers(bad)), Err(()), "{bad:?}");
        }
    }
}
