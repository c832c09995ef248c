//! A version's code: in memory, or on its way there.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwapOption, Guard};
use tokio::sync::watch;
use tokio::time::timeout;

use super::compiled::Seen;
use super::loader::{Flight, Landed, Loader};
use crate::bindings::Capabilities;
use crate::failure::Failure;
use crate::observe::Start;
use crate::sandbox::Prepared;
use crate::store::Digest;

/// The code of one version of a worker.
pub struct Code {
    pub(super) slot: Arc<Slot>,
    /// Where the component lies that it was compiled from.
    pub(super) component: Box<Path>,
    pub(super) capabilities: Arc<Capabilities>,
    loader: Arc<Loader>,
    flight: Mutex<OnItsWay>,
}

/// Whether somebody loads it.
#[derive(Default)]
enum OnItsWay {
    #[default]
    No,
    Yes(watch::Receiver<Landed>),
    /// Somebody tried, and who asks again soon is told the same.
    Failed(Failure, Instant),
}

/// Where code stands while it is in memory.
pub(super) struct Slot {
    /// No other one of this process has it.
    pub(super) number: u64,
    pub(super) digest: Digest,
    /// The file that it is mapped from.
    pub(super) seen: Seen,
    prepared: ArcSwapOption<Prepared>,
    /// Whether a request has used it since somebody looked.
    used: AtomicBool,
}

/// What a request finds that found nothing in memory a moment ago.
enum Found {
    Here(Arc<Prepared>),
    OnItsWay(watch::Receiver<Landed>),
}

/// What cannot be loaded is not tried again for so long.
const AGAIN: Duration = Duration::from_secs(10);

/// A request waits so long for code at least, even where it may not wait for a permit: there is nothing that it could do without.
const LEAST_WAIT: Duration = Duration::from_secs(1);

impl Code {
    pub(super) fn new(
        digest: Digest,
        component: &Path,
        capabilities: Arc<Capabilities>,
        loader: Arc<Loader>,
    ) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Relaxed);
        let slot = Arc::new(Slot::new(number, digest));
        Arc::new(Self { slot, component: component.into(), capabilities, loader, flight: Mutex::default() })
    }

    /// Of the component.
    pub(super) fn digest(&self) -> &Digest {
        &self.slot.digest
    }

    /// What is in memory right now. It takes neither a lock nor a count that cores share: this is what each request begins with.
    #[must_use]
    pub fn loaded(&self) -> Guard<Option<Arc<Prepared>>> {
        self.slot.is_used();
        self.slot.prepared.load()
    }

    /// The same for whoever does not use it.
    pub(super) fn is_loaded(&self) -> bool {
        self.slot.prepared.load().is_some()
    }

    /// Somebody will probably ask for it in a moment.
    pub(super) fn expect(self: &Arc<Self>) {
        self.loader.expect(self);
    }

    /// Waits until it is in memory. However many wait, it is loaded once.
    ///
    /// # Errors
    /// When too many others wait to be loaded, it takes too long, or there is nothing to load.
    pub async fn load(self: &Arc<Self>) -> Result<(Arc<Prepared>, Start), Failure> {
        let wait = self.capabilities.limits.queue_wait.max(LEAST_WAIT);
        let mut landed = match self.take_off()? {
            Found::OnItsWay(landed) => landed,
            Found::Here(prepared) => return Ok((prepared, Start::Warm)),
        };
        let late = Failure::Overloaded { reason: "the worker was not loaded in time", retry_after: wait };
        let landed = timeout(wait, landed.wait_for(Option::is_some)).await.map_err(|_| late)?;
        // Whoever loads says how it ended, unless it panics.
        let lost = || Err(Failure::Internal("the worker's code was lost on its way".to_owned()));
        landed.ok().and_then(|landed| landed.clone()).unwrap_or_else(lost)
    }

    /// Whoever comes first asks for it.
    fn take_off(self: &Arc<Self>) -> Result<Found, Failure> {
        let mut flight = self.flight();
        match &*flight {
            OnItsWay::Yes(landed) => return Ok(Found::OnItsWay(landed.clone())),
            OnItsWay::Failed(failure, when) if when.elapsed() < AGAIN => return Err(failure.clone()),
            OnItsWay::Failed(..) | OnItsWay::No => {}
        }
        if let Some(prepared) = self.slot.prepared.load_full() {
            return Ok(Found::Here(prepared));
        }
        let (land, landed) = watch::channel(None);
        self.loader.ask(Flight { code: Arc::clone(self), land })?;
        *flight = OnItsWay::Yes(landed.clone());
        Ok(Found::OnItsWay(landed))
    }

    /// The same for whoever loads it before it is asked for. `None`: it is in memory, or on its way.
    pub(super) fn take_off_unasked(self: &Arc<Self>) -> Option<Flight> {
        let mut flight = self.flight();
        if !matches!(*flight, OnItsWay::No) || self.slot.prepared.load().is_some() {
            return None;
        }
        let (land, landed) = watch::channel(None);
        *flight = OnItsWay::Yes(landed);
        Some(Flight { code: Arc::clone(self), land })
    }

    /// See [`Flight::give_up`].
    pub(super) fn give_up(&self, flight: Flight) -> Option<Flight> {
        let mut state = self.flight();
        // Its own place is one of those who wait, and nobody joins them without this lock.
        if flight.land.receiver_count() > 1 {
            return Some(flight);
        }
        *state = OnItsWay::No;
        None
    }

    /// Whoever comes from now on finds it in memory, or asks anew, or is told why not.
    pub(super) fn has_landed(&self, failure: Option<Failure>) {
        *self.flight() = failure.map_or(OnItsWay::No, |failure| OnItsWay::Failed(failure, Instant::now()));
    }

    fn flight(&self) -> MutexGuard<'_, OnItsWay> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    pub(super) fn new(number: u64, digest: Digest) -> Self {
        let (prepared, used) = (ArcSwapOption::empty(), AtomicBool::new(false));
        Self { number, digest, seen: Seen::default(), prepared, used }
    }

    /// Notes a use. It writes only where nobody has since the last look.
    pub(super) fn is_used(&self) {
        if !self.used.load(Relaxed) {
            self.used.store(true, Relaxed);
        }
    }

    pub(super) fn fill(&self, prepared: Arc<Prepared>) {
        // What made it come is no second use.
        self.used.store(false, Relaxed);
        self.prepared.store(Some(prepared));
    }

    pub(super) fn empty(&self) {
        self.prepared.store(None);
    }

    pub(super) fn was_used(&self) -> bool {
        self.used.load(Relaxed)
    }

    pub(super) fn take_used(&self) -> bool {
        self.used.load(Relaxed) && self.used.swap(false, Relaxed)
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        self.loader.forget(&self.slot);
    }
}
