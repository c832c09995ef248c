//! What one invocation has used, and the limits that it is held to.
//!
//! [`Usage`] is shared between the store's data, which is reached from inside a poll, and whoever polls the guest from outside.
//! A worker's limits are checked here and nowhere else.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::WorkerShare;
use crate::config::{WorkerLimits, held};
use crate::failure::Failure;

/// What one invocation has used so far. Written on one core at a time; atomics only make it shareable.
#[derive(Debug)]
pub struct Usage {
    /// Time that finished polls took, in nanoseconds.
    polled: AtomicU64,
    /// When the poll in progress began, in nanoseconds since `epoch`; the first one begins with the invocation.
    poll_began: AtomicU64,
    is_first_poll: AtomicBool,
    /// The thread's CPU clock when the part of the poll that is measured by it began; 0 when it is not.
    thread_began: AtomicU64,
    /// Set at the first tick: from then on the thread's CPU clock is read in place of the wall clock.
    precise: AtomicBool,
    peak_memory: AtomicU64,
    /// How long the guest went on when its response was over, in nanoseconds; 0 when it did not.
    went_on: AtomicU64,
    epoch: Instant,
    /// The limit that was met first, though the guest may still be running.
    met: OnceLock<Failure>,
    /// The code of this invocation's failure, once somebody has counted it.
    failed: OnceLock<&'static str>,
}

/// What a poll that has not met a tick can have taken at most, when ticks are rare; a larger wall time means that the host was not
/// running us.
const FIRST_SLICE: Duration = Duration::from_millis(5);

/// A guest returns some time after it has ended its response; that is no work yet.
const NOTHING: Duration = Duration::from_millis(1);

impl Usage {
    /// Nothing used yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            polled: AtomicU64::new(0),
            poll_began: AtomicU64::new(0),
            is_first_poll: AtomicBool::new(true),
            thread_began: AtomicU64::new(0),
            precise: AtomicBool::new(false),
            peak_memory: AtomicU64::new(0),
            went_on: AtomicU64::new(0),
            epoch: Instant::now(),
            met: OnceLock::new(),
            failed: OnceLock::new(),
        })
    }

    /// A poll of the guest begins. Where others are at work on this core, `shared`, its time is not what the wall clock says.
    pub fn poll_begins(&self, shared: bool) {
        if !held() {
            return;
        }
        if self.is_first_poll.load(Relaxed) {
            self.is_first_poll.store(false, Relaxed);
        } else {
            self.poll_began.store(nanoseconds(self.epoch.elapsed()), Relaxed);
        }
        if shared {
            self.precise.store(true, Relaxed);
        }
        if self.precise.load(Relaxed) {
            self.thread_began.store(thread_time(), Relaxed);
        }
    }

    /// That poll is over.
    pub fn poll_ends(&self) {
        if !held() {
            return;
        }
        self.add(self.since_poll_began());
        self.thread_began.store(0, Relaxed);
    }

    /// No atomic addition, which would wait for all writes before it: nobody else writes.
    fn add(&self, polled: u64) {
        self.polled.store(self.polled.load(Relaxed) + polled, Relaxed);
    }

    /// What the isolate took before this invocation, to be there for it.
    pub fn began_ahead(&self, took: Duration) {
        self.add(nanoseconds(took));
    }

    /// CPU time used, up to the last poll that is over, or the first tick of the one in progress.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.polled.load(Relaxed))
    }

    /// The most memory that the isolate has had, in bytes.
    #[must_use]
    pub fn peak_memory(&self) -> u64 {
        self.peak_memory.load(Relaxed)
    }

    /// When the invocation began.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.epoch
    }

    /// Since the invocation began.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// The guest went on for so long when its response was over. What is next to nothing does not count.
    pub fn goes_on(&self, took: Duration) {
        if took >= NOTHING {
            self.went_on.store(nanoseconds(took), Relaxed);
        }
    }

    /// For how long it did, if it did.
    #[must_use]
    pub fn went_on(&self) -> Option<Duration> {
        Some(Duration::from_nanos(self.went_on.load(Relaxed))).filter(|took| !took.is_zero())
    }

    /// A limit was met. What the guest makes of it is its affair; should it end without a response, this is why.
    pub fn meet(&self, failure: Failure) {
        let _ = self.met.set(failure);
    }

    /// The first limit that was met.
    #[must_use]
    pub fn met(&self) -> Option<&Failure> {
        self.met.get()
    }

    /// The invocation failed. True for the first who says so: only that one counts it, since an answer, its body and what goes on
    /// after it may each notice.
    pub fn fail(&self, code: &'static str) -> bool {
        self.failed.set(code).is_ok()
    }

    /// The code of that failure.
    #[must_use]
    pub fn failure(&self) -> Option<&'static str> {
        self.failed.get().copied()
    }

    /// At a tick, inside a poll: what has been used, and of it by this poll, as far as the clock goes that measures it now. Turns
    /// the exact clock on.
    fn cpu_time_at_tick(&self) -> (Duration, Duration) {
        let running = self.since_poll_began();
        let slice = Duration::from_nanos(running);
        if !self.precise.swap(true, Relaxed) {
            self.add(running);
            self.thread_began.store(thread_time(), Relaxed);
            return (self.cpu_time(), slice);
        }
        (self.cpu_time() + slice, slice)
    }

    fn since_poll_began(&self) -> u64 {
        let thread_began = self.thread_began.load(Relaxed);
        if thread_began != 0 {
            return thread_time().saturating_sub(thread_began);
        }
        let wall = nanoseconds(self.epoch.elapsed()).saturating_sub(self.poll_began.load(Relaxed));
        wall.min(nanoseconds(FIRST_SLICE))
    }
}

