//! The thread that moves the epochs of all engines, and rests when no guest runs.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use wasmtime::{Engine, EngineWeak};

/// The resolution of CPU limits, and the length of a guest's first slice, while there are guests that are long.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// The longest time between two ticks while no guest is long. A tick costs 20 to 30 µs on a virtual machine: each millisecond, that was
/// 3 % of what a short request costs.
const RARE_TICK: Duration = Duration::from_millis(4);

/// A rare tick may come so much earlier: together with one of the kernel's own, it costs half as much and less.
const RARE_SLACK: Duration = Duration::from_millis(2);

/// For so long after a long guest there may be more.
const LONG: Duration = Duration::from_secs(1);

/// For so long after a guest that may have been long: sixty of them that begin together would hold the core for 4 ms each, and another
/// request would wait for all.
const MAY_BE_LONG: Duration = Duration::from_millis(20);

/// The time between two ticks while long guests take turns somewhere, and the length of a slice: what a neighbour waits for.
pub(super) const FINE_TICK: Duration = Duration::from_micros(250);

/// A guest that has held its core for less than this when a tick comes goes on: the tick came early in its slice.
pub(super) const SHORT: Duration = Duration::from_micros(500);

/// The same where guests take turns.
pub(super) const SHORT_TURN: Duration = Duration::from_micros(150);

/// What the last tick met.
static SEEN: AtomicU8 = AtomicU8::new(0);
const FIRST_SLICE: u8 = 1;
const FURTHER_SLICE: u8 = 2;

/// A guest has held its core for a further slice: ticks come each [`TICK`] for some time.
pub(super) fn is_long() {
    SEEN.fetch_max(FURTHER_SLICE, Relaxed);
}

/// The same for a first slice, by the wall clock, and for less time.
pub(super) fn may_be_long() {
    SEEN.fetch_max(FIRST_SLICE, Relaxed);
}

/// Where long guests take turns.
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
    fn wait_for_tick(&self, is_rare: bool, slack: &mut Slack) {
        let mut running = self.running();
        let mut next = Instant::now() + if is_rare { RARE_TICK - RARE_SLACK } else { TICK };
        loop {
            let now = Instant::now();
            if *running > 0 {
                next = next.min(now + FINE_TICK);
            }
            let Some(left) = next.checked_duration_since(now).filter(|left| !left.is_zero()) else { return };
            slack.set(is_rare && *running == 0);
            running = self.first.wait_timeout(running, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Whether the kernel may choose within [`RARE_SLACK`] when to wake this thread (prctl(2), `PR_SET_TIMERSLACK`).
#[derive(Default)]
struct Slack(bool);

impl Slack {
    fn set(&mut self, may_choose: bool) {
        if self.0 != may_choose {
            let slack = may_choose.then(|| NonZeroU64::new(RARE_SLACK.as_nanos() as u64)).flatten();
            // Where that is refused, ticks are dearer.
            let _ = rustix::thread::set_current_timer_slack(slack);
            self.0 = may_choose;
        }
    }
}

/// Long guests take turns for as long as this lives: ticks come more often.
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

/// A thread has a niceness of its own on Linux. This one takes a few microseconds at a time.
const NICE: i32 = -10;

/// So many ticks while no guest is polled, and the thread rests.
const REST_AFTER: u32 = 25;

/// While the thread rests, there is a tick this often nevertheless: for a guest that was all this time in one call of the host, or
/// whose thread the kernel had stopped.
const REST: Duration = Duration::from_millis(100);

/// One for the process.
static TICKER: Ticker = Ticker {
    engines: Mutex::new(Vec::new()),
    thread: OnceLock::new(),
    polled: AtomicBool::new(false),
    resting: AtomicBool::new(false),
};

struct Ticker {
    engines: Mutex<Vec<EngineWeak>>,
    thread: OnceLock<Thread>,
    /// Whether a guest was polled, or met the tick inside a poll, since the last tick. Each request looks at it, and writes once in
    /// a tick: a count of the guests that run would be written by all cores for each request.
    polled: AtomicBool,
    resting: AtomicBool,
}

/// From now on the epochs of this engine move, too, while guests run.
///
/// # Errors
/// The thread cannot be started.
pub(super) fn start(engine: &Engine) -> std::io::Result<()> {
    let mut all = TICKER.engines();
    all.push(engine.weak());
    if TICKER.thread.get().is_none() {
        let thread = std::thread::Builder::new().name("eyot-ticker".into()).spawn(|| TICKER.run())?;
        let _ = TICKER.thread.set(thread.thread().clone());
    }
    Ok(())
}

/// A guest is being polled.
pub(super) fn guest_runs() {
    if TICKER.polled.load(Relaxed) {
        return;
    }
    TICKER.polled.store(true, SeqCst);
    if TICKER.resting.load(SeqCst)
        && let Some(thread) = TICKER.thread.get()
    {
        thread.unpark();
    }
}

impl Ticker {
    fn engines(&self) -> MutexGuard<'_, Vec<EngineWeak>> {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        // Woken while a core is busy, this thread would often wait for the kernel's own tick, 4 ms on many, and a guest would have its
        // core for as long. Without the right (CAP_SYS_NICE) that is so.
        let _ = rustix::process::setpriority_process(None, NICE);
        let mut rare_from = Instant::now();
        loop {
            self.tick_until_idle(&mut rare_from);
            self.rest();
        }
    }

    /// From when on ticks are rare is remembered through a rest.
    fn tick_until_idle(&self, rare_from: &mut Instant) {
        let (mut idle, mut slack) = (0, Slack::default());
        while idle < REST_AFTER {
            let now = Instant::now();
            let more = match SEEN.swap(0, Relaxed) {
                FURTHER_SLICE => LONG,
                FIRST_SLICE => MAY_BE_LONG,
                _ => Duration::ZERO,
            };
            *rare_from = (*rare_from).max(now + more);
            let is_rare = *rare_from <= now;
            SLICES.wait_for_tick(is_rare, &mut slack);
            // Before the epoch moves: a guest that meets this tick says so for the next one.
            idle = if self.polled.swap(false, SeqCst) { 0 } else { idle + 1 };
            self.tick();
        }
        slack.set(false);
    }

    fn tick(&self) {
        self.engines().retain(|engine| engine.upgrade().map(|engine| engine.increment_epoch()).is_some());
    }

    fn rest(&self) {
        self.resting.store(true, SeqCst);
        // Looked at after the flag is up, so that no guest is overlooked.
        while !self.polled.load(SeqCst) {
            std::thread::park_timeout(REST);
            if !self.polled.load(SeqCst) {
                self.tick();
            }
        }
        self.resting.store(false, SeqCst);
    }
}
