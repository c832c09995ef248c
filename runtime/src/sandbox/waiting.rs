//! Isolates that wait for a request, each on its core: made ahead by a core that had nothing else to do, and never used; or kept by a
//! worker that wants its isolates to be asked again.
//!
//! They hold memory of the node but no permit, so there are few of them, for a short time, and none while memory is tight.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::isolate::Isolate;
use super::{Prepared, lane, sweep, ticker};
use crate::bindings::Usage;
use crate::config::held;
use crate::observe::{self, Start};

/// So long does one that was made ahead wait.
const AHEAD: Duration = Duration::from_secs(2);

/// How often it is looked for those that have waited long enough.
const LOOK: Duration = Duration::from_millis(100);

/// An isolate for one request.
pub struct Found {
    pub(super) isolate: Isolate,
    /// Whether it was there already.
    pub start: Start,
}

struct Core {
    /// The one that came last is taken first: of what it touched, most is still at hand.
    isolates: Vec<Waiting>,
    /// For whom there should be one. Few: a version that is asked often.
    wanted: Vec<Arc<Prepared>>,
    is_watched: bool,
    /// How many there are, for whoever asks from another thread.
    count: Arc<AtomicUsize>,
}

struct Waiting {
    isolate: Isolate,
    until: Instant,
}

thread_local! {
    static CORE: RefCell<Core> = RefCell::new(Core::new());
}

/// Those of all cores.
static COUNTS: Mutex<Vec<Arc<AtomicUsize>>> = Mutex::new(Vec::new());

/// How many isolates wait.
#[must_use]
pub fn waiting() -> usize {
    let counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    counts.iter().map(|count| count.load(Relaxed)).sum()
}

/// An isolate of this version for a request that begins now: one that waits, else a new one that has not started, whose code came
/// into memory as `start` says.
pub fn find(prepared: &Arc<Prepared>, start: Start, usage: &Arc<Usage>) -> Found {
    let waiting = CORE.with_borrow_mut(|core| core.take(prepared, usage.began()));
    if prepared.capabilities.share.node.is_tight() {
        // What waits in vain is memory that this request may need.
        drop(CORE.with_borrow_mut(Core::take_all));
    }
    match waiting {
        Some(mut isolate) => {
            let start = if isolate.asked() > 0 { Start::Reused } else { Start::Prepared };
            isolate.continue_for(usage);
            Found { isolate, start }
        }
        None => Found { isolate: Isolate::new(prepared, &prepared.capabilities.limits, usage), start },
    }
}

/// A new isolate for what no client waits for.
pub fn for_event(prepared: &Arc<Prepared>, start: Start, usage: &Arc<Usage>) -> Found {
    Found { isolate: Isolate::new(prepared, &prepared.capabilities.event_limits, usage), start }
}

/// Keeps an isolate that has answered, if its worker wants that and it has not done its part; else it comes back.
pub(super) fn keep(mut isolate: Isolate) -> Result<(), Isolate> {
    let Some(reuse) = isolate.capabilities().reuse.filter(|_| isolate.is_for_requests()) else { return Err(isolate) };
    let until = (Instant::now() + reuse.idle).min(isolate.made() + reuse.age);
    let is_fat = isolate.memory() > isolate.capabilities().limits.memory / FAT;
    let is_done = isolate.asked() >= reuse.requests || is_fat || !isolate.may_be_asked();
    if is_done || isolate.capabilities().share.node.is_tight() {
        return Err(isolate);
    }
    isolate.end();
    put(isolate, until);
    Ok(())
}

/// An isolate that has grown to half of what it may have goes: the next request should have some room.
const FAT: u64 = 2;

/// What a core does when it has answered everything: it clears what the last isolate has left, and makes isolates for requests to come.
pub fn at_rest() {
    // A panic in a drop or in a host call must not end the core.
    let _told_by_the_hook = catch_unwind(AssertUnwindSafe(|| {
        sweep::clear_what_waits();
        if tokio::runtime::Handle::try_current().is_err() {
            // The core ends.
            return drop(CORE.replace(Core::new()));
        }
        while !lane::is_busy()
            && let Some(prepared) = CORE.with_borrow_mut(|core| core.wanted.pop())
        {
            make_ahead(&prepared);
        }
    }));
}