/// The part of a store's data that wasmtime asks: memory, and what happens at a tick.
pub struct Meter {
    /// Shared with the one who polls.
    pub usage: Arc<Usage>,
    limits: Arc<WorkerLimits>,
    share: Arc<WorkerShare>,
    trap_on_grow_failure: bool,
    /// The guest has held the core for longer than a slice, and waits for a turn before each further one.
    pub takes_turns: bool,
    /// Memories and tables, in bytes.
    own: u64,
    /// What was allowed last, and the peak before it: the host may then fail to do it.
    last: (u64, u64),
    /// What the host has been made to hold, in bytes.
    held: u64,
    /// What is taken of the node's memory, in whole steps.
    taken: u64,
}

/// So much the host holds for any guest: it is no guest's memory.
const HELD_FREE: u64 = 16 << 10;

/// The node's memory is taken in steps, so that a header field costs an addition, and the tables of a usual guest nothing. A page of
/// a guest's memory is one.
const STEP: u64 = 64 << 10;

impl Meter {
    /// A meter at zero.
    #[must_use]
    pub fn new(
        usage: Arc<Usage>,
        limits: Arc<WorkerLimits>,
        share: Arc<WorkerShare>,
        trap_on_grow_failure: bool,
    ) -> Self {
        Self { usage, limits, share, trap_on_grow_failure, takes_turns: false, own: 0, last: (0, 0), held: 0, taken: 0 }
    }

    /// Whose guest it is.
    #[must_use]
    pub fn worker(&self) -> u32 {
        self.share.id
    }

    /// An isolate that was there already begins an invocation. What it has, it brings along: that is the invocation's memory, too.
    pub fn begin(&mut self, usage: Arc<Usage>) {
        usage.peak_memory.store(self.sum(), Relaxed);
        self.usage = usage;
        self.takes_turns = false;
    }

    /// Memories, tables and what is held for the guest, in bytes.
    #[must_use]
    pub fn sum(&self) -> u64 {
        sum(self.own, self.held)
    }

    /// Nothing is held on behalf of the guest any more.
    pub fn let_go(&mut self) {
        self.held = 0;
        self.give_back();
    }

