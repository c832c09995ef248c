//! Who loads code: threads of their own, because a disk may take its time, and a core has others to serve.
//!
//! What is asked for comes first, then what a TLS handshake has named; what was used before the last start, or compiled for an older build,
//! comes when nobody asks. Compiling has a thread of its own, so that what takes seconds keeps nothing from being loaded.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::code::{Code, Slot};
use super::components::{Components, LoadError, Ready};
use super::expected::Expected;
use super::working_set::{Bounds, LOOKS, Loaded, WorkingSet};
use crate::failure::Failure;
use crate::observe::{Loads, Start};
use crate::sandbox::Prepared;

/// What came of loading: code, and where it came from.
pub(super) type Landed = Option<Result<(Arc<Prepared>, Start), Failure>>;

/// Code that somebody waits for.
pub(super) struct Flight {
    pub(super) code: Arc<Code>,
    pub(super) land: watch::Sender<Landed>,
}

/// What code is loaded for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// A request waits for it.
    Asked,
    /// A handshake has named its host.
    Expected,
    /// It was used before.
    Ahead,
}

/// Loads the code of all versions of a node.
pub struct Loader {
    /// What it is loaded from.
    pub components: Components,
    working_set: WorkingSet,
    queue: Mutex<Queue>,
    /// There is something to load.
    to_load: Condvar,
    /// There is something to compile.
    to_compile: Condvar,
    most_waiting: usize,
    loads: Loads,
}

#[derive(Default)]
struct Queue {
    asked: VecDeque<Flight>,
    /// Named, and not asked for yet.
    expected: Expected,
    /// Found to have no code.
    missing: VecDeque<Flight>,
    /// What will probably be asked for, the first one first.
    ahead: VecDeque<Weak<Code>>,
    /// Somebody loads one of these: the other threads are there for what is asked.
    is_ahead: bool,
    /// What has code for an older build only.
    outdated: VecDeque<Weak<Code>>,
    closed: bool,
}

impl Loader {
    /// One that keeps so much in memory. `most_waiting` is limit `load_queue`.
    #[must_use]
    pub fn new(components: Components, bounds: Bounds, most_waiting: u64, loads: Loads) -> Arc<Self> {
        Arc::new(Self {
            components,
            working_set: WorkingSet::new(bounds, loads.clone()),
            queue: Mutex::default(),
            to_load: Condvar::new(),
            to_compile: Condvar::new(),
            most_waiting: usize::try_from(most_waiting).unwrap_or(usize::MAX),
            loads,
        })
    }

