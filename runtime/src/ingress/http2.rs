//! HTTP/2 as we let hyper speak it, and the clock of each of its streams.
//!
//! A client stops a stream by giving it no window, and then hyper polls neither the body nor anything else of it. The socket is
//! fine meanwhile, so the stream's own task has to keep the time.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::TokioTimer;
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::pulse::{OpenStream, Pulse, of_responses};
use super::{count, http1};
use crate::config::NodeLimits;
use crate::http::{Body, BodyError, Pace};
use crate::observe;

/// What a stream may send us before we have read it. Envoy's figures for the edge.
pub(super) const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for all streams of a connection.
pub(super) const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What of a response body waits in a stream for the client to take it.
const SEND_BUFFER: usize = 64 * 1024;
/// The smallest SETTINGS_MAX_FRAME_SIZE (RFC 9113 §6.5.2): what every client takes at once.
pub(super) const FRAME: usize = 16 * 1024;
/// Streams that a client opened and reset before hyper came to see them: h2's default.
const PENDING_RESETS: usize = 20;

/// One for each connection, because its streams know the connection.
pub(super) fn builder(limits: &NodeLimits, pulse: Arc<Pulse>) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(Streams { pulse, pace: of_responses(limits) });
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(u32::try_from(limits.h2_streams).unwrap_or(u32::MAX))
        .max_header_list_size(u32::try_from(head_bytes(limits)).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(count(limits.h2_streams))
        // A client that does not answer a ping for as long as one may not read has gone.
        .keep_alive_interval(limits.write_idle)
        .keep_alive_timeout(limits.write_idle);
    builder
}

/// A whole head, where a field's size is counted with 32 bytes on top (RFC 9113 §6.5.2, RFC 9114 §4.2.2).
pub(super) fn head_bytes(limits: &NodeLimits) -> usize {
    http1::head_bytes(limits).saturating_add(head_fields(limits).saturating_mul(32))
}

/// The fields of a head, with some to spare, so that dispatch is the one to notice, and pseudo-header fields.
pub(super) fn head_fields(limits: &NodeLimits) -> usize {
    count(limits.header_count).saturating_add(16)
}

/// Who a stream waits for, as far as its poll went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// hyper asked neither the handler nor the body: the client has to act.
    Client,
    /// The body gave something; the client has to take it.
    ClientAgain,
    /// The handler or the body has nothing yet.
    Us,
}

thread_local! {
    /// What the inner side of a stream tells the outer one, hyper being between them. Valid within one poll only.
    static WAIT: Cell<Wait> = const { Cell::new(Wait::Client) };
    /// The bytes that the body gave in this poll.
    static GIVEN: Cell<u64> = const { Cell::new(0) };
}

/// Runs the streams of one connection, each in a task of its own.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    pulse: Arc<Pulse>,
    pace: Pace,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, hyper: F) {
        let stalls = Stalls::new(self.pace);
        observe::spawn("stream", Stream { hyper, stalled: None, stalls, _open: self.pulse.open() });
    }
}

pin_project! {
    /// One stream. Ends, which resets it, when the client takes nothing of the response for `write_idle`, or too little.
    struct Stream<F> {
        #[pin]
        hyper: F,
        #[pin]
        stalled: Option<Sleep>,
        stalls: Stalls,
        _open: OpenStream,
    }
}

/// How long a stream has waited for its client, and for how much. What the body gave counts as taken: it is at most two frames' worth
/// ahead of the client, so that nobody is cut who is as fast as he has to be.
#[derive(Debug)]
pub(super) struct Stalls {
    pace: Pace,
    since: Option<Instant>,
    before: Duration,
    given: u64,
}

impl Stalls {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, since: None, before: Duration::ZERO, given: 0 }
    }

    /// So many bytes are given now.
    pub(super) fn give(&mut self, bytes: u64) {
        self.given = self.given.saturating_add(bytes);
    }

    /// Begins a wait, which may last for so long.
    pub(super) fn begin(&mut self) -> Duration {
        self.since = Some(Instant::now());
        self.pace.patience(self.before, self.given)
    }

    pub(super) fn end(&mut self) {
        self.before += self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
    }
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        WAIT.set(Wait::Client);
        GIVEN.set(0);
        if this.hyper.poll(context).is_ready() {
            return Poll::Ready(());
        }
        let wait = WAIT.get();
        this.stalls.give(GIVEN.get());
        if wait != Wait::Client {
            this.stalls.end();
            this.stalled.set(None);
        }
        if wait == Wait::Us {
            return Poll::Pending;
        }
        if this.stalled.is_none() {
            this.stalled.set(Some(tokio::time::sleep(this.stalls.begin())));
        }
        if let Some(stalled) = this.stalled.as_mut().as_pin_mut() {
            ready!(stalled.poll(context));
            tracing::debug!("the client takes nothing of a response, or too little");
        }
        Poll::Ready(())
    }
}

pin_project! {
    /// A handler at work on a request of a stream. It begins when all frames that came with the request have been read: a stream that
    /// is taken back at once starts no isolate (CVE-2023-44487; of many at a time h2 ends the connection).
    pub(super) struct Answering<F> {
        #[pin]
        handler: F,
        has_begun: bool,
    }
}

impl<F> Answering<F> {
    pub(super) fn new(handler: F) -> Self {
        Self { handler, has_begun: false }
    }
}

impl<F: Future> Future for Answering<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if !std::mem::replace(this.has_begun, true) {
            // hyper looks for a reset whenever there is no answer yet.
            WAIT.set(Wait::Us);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = this.handler.poll(context);
        if polled.is_pending() {
            WAIT.set(Wait::Us);
        }
        polled
    }
}

/// A response body of a stream, one frame's worth at a time: hyper hands over what it has got once there is any window at all, and
/// then no longer knows whether the client took it.
#[derive(Debug)]
pub(super) struct Paced {
    body: Body,
    rest: Bytes,
}

impl From<Body> for Paced {
    fn from(body: Body) -> Self {
        Self { body, rest: Bytes::new() }
    }
}

impl http_body::Body for Paced {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.rest.is_empty() {
            let polled = Pin::new(&mut self.body).poll_frame(context);
            WAIT.set(if polled.is_pending() { Wait::Us } else { Wait::ClientAgain });
            match ready!(polled) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                end => return Poll::Ready(end),
            }
        }
        WAIT.set(Wait::ClientAgain);
        let piece = self.rest.len().min(FRAME);
        let piece = self.rest.split_to(piece);
        GIVEN.set(GIVEN.get() + piece.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}