    /// At a tick of the epoch, inside a poll: for how long this poll has held the core.
    ///
    /// # Errors
    /// The CPU budget is used up.
    pub fn tick(&self) -> Result<Duration, Failure> {
        let (used, slice) = self.usage.cpu_time_at_tick();
        let limit = self.limits.cpu_time;
        if used < limit {
            return Ok(slice);
        }
        Err(self.met(Failure::WorkerCpuExceeded { limit }))
    }

    /// The host now holds so many bytes more on behalf of the guest, which counts until the isolate is gone: most of what a guest
    /// makes the host hold, it holds until then, and a sum that only grows cannot be cheated.
    ///
    /// # Errors
    /// They do not fit.
    pub fn hold(&mut self, bytes: usize) -> Result<(), Failure> {
        self.charge(self.own, self.held.saturating_add(bytes as u64))
    }

    fn grow(&mut self, current: usize, desired: usize, size: u64) -> wasmtime::Result<bool> {
        let more = (desired.saturating_sub(current) as u64).saturating_mul(size);
        let peak = self.usage.peak_memory();
        match self.charge(self.own.saturating_add(more), self.held) {
            Ok(()) => {
                self.last = (more, peak);
                Ok(true)
            }
            Err(failure) if self.trap_on_grow_failure => Err(failure.into()),
            Err(_) => Ok(false),
        }
    }

    fn grow_failed(&mut self, what: &str, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(%error, "{what} did not grow");
        self.undo();
        if self.trap_on_grow_failure { Err(error) } else { Ok(()) }
    }

    /// Makes these the sums, if they fit.
    fn charge(&mut self, own: u64, held: u64) -> Result<(), Failure> {
        let limit = self.limits.memory;
        let sum = sum(own, held);
        if sum > limit {
            return Err(self.met(Failure::WorkerMemoryExceeded { limit }));
        }
        let steps = steps(own, held);
        if steps > self.taken {
            if !self.share.take(steps - self.taken) {
                return Err(self.met(Failure::Overloaded {
                    reason: "the node has no memory left for isolates",
                    retry_after: Duration::from_secs(1),
                }));
            }
            self.taken = steps;
        }
        (self.own, self.held) = (own, held);
        self.usage.peak_memory.store(self.usage.peak_memory().max(sum), Relaxed);
        Ok(())
    }

    fn met(&self, failure: Failure) -> Failure {
        self.usage.meet(failure.clone());
        failure
    }

    /// What was allowed last did not come about. wasmtime also says so without having asked, but only for memories of 1-byte pages
    /// and tables of 64-bit size, which the engines refuse: else a guest could have taken back what it did get.
    fn undo(&mut self) {
        let (more, peak) = std::mem::take(&mut self.last);
        if more > 0 {
            self.own -= more;
            self.give_back();
            self.usage.peak_memory.store(peak, Relaxed);
        }
    }

    /// What is taken of the node beyond what is had by now.
    fn give_back(&mut self) {
        let steps = steps(self.own, self.held);
        self.share.give_back(self.taken - steps);
        self.taken = steps;
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.share.give_back(self.taken);
    }
}

/// What counts for limit `memory`.
fn sum(own: u64, held: u64) -> u64 {
    own.saturating_add(held.saturating_sub(HELD_FREE))
}

/// What is taken of the node for so much.
fn steps(own: u64, held: u64) -> u64 {
    own.saturating_add(held).saturating_sub(HELD_FREE).next_multiple_of(STEP)
}

/// A table's element is a pointer.
const TABLE_ELEMENT: u64 = size_of::<usize>() as u64;

impl wasmtime::ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.grow(current, desired, 1)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.grow_failed("a memory", error)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.grow_failed("a table", error)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.grow(current, desired, TABLE_ELEMENT)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The CPU time of this thread, in nanoseconds; never 0.
fn thread_time() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64).max(1)
}