    /// Starts the threads: as many that load, and one that compiles.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start(self: &Arc<Self>, threads: usize) -> io::Result<()> {
        for number in 0..threads.max(1) {
            let loader = Arc::clone(self);
            let keeps_marks = number == 0;
            let name = format!("eyot-loader-{number}");
            thread::Builder::new().name(name).spawn(move || loader.load_all(keeps_marks))?;
        }
        let loader = Arc::clone(self);
        thread::Builder::new().name("eyot-compiler".to_owned()).spawn(move || loader.compile_all())?;
        Ok(())
    }

    /// Loads these when there is nothing else to do, the first one first, until there is room for no more.
    pub fn load_ahead(&self, codes: impl IntoIterator<Item = Arc<Code>>) {
        self.lock().ahead.extend(codes.into_iter().map(|code| Arc::downgrade(&code)));
        self.to_load.notify_one();
    }

    /// Compiles these when there is nothing else to compile, the first one first.
    pub fn compile_ahead(&self, codes: impl IntoIterator<Item = Arc<Code>>) {
        self.lock().outdated.extend(codes.into_iter().map(|code| Arc::downgrade(&code)));
        self.to_compile.notify_one();
    }

    /// Writes down what was used, and lets the threads end when they have done what they are at.
    pub fn close(&self) {
        self.mark();
        self.lock().closed = true;
        self.to_load.notify_all();
        self.to_compile.notify_all();
    }

    /// A request waits for this.
    pub(super) fn ask(&self, flight: Flight) -> Result<(), Failure> {
        let mut queue = self.lock();
        if queue.asked.len() >= self.most_waiting {
            return Err(overloaded("too many workers wait to be loaded"));
        }
        queue.asked.push_back(flight);
        drop(queue);
        self.to_load.notify_one();
        Ok(())
    }

    /// Nobody waits for this yet, but somebody will probably in a moment.
    pub(super) fn expect(&self, code: &Arc<Code>) {
        if self.lock().expected.add(code) {
            self.to_load.notify_one();
        }
    }

    /// A version is gone.
    pub(super) fn forget(&self, slot: &Slot) {
        self.working_set.remove(slot);
    }

    /// One of them keeps the marks.
    fn load_all(&self, keeps_marks: bool) {
        let mut marked = Instant::now();
        loop {
            let mut queue = self.lock();
            if queue.closed {
                return;
            }
            if let Some(flight) = queue.asked.pop_front() {
                drop(queue);
                self.load(flight, Why::Asked);
            } else if let Some(code) = queue.expected.next() {
                drop(queue);
                self.load_expected(&code);
            } else if let Some(code) = queue.next_ahead() {
                drop(queue);
                self.load_unasked(&code);
                self.lock().is_ahead = false;
            } else {
                drop(self.to_load.wait_timeout(queue, LOOKS));
            }
            if keeps_marks && marked.elapsed() >= LOOKS {
                self.mark();
                marked = Instant::now();
            }
        }
    }

    fn compile_all(&self) {
        loop {
            let mut queue = self.lock();
            if queue.closed {
                return;
            }
            if let Some(flight) = queue.missing.pop_front() {
                drop(queue);
                self.compile(flight);
            } else if let Some(code) = queue.next_outdated() {
                drop(queue);
                // Somebody may have asked for it meanwhile.
                let is_made = self.components.bytes(code.digest()).is_some();
                if !is_made && let Some(flight) = code.take_off_unasked() {
                    self.compile(flight);
                }
            } else {
                drop(self.to_compile.wait(queue));
            }
        }
    }

    fn load(&self, flight: Flight, why: Why) {
        let began = Instant::now();
        let code = &flight.code;
        match guarded(|| self.components.load(code)) {
            Ok(Some(ready)) => {
                let engine = ready.engine;
                let prepared = self.keep(code, ready);
                self.loads.took(Start::Cold, began.elapsed());
                let digest = *code.digest();
                flight.land(Ok((prepared, Start::Cold)));
                if why == Why::Asked {
                    self.components.mark(engine, &digest);
                }
            }
            Ok(None) if why == Why::Expected => {
                if let Some(flight) = flight.give_up() {
                    self.ask_for_code(flight);
                }
            }
            Ok(None) => self.ask_for_code(flight),
            Err(error) => flight.fail(&error),
        }
    }

    fn ask_for_code(&self, flight: Flight) {
        let mut queue = self.lock();
        if queue.missing.len() >= self.most_waiting {
            drop(queue);
            return flight.land(Err(overloaded("too many workers wait to be compiled")));
        }
        queue.missing.push_back(flight);
        drop(queue);
        self.to_compile.notify_one();
    }

    /// What nobody waits for makes nothing else go.
    fn load_unasked(&self, code: &Arc<Code>) {
        let Some(bytes) = self.components.bytes(code.digest()) else { return };
        if self.working_set.is_full_for(1, bytes) {
            self.lock().ahead.clear();
        } else if let Some(flight) = code.take_off_unasked() {
            self.load(flight, Why::Ahead);
        }
    }

    /// It makes nothing go that is in use, and nothing is compiled for it. Somebody may have asked for it by now, who gets it anyhow.
    fn load_expected(&self, code: &Arc<Code>) {
        let Some(bytes) = self.components.bytes(code.digest()) else { return };
        let Some(flight) = code.take_off_unasked() else { return };
        let flight = match self.working_set.makes_way_for(bytes) {
            true => Some(flight),
            false => flight.give_up(),
        };
        if let Some(flight) = flight {
            self.load(flight, Why::Expected);
        }
    }

    fn compile(&self, flight: Flight) {
        let began = Instant::now();
        let code = &flight.code;
        let (worker, digest) = (&*code.capabilities.worker, code.digest());
        tracing::info!(worker, %digest, "there is no code for a component that is active: it is compiled");
        match guarded(|| self.components.make_again(code)) {
            Ok(ready) => {
                self.loads.took(Start::Compile, began.elapsed());
                // Its own place is one of those who wait.
                let is_asked = flight.land.receiver_count() > 1;
                let prepared = match is_asked || !self.working_set.is_full_for(1, ready.bytes) {
                    true => self.keep(code, ready),
                    false => Arc::new(ready.prepared),
                };
                flight.land(Ok((prepared, Start::Compile)));
            }
            Err(error) => flight.fail(&error),
        }
    }

    /// Whether so many more, of so many bytes of the working set, leave all in memory that is there.
    pub(super) fn has_room_for(&self, more: usize, bytes: u64) -> bool {
        !self.working_set.is_full_for(more, bytes)
    }

    /// From now on it is in memory.
    pub(super) fn keep(&self, code: &Code, ready: Ready) -> Arc<Prepared> {
        let Ready { prepared, engine, bytes } = ready;
        let prepared = Arc::new(prepared);
        let loaded = Loaded { slot: Arc::clone(&code.slot), engine, bytes };
        self.working_set.add(loaded, Arc::clone(&prepared));
        prepared
    }

    fn mark(&self) {
        for used in self.working_set.used() {
            self.components.mark(used.engine, &used.slot.digest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// One at a time.
    fn next_ahead(&mut self) -> Option<Arc<Code>> {
        if self.is_ahead {
            return None;
        }
        let next = std::iter::from_fn(|| self.ahead.pop_front()).find_map(|code| code.upgrade());
        self.is_ahead = next.is_some();
        next
    }

    fn next_outdated(&mut self) -> Option<Arc<Code>> {
        std::iter::from_fn(|| self.outdated.pop_front()).find_map(|code| code.upgrade())
    }
}

impl Flight {
    fn land(self, result: Result<(Arc<Prepared>, Start), Failure>) {
        let lasting = result.as_ref().err().filter(|failure| matches!(failure, Failure::Internal(_)));
        self.code.has_landed(lasting.cloned());
        // Nobody may wait for it any more.
        let _ = self.land.send(Some(result));
    }

    /// Where nobody waits, it is as if nobody had begun. Else it has to go on.
    fn give_up(self) -> Option<Self> {
        Arc::clone(&self.code).give_up(self)
    }

    fn fail(self, error: &LoadError) {
        let worker = &*self.code.capabilities.worker;
        tracing::error!(worker, digest = %self.code.slot.digest, help = error.help(), "a component cannot be loaded: {error}");
        self.land(Err(Failure::Internal(format!("the component cannot be loaded: {error}"))));
    }
}

fn overloaded(reason: &'static str) -> Failure {
    Failure::Overloaded { reason, retry_after: Duration::from_secs(1) }
}

/// A panic is a bug of ours, and ends with one component: the thread has others to load.
fn guarded<T>(load: impl FnOnce() -> Result<T, LoadError>) -> Result<T, LoadError> {
    catch_unwind(AssertUnwindSafe(load)).unwrap_or(Err(LoadError::Panicked))
}