fn make_ahead(prepared: &Arc<Prepared>) {
    if prepared.capabilities.share.node.is_tight() || CORE.with_borrow(|core| core.has_one_of(prepared)) {
        return;
    }
    let usage = Usage::new();
    let mut isolate = Isolate::new(prepared, &prepared.capabilities.limits, &usage);
    // What does not start at once, or not well, or panics, is left to a request, which is told what happened.
    prepared.tries_ahead(usage.began());
    if held() {
        ticker::guest_runs();
    }
    usage.poll_begins(false);
    let started = pin!(isolate.start()).poll(&mut Context::from_waker(Waker::noop()));
    usage.poll_ends();
    if let Poll::Ready(Ok(())) = started {
        prepared.is_quick();
        put(isolate, usage.began() + AHEAD);
    }
}

fn put(isolate: Isolate, until: Instant) {
    // Dropped when the core is not borrowed any more.
    let _oldest = CORE.with_borrow_mut(|core| core.put(Waiting { isolate, until }));
}

impl Core {
    fn new() -> Self {
        let count = Arc::<AtomicUsize>::default();
        let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
        counts.retain(|count| Arc::strong_count(count) > 1);
        counts.push(Arc::clone(&count));
        Self { isolates: Vec::new(), wanted: Vec::new(), is_watched: false, count }
    }

    fn take(&mut self, prepared: &Arc<Prepared>, now: Instant) -> Option<Isolate> {
        let found = self.isolates.iter().rposition(|waiting| waiting.until > now && waiting.isolate.is_of(prepared));
        if prepared.is_asked_often(now) && !self.wanted.iter().any(|wanted| Arc::ptr_eq(wanted, prepared)) {
            self.wanted.push(Arc::clone(prepared));
        }
        let isolate = self.isolates.remove(found?).isolate;
        self.count.store(self.isolates.len(), Relaxed);
        Some(isolate)
    }

    fn take_all(&mut self) -> Vec<Waiting> {
        self.count.store(0, Relaxed);
        std::mem::take(&mut self.isolates)
    }

    fn has_one_of(&self, prepared: &Arc<Prepared>) -> bool {
        self.isolates.iter().any(|waiting| waiting.isolate.is_of(prepared))
    }

    /// Returns the one that it has no place for any more.
    fn put(&mut self, waiting: Waiting) -> Option<Waiting> {
        let most = waiting.isolate.capabilities().share.node.waiting;
        if most == 0 {
            return Some(waiting);
        }
        let oldest = (self.isolates.len() >= most).then(|| self.isolates.remove(0));
        self.isolates.push(waiting);
        self.count.store(self.isolates.len(), Relaxed);
        if !self.is_watched {
            self.is_watched = true;
            observe::spawn("waiting-isolates", watch());
        }
        oldest
    }
}

/// Lets go of what has waited long enough or whose version is gone, and of everything while memory is tight, until nothing waits.
async fn watch() {
    loop {
        tokio::time::sleep(LOOK).await;
        let now = Instant::now();
        let (over, is_empty) = CORE.with_borrow_mut(|core| {
            let over: Vec<_> = core.isolates.extract_if(.., |waiting| waiting.is_over(now)).collect();
            core.count.store(core.isolates.len(), Relaxed);
            core.is_watched = !core.isolates.is_empty();
            (over, !core.is_watched)
        });
        drop(over);
        if is_empty {
            return;
        }
    }
}

impl Waiting {
    fn is_over(&self, now: Instant) -> bool {
        let is_in_vain = self.until <= now || !self.isolate.may_be_asked();
        is_in_vain || self.isolate.capabilities().share.node.is_tight()
    }
}