#[cfg(test)]
mod tests {
    use wasmtime::ResourceLimiter;

    use super::*;
    use crate::bindings::{NodeMemory, WorkerShares};
    use crate::config::LimitTable;

    const MIB: usize = 1 << 20;

    fn meter(node: &Arc<NodeMemory>) -> Meter {
        let limits = Arc::new(LimitTable::builtin().worker_defaults());
        let share = WorkerShares::new(Arc::clone(node)).of("worker");
        Meter::new(Usage::new(), limits, share, false)
    }

    #[test]
    fn memory_that_the_host_could_not_give_is_given_back() {
        let node = NodeMemory::new(64 * MIB as u64, 0);
        let mut meter = meter(&node);
        assert!(meter.memory_growing(0, MIB, None).unwrap());
        assert!(meter.memory_growing(MIB, 33 * MIB, None).unwrap());
        meter.memory_grow_failed(wasmtime::format_err!("no address space")).unwrap();
        assert_eq!((node.used(), meter.usage.peak_memory()), (MIB as u64, MIB as u64));
        meter.memory_grow_failed(wasmtime::format_err!("without having asked")).unwrap();
        assert_eq!(node.used(), MIB as u64);
        drop(meter);
        assert_eq!(node.used(), 0);
    }

    #[test]
    fn an_isolate_brings_its_memory_to_the_next_invocation_and_nothing_else() {
        let node = NodeMemory::new(64 * MIB as u64, 0);
        let mut meter = meter(&node);
        assert!(meter.memory_growing(0, MIB, None).unwrap());
        meter.hold(2 * MIB).unwrap();
        meter.takes_turns = true;
        let held = meter.sum();
        let next = Usage::new();
        next.began_ahead(Duration::from_micros(7));
        meter.begin(Arc::clone(&next));
        assert_eq!((next.peak_memory(), next.cpu_time()), (held, Duration::from_micros(7)));
        assert!(!meter.takes_turns);
        meter.let_go();
        assert_eq!((node.used(), meter.sum()), (MIB as u64, MIB as u64));
        drop(meter);
        assert_eq!(node.used(), 0);
    }

    #[test]
    fn what_is_denied_reserves_nothing_and_is_remembered() {
        let node = NodeMemory::new(2 * MIB as u64, 0);
        let mut meter = meter(&node);
        assert!(!meter.memory_growing(0, 3 * MIB, None).unwrap());
        assert_eq!(node.used(), 0);
        assert!(matches!(meter.usage.met(), Some(Failure::Overloaded { .. })));
        assert!(!meter.table_growing(0, 2, Some(1)).unwrap(), "the guest's own maximum");
    }

    #[test]
    fn a_failure_is_counted_by_the_first_who_notices() {
        let usage = Usage::new();
        assert_eq!(usage.failure(), None);
        assert!(usage.fail("worker_stream_timeout"));
        assert!(!usage.fail("client_gone"));
        assert_eq!(usage.failure(), Some("worker_stream_timeout"));
    }

    #[test]
    fn what_the_host_holds_is_reserved_in_steps_and_refused_past_the_limit() {
        let node = NodeMemory::new(1 << 30, 0);
        let mut meter = meter(&node);
        meter.hold(HELD_FREE as usize).unwrap();
        assert_eq!(node.used(), 0, "a usual request reserves nothing");
        meter.hold(1).unwrap();
        meter.hold(STEP as usize - 1).unwrap();
        assert_eq!(node.used(), STEP);
        let limit = meter.limits.memory;
        assert!(meter.memory_growing(0, 100 * MIB, None).unwrap());
        assert!(matches!(meter.hold(28 * MIB), Err(Failure::WorkerMemoryExceeded { .. })));
        assert!(meter.hold(usize::MAX).is_err());
        assert_eq!(node.used(), 100 * MIB as u64 + STEP);
        assert!(node.used() <= limit);
        drop(meter);
        assert_eq!(node.used(), 0);
    }
}
