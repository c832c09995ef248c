//! What a connection waits for, since when, and the one alarm that ends the wait.
//!
//! A timer for each wait would be set and taken back with every request. Here a wait only writes down when it began; the
//! connection's task looks at that whenever it is polled anyway, and its single timer is moved only when it would ring too late.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::cut::Cut;
use crate::config::NodeLimits;
use crate::http::Pace;

/// What a client that takes a response is held to.
pub(super) fn of_responses(limits: &NodeLimits) -> Pace {
    Pace { idle: limits.write_idle, rate: limits.response_body_rate }
}

/// What one connection waits for. Written by its socket, its timer and its streams; read by its task.
#[derive(Debug)]
pub(super) struct Pulse {
    born: Instant,
    /// HTTP/1: hyper waits for a head. HTTP/2: the last stream closed.
    idle: Moment,
    /// HTTP/1: the first byte of the head that hyper waits for.
    head: Moment,
    /// A write that the kernel did not take.
    blocked: Moment,
    /// How long writes were blocked before, in microseconds, and the bytes that went meanwhile and in between. On HTTP/1 of one response;
    /// on HTTP/2 of all responses since the last time when there was none.
    stalled: AtomicU64,
    sent: AtomicU64,
    /// HTTP/1: the client closed its side; after that, the last write that the kernel took.
    half_closed: Moment,
    heard: AtomicBool,
    /// HTTP/1: the last request came with a body.
    body: AtomicBool,
    multiplexed: AtomicBool,
    streams: AtomicUsize,
    resets: AtomicUsize,
    glitched: AtomicBool,
    /// HTTP/1: the next answer is the last.
    parting: AtomicBool,
}

/// A moment in microseconds after the connection's birth, plus one; 0 is never.
#[derive(Debug, Default)]
struct Moment(AtomicU64);

impl Moment {
    fn set(&self, after: Duration) {
        self.0.store(u64::try_from(after.as_micros()).unwrap_or(u64::MAX - 1).saturating_add(1), Relaxed);
    }

    fn clear(&self) {
        self.0.store(0, Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Relaxed) != 0
    }

    fn after(&self, born: Instant, wait: Duration) -> Option<Instant> {
        let micros = self.0.load(Relaxed).checked_sub(1)?;
        Some(born + Duration::from_micros(micros) + wait)
    }
}

impl Pulse {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            born: Instant::now(),
            idle: Moment::default(),
            head: Moment::default(),
            blocked: Moment::default(),
            stalled: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            half_closed: Moment::default(),
            heard: AtomicBool::new(false),
            body: AtomicBool::new(false),
            multiplexed: AtomicBool::new(false),
            streams: AtomicUsize::new(0),
            resets: AtomicUsize::new(0),
            glitched: AtomicBool::new(false),
            parting: AtomicBool::new(false),
        })
    }

    /// HTTP begins: bytes of a TLS handshake do not count as a sign of life.
    pub(super) fn begin(&self, multiplexed: bool) {
        self.heard.store(false, Relaxed);
        self.multiplexed.store(multiplexed, Relaxed);
        self.rest();
    }

    /// From now on nothing is asked of us.
    pub(super) fn rest(&self) {
        self.body.store(false, Relaxed);
        self.count_anew();
        self.head.clear();
        self.idle.set(self.born.elapsed());
    }

    /// HTTP/1: the head that hyper waited for has come.
    pub(super) fn has_head(&self) {
        self.idle.clear();
        self.head.clear();
    }

    /// A response begins: how earlier ones were taken is forgotten.
    fn count_anew(&self) {
        self.stalled.store(0, Relaxed);
        self.sent.store(0, Relaxed);
    }

    /// The socket gave bytes.
    pub(super) fn read(&self) {
        if !self.heard.load(Relaxed) {
            self.heard.store(true, Relaxed);
        }
        if self.idle.is_set() && !self.head.is_set() && !self.multiplexed.load(Relaxed) {
            self.head.set(self.born.elapsed());
        }
    }

    /// The socket took bytes.
    pub(super) fn wrote(&self, bytes: usize) {
        // No more than one task writes to a socket.
        self.sent.store(self.sent.load(Relaxed).saturating_add(bytes as u64), Relaxed);
        if let Some(since) = self.blocked.after(self.born, Duration::ZERO) {
            let stalled = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.stalled.store(self.stalled.load(Relaxed).saturating_add(stalled), Relaxed);
            self.blocked.clear();
        }
        if self.half_closed.is_set() {
            self.half_closed();
        }
    }

    /// The client has closed its side, and may still read.
    pub(super) fn half_closed(&self) {
        self.half_closed.set(self.born.elapsed());
    }

    /// The socket took none.
    pub(super) fn blocked(&self) {
        if !self.blocked.is_set() {
            self.blocked.set(self.born.elapsed());
        }
    }

    /// A request came, with a body or without one.
    pub(super) fn expects_body(&self, body: bool) {
        self.body.store(body, Relaxed);
    }

    /// Whether the client may still be sending the last request.
    pub(super) fn has_body(&self) -> bool {
        self.body.load(Relaxed)
    }

    /// An HTTP/2 stream is open until the returned value is dropped.
    pub(super) fn open(self: &Arc<Self>) -> OpenStream {
        if self.streams.fetch_add(1, Relaxed) == 0 {
            self.count_anew();
        }
        OpenStream(Arc::clone(self))
    }

    /// Whether a stream is open.
    pub(super) fn has_streams(&self) -> bool {
        self.streams.load(Relaxed) > 0
    }

    /// HTTP/2: the client has sent more frames that bring nothing than it may.
    pub(super) fn glitched(&self) {
        self.glitched.store(true, Relaxed);
    }

    /// Whether it has.
    pub(super) fn is_glitched(&self) -> bool {
        self.glitched.load(Relaxed)
    }

    /// HTTP/1: the answer that comes next says that it is the last one.
    pub(super) fn part(&self) {
        self.parting.store(true, Relaxed);
    }

    /// Whether an answer has to say so.
    pub(super) fn is_parting(&self) -> bool {
        self.parting.load(Relaxed)
    }

    /// A request has been given to its handler; see [`Attempt`].
    pub(super) fn attempt(self: &Arc<Self>) -> Attempt {
        Attempt { pulse: Arc::clone(self), answered: false }
    }

    /// When the connection has to end if nothing changes, and why.
    fn due(&self, limits: &NodeLimits, idle: Duration) -> Option<(Instant, Cut)> {
        // Twice what may be open at once: a browser that leaves a page takes everything back, and then asks again.
        if self.resets.load(Relaxed) > 2 * super::count(limits.h2_streams) {
            return Some((self.born, Cut::Resets));
        }
        if self.glitched.load(Relaxed) {
            return Some((self.born, Cut::Glitches));
        }
        let waiting = || {
            if self.streams.load(Relaxed) > 0 {
                None
            } else if let Some(at) = self.head.after(self.born, limits.header_timeout) {
                Some((at, Cut::SlowHead))
            } else if !self.heard.load(Relaxed) {
                Some((self.idle.after(self.born, limits.header_timeout)?, Cut::Silent))
            } else {
                Some((self.idle.after(self.born, idle)?, Cut::Idle))
            }
        };
        let blocked = self.blocked.after(self.born, Duration::ZERO).map(|since| {
            let before = Duration::from_micros(self.stalled.load(Relaxed));
            let patience = of_responses(limits).patience(before, self.sent.load(Relaxed));
            (since + patience, if patience < limits.write_idle { Cut::SlowReader } else { Cut::NotReading })
        });
        let hung_up = self.half_closed.after(self.born, limits.half_close).map(|at| (at, Cut::HungUp));
        blocked.into_iter().chain(hung_up).chain(waiting()).min_by_key(|(at, _)| *at)
    }
}

