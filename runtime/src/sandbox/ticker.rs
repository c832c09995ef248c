//! The thread that moves the epochs of both engines, and rests when no isolate runs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use wasmtime::{Engine, EngineWeak};

/// The resolution of CPU limits, and the length of a guest's first slice, while there are guests that are long.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// The time between two ticks while no guest is long. A tick costs 20 to 30 µs on a virtual machine: each millisecond, that was 3 % of
/// what a short request costs.
const RARE_TICK: Duration = Duration::from_millis(4);

/// A long guest was seen so long ago at most: there may be more.
const RECENT: Duration = Duration::from_secs(1);

/// The time between two ticks while a guest has its slice somewhere, and the length of a slice: what a neighbour waits for.
pub(super) const FINE_TICK: Duration = Duration::from_micros(250);

/// A guest that has held its core for less than this when a tick comes goes on: the tick came early in its slice.
pub(super) const SHORT: Duration = Duration::from_micros(500);

/// The same for a guest that takes turns.
pub(super) const SHORT_TURN: Duration = Duration::from_micros(150);

/// Whether a guest was long when the last tick came.
static LONG: AtomicBool = AtomicBool::new(false);

/// A guest has held its core for a slice: ticks come each [`TICK`] for some time.
pub(super) fn is_long() {
    LONG.store(true, Relaxed);
}

/// Slices in progress. One for the process: lanes belong to threads, and know of no engine.
static SLICES: Slices = Slices { running: Mutex::new(0), first: Condvar::new() };

struct Slices {
    /// On how many cores.
    running: Mutex<usize>,
    /// The first one begins.
    first: Condvar,
}

impl Slices {
    fn running(&self) -> MutexGuard<'_, usize> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Comes back at the next tick: a slice's length after the first began, and after so long at the latest.
    fn wait_for_tick(&self, tick: Duration) {
        let mut running = self.running();
        let mut next = Instant::now() + tick;
        loop {
            let now = Instant::now();
            if *running > 0 {
                next = next.min(now + FINE_TICK);
            }
            let Some(left) = next.checked_duration_since(now).filter(|left| !left.is_zero()) else { return };
            running = self.first.wait_timeout(running, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A guest has its slice for as long as this lives: ticks come more often.
#[derive(Debug)]
pub(super) struct Fine(());

impl Fine {
    pub(super) fn ticks() -> Self {
        let mut running = SLICES.running();
        *running += 1;
        if *running == 1 {
            SLICES.first.notify_all();
        }
        Self(())
    }
}

impl Drop for Fine {
    fn drop(&mut self) {
        *SLICES.running() -= 1;
    }
}

/// So many ticks without an isolate, and the thread goes to sleep.
const REST_AFTER: u32 = 100;

/// Counts running isolates and ticks while there are any.
pub(super) struct Ticker {
    running: AtomicUsize,
    resting: AtomicBool,
    thread: std::sync::OnceLock<Thread>,
}

impl Ticker {
    pub(super) fn start(engines: [&Engine; 2]) -> std::io::Result<Arc<Self>> {
        let ticker = Arc::new(Self {
            running: AtomicUsize::new(0),
            resting: AtomicBool::new(false),
            thread: std::sync::OnceLock::new(),
        });
        let weak = Arc::downgrade(&ticker);
        let engines = engines.map(Engine::weak);
        let thread = std::thread::Builder::new()
            .name("eyot-ticker".into())
            .spawn(move || {
                while let Some(ticker) = weak.upgrade() {
                    if ticker.running.load(Relaxed) > 0 {
                        ticker.tick_until_idle(&engines);
                    }
                    ticker.rest();
                }
            })?
            .thread()
            .clone();
        let _ = ticker.thread.set(thread);
        Ok(ticker)
    }

    /// An isolate runs until the returned value is dropped.
    pub(super) fn run(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, SeqCst);
        if self.resting.load(SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
        Running(Arc::clone(self))
    }

    fn tick_until_idle(&self, engines: &[EngineWeak; 2]) {
        let (mut idle, mut seen) = (0, None::<Instant>);
        while idle < REST_AFTER {
            if LONG.swap(false, Relaxed) {
                seen = Some(Instant::now());
            }
            SLICES.wait_for_tick(if seen.is_some_and(|seen| seen.elapsed() < RECENT) { TICK } else { RARE_TICK });
            for engine in engines.iter().filter_map(EngineWeak::upgrade) {
                engine.increment_epoch();
            }
            idle = if self.running.load(Relaxed) == 0 { idle + 1 } else { 0 };
        }
    }

    fn rest(&self) {
        self.resting.store(true, SeqCst);
        // Looked at after the flag is up, so that no start is overlooked; at times, so that the thread ends with the engines.
        if self.running.load(SeqCst) == 0 {
            std::thread::park_timeout(Duration::from_secs(1));
        }
        self.resting.store(false, SeqCst);
    }
}

/// One running isolate.
pub(super) struct Running(Arc<Ticker>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}
