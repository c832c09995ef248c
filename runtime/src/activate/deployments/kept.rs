//! The store of a node that may be handed over to the process that takes its place, and whose turn it is to change it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::store::{Store, StoreError};

/// The store, while it is this process's.
pub(super) struct Kept {
    store: ArcSwapOption<Store>,
    turn: Arc<Semaphore>,
    /// Whether it is another process's.
    released: watch::Sender<bool>,
    /// Held while it is.
    barrier: Mutex<Option<OwnedSemaphorePermit>>,
}

/// What runs when another process asks has so long to be done.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is looked whether it is.
const AGAIN: Duration = Duration::from_millis(1);

impl Kept {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store: ArcSwapOption::from_pointee(store),
            turn: Arc::new(Semaphore::new(1)),
            released: watch::Sender::new(false),
            barrier: Mutex::default(),
        }
    }

    pub(super) fn store(&self) -> Result<Arc<Store>, StoreError> {
        self.store.load_full().ok_or(StoreError::Closed)
    }

    /// Whoever has it is the only one who changes anything.
    pub(super) async fn turn(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        let mut released = self.released.subscribe();
        tokio::select! {
            biased;
            _ = released.wait_for(|released| *released) => Err(StoreError::Closed),
            turn = Arc::clone(&self.turn).acquire_owned() => turn.map_err(|_| StoreError::Closed),
        }
    }

    pub(super) fn release(&self) -> Result<(), StoreError> {
        let end = Instant::now() + PATIENCE;
        self.released.send_replace(true);
        let turn = wait(end, || Arc::clone(&self.turn).try_acquire_owned().ok());
        let Some(turn) = turn else {
            self.released.send_replace(false);
            return Err(StoreError::Busy);
        };
        let Some(store) = self.store.swap(None) else { return Ok(()) };
        // Whoever reads has it for as long as that takes; nobody gets it any more.
        let closed = wait(end, || (Arc::strong_count(&store) == 1).then_some(()));
        if closed.is_none() {
            self.store.store(Some(store));
            self.released.send_replace(false);
            return Err(StoreError::Busy);
        }
        drop(store);
        *self.barrier.lock().unwrap_or_else(PoisonError::into_inner) = Some(turn);
        Ok(())
    }

    pub(super) fn resume(&self, folder: Option<&Path>) -> Result<(), StoreError> {
        let folder = folder.ok_or(StoreError::Closed)?;
        self.store.store(Some(Arc::new(Store::open(folder)?)));
        self.released.send_replace(false);
        *self.barrier.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }
}

fn wait<T>(end: Instant, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    loop {
        match look() {
            Some(found) => return Some(found),
            None if Instant::now() > end => return None,
            None => thread::park_timeout(AGAIN),
        }
    }
}