/// An open HTTP/2 stream.
#[derive(Debug)]
pub(super) struct OpenStream(Arc<Pulse>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        // The moment first: a connection without streams must never be judged by an older one.
        self.0.idle.set(self.0.born.elapsed());
        self.0.streams.fetch_sub(1, Relaxed);
    }
}

/// A request that its handler works on. Dropped without an answer, it counts against the client; each answer makes up for one.
#[derive(Debug)]
pub(super) struct Attempt {
    pulse: Arc<Pulse>,
    answered: bool,
}

impl Attempt {
    pub(super) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let resets = &self.pulse.resets;
        let change = |n: usize| if self.answered { n.saturating_sub(1) } else { n.saturating_add(1) };
        let _ = resets.fetch_update(Relaxed, Relaxed, |n| Some(change(n)));
    }
}

/// The connection's one timer.
#[derive(Debug)]
pub(super) struct Alarm<'a> {
    pulse: &'a Pulse,
    limits: &'a NodeLimits,
    idle: Duration,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

impl<'a> Alarm<'a> {
    pub(super) fn new(pulse: &'a Pulse, limits: &'a NodeLimits) -> Self {
        let sleep = Box::pin(tokio::time::sleep(limits.header_timeout));
        Self { pulse, limits, idle: limits.keepalive_idle, sleep }
    }

    /// How long an idle connection may stay: for `keepalive_idle`, or less in a crowd. Says whether that is longer than before.
    pub(super) fn be_patient_for(&mut self, patience: Duration) -> bool {
        let before = std::mem::replace(&mut self.idle, patience.min(self.limits.keepalive_idle));
        self.idle > before
    }

    /// The goodbye has been said: the client has no longer than a head's time to hear it.
    pub(super) fn hurry(&mut self) {
        self.idle = self.limits.header_timeout;
        if self.pulse.idle.is_set() && !self.pulse.head.is_set() {
            self.pulse.rest();
        }
    }

    /// Resolves when the connection has to end. Poll it after the connection, so that it sees what has just begun.
    pub(super) fn rings(&mut self) -> impl Future<Output = Cut> {
        poll_fn(|context| self.poll(context))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Cut> {
        loop {
            let due = self.pulse.due(self.limits, self.idle);
            if let Some((at, _)) = due
                && at < self.sleep.deadline().into_std()
            {
                self.sleep.as_mut().reset(at.into());
            }
            if self.sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            let next = match due {
                Some((at, cut)) if at <= now => return Poll::Ready(cut),
                Some((at, _)) => at,
                // A stream may close without this task being polled; what is due then lies no earlier than this.
                None => now + self.idle,
            };
            self.sleep.as_mut().reset(next.into());
        }
    }
}
