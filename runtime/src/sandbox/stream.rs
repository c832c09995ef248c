//! A response after its head: small bodies are finished in place, the others stream while the guest runs on in a task.
//!
//! The body stands in a slot between hyper, which reads it when its client does, and the task that drives the guest, which
//! empties the slot when a deadline has passed: hyper does not poll a body whose client does not read.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame};
use tokio::time::{Instant, sleep_until};
use wasmtime_wasi_http::WasiBody;

use super::lane::{self, WorkerId};
use super::metered::Metered;
use crate::bindings::bounded;
use crate::config::WorkerLimits;
use crate::failure::Failure;
use crate::http::{Body, BodyError};
use crate::observe;

/// Bodies up to this size are collected while the guest is still in its first poll, and sent with their length.
const SMALL: u64 = 64 << 10;

/// So much of a body is read in a row. Then it waits for a turn, so that crowds of clients with large bodies delay no neighbour.
const IN_A_ROW: u64 = 256 << 10;

/// What a field takes besides its name and value: `: ` and the end of the line (RFC 9112 §5).
const FIELD: usize = 4;

/// How often guest and body are polled in turn before the rest becomes a stream.
const ROUNDS: usize = 8;

/// Makes the response out of its head; takes over the isolate if it is not done.
///
/// # Errors
/// When the guest ends badly before anything was sent.
pub(super) fn respond(
    response: http::Response<WasiBody>,
    mut isolate: Metered,
    worker: WorkerId,
    limits: Arc<WorkerLimits>,
) -> Result<http::Response<Body>, Failure> {
    let (head, body) = response.into_parts();
    let header: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD).sum();
    let mut start = Start { body, frames: VecDeque::new(), bytes: 0, ended: false };
    let begun = match header as u64 > limits.response_header {
        true => Err(Failure::WorkerHeaderTooLarge { limit: limits.response_header }),
        false => start.pump(&mut isolate, &limits),
    };
    if let Err(failure) = begun {
        // The answer is counted as a failure: the isolate, which goes now, is not counted once more.
        isolate.usage.fail(failure.code());
        return Err(failure);
    }
    if isolate.is_done()
        && let Some(failure) = isolate.failure_after_head(&limits)
    {
        isolate.fail_late(&failure);
    }
    let whole = start.ended && start.frames.iter().all(Frame::is_data);
    let done = isolate.is_done();
    let body = if whole {
        if !done {
            observe::spawn("isolate", drive(isolate, Slot::ended(), limits));
        }
        Body::from(concatenate(&mut start.frames, start.bytes))
    } else {
        let slot = Slot::open(start, limits.response_body);
        if !done {
            observe::spawn("isolate", drive(isolate, Arc::clone(&slot), limits));
        }
        Body::boxed(Reader { slot, worker, in_a_row: 0, turn: None })
    };
    Ok(http::Response::from_parts(head, body))
}

fn concatenate(frames: &mut VecDeque<Frame<Bytes>>, length: u64) -> Bytes {
    let mut chunks = frames.drain(..).filter_map(|frame| frame.into_data().ok());
    let first = chunks.next().unwrap_or_default();
    if first.len() as u64 == length {
        return first;
    }
    let mut whole = BytesMut::from(first);
    chunks.for_each(|chunk| whole.extend_from_slice(&chunk));
    whole.freeze()
}

/// The beginning of a body, read before anything is sent.
struct Start {
    body: WasiBody,
    frames: VecDeque<Frame<Bytes>>,
    bytes: u64,
    ended: bool,
}

impl Start {
    /// Polls body and guest in turn while both have something to do at once.
    ///
    /// # Errors
    /// When the body breaks off, or the guest ends before it has ended its body: nothing has been sent yet.
    fn pump(&mut self, isolate: &mut Metered, limits: &WorkerLimits) -> Result<(), Failure> {
        // Whoever takes over polls again with a waker of its own.
        let mut context = Context::from_waker(Waker::noop());
        for round in 0..=ROUNDS {
            let (before, done) = (self.frames.len(), isolate.is_done());
            // A guest that is done has left no more than its last chunks.
            self.read(&mut context, if done { u64::MAX } else { SMALL })?;
            if self.bytes > limits.response_body {
                return Err(Failure::WorkerBodyTooLarge { limit: limits.response_body });
            }
            if self.ended {
                return Ok(());
            }
            if done {
                return Err(isolate.failure_after_head(limits).unwrap_or_else(never_ended));
            }
            if self.bytes > SMALL || round == ROUNDS {
                return Ok(());
            }
            let ended = Pin::new(&mut *isolate).poll(&mut context).is_ready();
            if !ended && self.frames.len() == before {
                return Ok(());
            }
        }
        Ok(())
    }

    fn read(&mut self, context: &mut Context<'_>, most: u64) -> Result<(), Failure> {
        while self.bytes <= most {
            match next(&mut self.body, context) {
                Poll::Ready(Some(frame)) => {
                    let frame = frame?;
                    self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                    self.frames.push_back(frame);
                }
                Poll::Ready(None) => {
                    self.ended = true;
                    return Ok(());
                }
                Poll::Pending => return Ok(()),
            }
        }
        Ok(())
    }
}

/// The guest is done, and its body has neither ended nor broken off.
fn never_ended() -> Failure {
    Failure::WorkerError("it did not end its response body".to_owned())
}

/// The next frame that holds something: each empty one would cost HTTP/2 a frame of its own (GHSA-f8mm-ggr3-89wh).
fn next(body: &mut WasiBody, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
    loop {
        return match ready!(Pin::new(&mut *body).poll_frame(context)) {
            Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => continue,
            Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
            Some(Err(error)) => {
                let why = bounded(format_args!("its response body broke off: {error}"));
                Poll::Ready(Some(Err(Failure::WorkerError(why))))
            }
            None => Poll::Ready(None),
        };
    }
}

