//! What one invocation has used, and the limits that it is held to.
//!
//! [`Usage`] is shared between the store's data, which is reached from inside a poll, and whoever polls the guest from outside.
//! A worker's limits are checked here and nowhere else.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::config::WorkerLimits;
use crate::failure::Failure;

/// The memory of all isolates of the node together.
#[derive(Debug)]
pub struct NodeMemory {
    limit: u64,
    used: AtomicU64,
}

impl NodeMemory {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU64::new(0) })
    }

    /// In bytes.
    #[cfg(test)]
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    fn take(&self, bytes: u64, worker: &WorkerMemory) -> bool {
        let before = self.used.fetch_add(bytes, Relaxed);
        let worker_before = worker.0.fetch_add(bytes, Relaxed);
        let fits = before.saturating_add(bytes) <= self.limit
            && worker_before.saturating_add(bytes) <= self.limit.saturating_sub(before).saturating_mul(ROOM);
        if !fits {
            self.give_back(bytes, worker);
        }
        fits
    }

    fn give_back(&self, bytes: u64, worker: &WorkerMemory) {
        worker.0.fetch_sub(bytes, Relaxed);
        self.used.fetch_sub(bytes, Relaxed);
    }
}

/// A worker may have so many times what nobody has: eight ninths of the node when it is the only one that wants much, 8/17 when
/// there are two. Something is always left, so a worker that takes all that it can get fails alone, and its neighbours go on.
const ROOM: u64 = 8;

/// The memory of all isolates of one version of a worker together.
#[derive(Debug, Default)]
pub struct WorkerMemory(AtomicU64);

/// What one invocation has used so far. Written on one core at a time; atomics only make it shareable.
#[derive(Debug)]
pub struct Usage {
    /// Time that finished polls took, in nanoseconds.
    polled: AtomicU64,
    /// When the poll in progress began, in nanoseconds since `epoch`.
    poll_began: AtomicU64,
    /// The thread's CPU clock when the part of the poll that is measured by it began; 0 when it is not.
    thread_began: AtomicU64,
    /// Set at the first tick: from then on the thread's CPU clock is read in place of the wall clock.
    precise: AtomicBool,
    peak_memory: AtomicU64,
    epoch: Instant,
    /// The limit that was met first, though the guest may still be running.
    met: OnceLock<Failure>,
    /// Whether somebody has written down that this invocation failed.
    failed: AtomicBool,
}

/// What a poll that has not met a tick can have taken at most; a larger wall time means that the host was not running us.
const FIRST_SLICE: Duration = Duration::from_millis(3);

