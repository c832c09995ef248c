//! The thread that moves the epochs of both engines, and rests when no isolate runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

/// The resolution of CPU limits, and the length of a guest's first slice.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// The time between two ticks while guests take turns somewhere, and the length of a turn: what a neighbour waits for.
pub(super) const FINE_TICK: Duration = Duration::from_micros(250);

/// A guest that has held its core for less than this when a tick comes goes on: the tick came early in its slice.
pub(super) const SHORT: Duration = Duration::from_micros(500);

/// The same for a guest that takes turns.
pub(super) const SHORT_TURN: Duration = Duration::from_micros(150);

/// How many cores have guests that take turns. One for the process: lanes belong to threads, and know of no engine.
static LANES: AtomicUsize = AtomicUsize::new(0);

/// Guests take turns on a core for as long as this lives: ticks come more often.
#[derive(Debug)]
pub(super) struct Fine(());

impl Fine {
    pub(super) fn ticks() -> Self {
        LANES.fetch_add(1, Relaxed);
        Self(())
    }
}

impl Drop for Fine {
    fn drop(&mut self) {
        LANES.fetch_sub(1, Relaxed);
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
        let mut idle = 0;
        while idle < REST_AFTER {
            std::thread::park_timeout(if LANES.load(Relaxed) == 0 { TICK } else { FINE_TICK });
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