/// Where a streaming body stands between its reader and its driver.
struct Slot(Mutex<State>);

struct State {
    body: Option<WasiBody>,
    frames: VecDeque<Frame<Bytes>>,
    sent: u64,
    limit: u64,
    began: Instant,
    progress: Instant,
    /// Set when nobody reads any more: the end was read, or the reader went away, or was cut off.
    over: Option<Instant>,
    failure: Option<Failure>,
    reader: Option<Waker>,
    driver: Option<Waker>,
}

impl Slot {
    fn open(start: Start, limit: u64) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self(Mutex::new(State {
            body: (!start.ended).then_some(start.body),
            frames: start.frames,
            sent: 0,
            limit,
            began: now,
            progress: now,
            over: None,
            failure: None,
            reader: None,
            driver: None,
        })))
    }

    fn ended() -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self(Mutex::new(State {
            body: None,
            frames: VecDeque::new(),
            sent: 0,
            limit: 0,
            began: now,
            progress: now,
            over: Some(now),
            failure: None,
            reader: None,
            driver: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Nobody will read on: the guest's writes fail from here.
    fn finish(&mut self) {
        self.body = None;
        self.frames.clear();
        self.over.get_or_insert_with(Instant::now);
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    /// The client sees a broken stream, never a clean end.
    fn abort(&mut self, failure: Failure) {
        if self.over.is_none() {
            self.failure.get_or_insert(failure);
        }
        self.finish();
        self.wake_reader();
    }

    /// The guest is done, and its store is still there: what it has written is in the body, and so is the end, if it made one.
    /// Only then does `failure` change nothing. Returns why the guest's end was no good one.
    fn guest_ended(&mut self, failure: Option<Failure>) -> Option<Failure> {
        let mut context = Context::from_waker(Waker::noop());
        let fault = loop {
            let Some(body) = &mut self.body else { return failure };
            match next(body, &mut context) {
                Poll::Ready(Some(Ok(frame))) => self.frames.push_back(frame),
                Poll::Ready(Some(Err(error))) => break failure.unwrap_or(error),
                Poll::Ready(None) => {
                    self.body = None;
                    self.wake_reader();
                }
                Poll::Pending => break failure.unwrap_or_else(never_ended),
            }
        };
        self.abort(fault.clone());
        Some(fault)
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(self.count(frame)));
        }
        if let Some(failure) = self.failure.take() {
            self.finish();
            return Poll::Ready(Some(Err(failure.into())));
        }
        let Some(body) = &mut self.body else {
            self.finish();
            return Poll::Ready(None);
        };
        match next(body, context) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(self.count(frame))),
            Poll::Ready(Some(Err(error))) => {
                self.finish();
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Pending => {
                self.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn count(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        self.progress = Instant::now();
        self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
        if self.sent <= self.limit {
            return Ok(frame);
        }
        let failure = Failure::WorkerBodyTooLarge { limit: self.limit };
        self.finish();
        Err(failure.into())
    }
}

/// hyper's side of the slot.
struct Reader {
    slot: Arc<Slot>,
    worker: WorkerId,
    /// In bytes.
    in_a_row: u64,
    /// What it waits for.
    turn: Option<lane::Turn>,
}

impl http_body::Body for Reader {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.in_a_row >= IN_A_ROW {
            self.in_a_row = 0;
            self.turn = Some(lane::turn(self.worker));
        }
        if let Some(turn) = &mut self.turn {
            ready!(turn.as_mut().poll(context));
            self.turn = None;
        }
        let frame = ready!(self.slot.lock().poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            self.in_a_row += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        Poll::Ready(frame)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.slot.lock().finish();
    }
}

/// Drives a guest that goes on after its response head, until it is done or a deadline has passed.
async fn drive(mut isolate: Metered, slot: Arc<Slot>, limits: Arc<WorkerLimits>) {
    let mut timer = pin!(sleep_until(deadline(&slot, &limits).0));
    std::future::poll_fn(|context| {
        // The response was refused, or broke off by the guest's own fault: it has no claim to go on.
        if isolate.usage.failure().is_some() {
            return Poll::Ready(());
        }
        slot.lock().driver = Some(context.waker().clone());
        if Pin::new(&mut isolate).poll(context).is_ready() {
            if let Some(failure) = slot.lock().guest_ended(isolate.failure_after_head(&limits)) {
                isolate.fail_late(&failure);
            }
            return Poll::Ready(());
        }
        loop {
            let (deadline, failure) = deadline(&slot, &limits);
            // Moved forward at once, backward only when it fires: progress is frequent.
            if deadline < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() < deadline {
                continue;
            }
            isolate.fail_late(&failure);
            let mut state = slot.lock();
            if state.over.is_some() {
                return Poll::Ready(());
            }
            state.abort(failure);
        }
    })
    .await;
    if let Some(over) = slot.lock().over {
        isolate.usage.goes_on(over.elapsed());
    }
}

/// What ends the guest next, and as what.
fn deadline(slot: &Slot, limits: &WorkerLimits) -> (Instant, Failure) {
    let state = slot.lock();
    if let Some(over) = state.over {
        return (over + limits.wait_until, Failure::WorkerWaitUntilExceeded { limit: limits.wait_until });
    }
    let idle = state.progress + limits.stream_idle;
    match limits.stream_total {
        Some(total) if state.began + total < idle => {
            (state.began + total, Failure::WorkerStreamTimeout { limit: total })
        }
        _ => (idle, Failure::WorkerStreamTimeout { limit: limits.stream_idle }),
    }
}