impl Usage {
    /// Nothing used yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            polled: AtomicU64::new(0),
            poll_began: AtomicU64::new(0),
            thread_began: AtomicU64::new(0),
            precise: AtomicBool::new(false),
            peak_memory: AtomicU64::new(0),
            epoch: Instant::now(),
            met: OnceLock::new(),
            failed: AtomicBool::new(false),
        })
    }

    /// A poll of the guest begins. Where others are at work on this core, `shared`, its time is not what the wall clock says.
    pub fn poll_begins(&self, shared: bool) {
        self.poll_began.store(nanoseconds(self.epoch.elapsed()), Relaxed);
        if shared {
            self.precise.store(true, Relaxed);
        }
        if self.precise.load(Relaxed) {
            self.thread_began.store(thread_time(), Relaxed);
        }
    }

    /// That poll is over.
    pub fn poll_ends(&self) {
        self.polled.fetch_add(self.since_poll_began(), Relaxed);
        self.thread_began.store(0, Relaxed);
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

    /// Since the invocation began.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.epoch.elapsed()
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
    pub fn fail(&self) -> bool {
        !self.failed.swap(true, Relaxed)
    }

    /// Whether it has.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }

    /// At a tick, inside a poll: what has been used, and of it by this poll, as far as the clock goes that measures it now. Turns
    /// the exact clock on.
    fn cpu_time_at_tick(&self) -> (Duration, Duration) {
        let running = self.since_poll_began();
        let slice = Duration::from_nanos(running);
        if !self.precise.swap(true, Relaxed) {
            self.polled.fetch_add(running, Relaxed);
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
    node: Arc<NodeMemory>,
    worker: Arc<WorkerMemory>,
    memory: u64,
    /// What was allowed last, and the peak before it: the host may then fail to do it.
    last: (u64, u64),
}

impl Meter {
    /// A meter at zero.
    #[must_use]
    pub fn new(usage: Arc<Usage>, limits: Arc<WorkerLimits>, node: Arc<NodeMemory>, worker: Arc<WorkerMemory>) -> Self {
        Self { usage, limits, node, worker, memory: 0, last: (0, 0) }
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
        let failure = Failure::WorkerCpuExceeded { limit };
        self.usage.meet(failure.clone());
        Err(failure)
    }

    fn grow(&mut self, current: usize, desired: usize, size: u64) -> bool {
        let more = (desired.saturating_sub(current) as u64).saturating_mul(size);
        let limit = self.limits.memory;
        if self.memory.saturating_add(more) > limit {
            self.usage.meet(Failure::WorkerMemoryExceeded { limit });
            return false;
        }
        if !self.node.take(more, &self.worker) {
            self.usage.meet(Failure::Overloaded {
                reason: "the node has no memory left for isolates",
                retry_after: Duration::from_secs(1),
            });
            return false;
        }
        self.memory += more;
        self.last = (more, self.usage.peak_memory.fetch_max(self.memory, Relaxed));
        true
    }

    /// What was allowed last did not come about. wasmtime also says so without having asked, but only for memories of 1-byte pages
    /// and tables of 64-bit size, which the engines refuse: else a guest could have taken back what it did get.
    fn undo(&mut self) {
        let (more, peak) = std::mem::take(&mut self.last);
        if more > 0 {
            self.memory -= more;
            self.node.give_back(more, &self.worker);
            self.usage.peak_memory.store(peak, Relaxed);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.node.give_back(self.memory, &self.worker);
    }
}

/// A table's element is a pointer.
const TABLE_ELEMENT: u64 = size_of::<usize>() as u64;

impl wasmtime::ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow(current, desired, 1))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(%error, "a memory did not grow");
        self.undo();
        Ok(())
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(%error, "a table did not grow");
        self.undo();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow(current, desired, TABLE_ELEMENT))
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
    use crate::config::LimitTable;

    const MIB: usize = 1 << 20;

    fn meter(node: &Arc<NodeMemory>) -> Meter {
        Meter::new(Usage::new(), Arc::new(LimitTable::builtin().worker_defaults()), Arc::clone(node), Arc::default())
    }

    #[test]
    fn memory_that_the_host_could_not_give_is_given_back() {
        let node = NodeMemory::new(64 * MIB as u64);
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
    fn what_is_denied_reserves_nothing_and_is_remembered() {
        let node = NodeMemory::new(2 * MIB as u64);
        let mut meter = meter(&node);
        assert!(!meter.memory_growing(0, 3 * MIB, None).unwrap());
        assert_eq!(node.used(), 0);
        assert!(matches!(meter.usage.met(), Some(Failure::Overloaded { .. })));
        assert!(!meter.table_growing(0, 2, Some(1)).unwrap(), "the guest's own maximum");
    }

    #[test]
    fn a_failure_is_counted_by_the_first_who_notices() {
        let usage = Usage::new();
        assert!(!usage.has_failed());
        assert!(usage.fail());
        assert!(!usage.fail() && usage.has_failed());
    }

    #[test]
    fn a_worker_that_takes_all_it_can_get_leaves_some_for_another() {
        let node = NodeMemory::new(900);
        let (greedy, other) = (WorkerMemory::default(), WorkerMemory::default());
        while node.take(1, &greedy) {}
        assert_eq!(node.used(), 800, "eight times what is free");
        assert!(node.take(50, &other));
        assert!(!node.take(1, &greedy));
        node.give_back(50, &other);
        node.give_back(800, &greedy);
        assert_eq!(node.used(), 0);
    }

    #[test]
    fn together_they_have_no_more_than_the_node() {
        let node = NodeMemory::new(900);
        assert!(!node.take(901, &WorkerMemory::default()));
        assert!(node.take(900, &WorkerMemory::default()));
        assert!(!node.take(1, &WorkerMemory::default()));
    }
}
