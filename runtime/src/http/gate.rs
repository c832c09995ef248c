//! Admission: so many at once, so many waiting, for so long; the next one is turned away at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::failure::Failure;

/// A bounded number of permits with a bounded queue before them, first come, first served.
#[derive(Debug)]
pub struct Gate {
    permits: Arc<Semaphore>,
    waiting: AtomicU64,
    queue: u64,
    wait: Duration,
    reason: &'static str,
}

/// The right to run; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    _permit: OwnedSemaphorePermit,
}

impl Gate {
    /// A gate that lets `permits` through at once and lets `queue` more wait for at most `wait`.
    #[must_use]
    pub fn new(permits: u64, queue: u64, wait: Duration, reason: &'static str) -> Self {
        // Semaphore::MAX_PERMITS is larger on every 64-bit machine.
        let limit = u32::try_from(permits).unwrap_or(u32::MAX) as usize;
        Self { permits: Arc::new(Semaphore::new(limit)), waiting: AtomicU64::new(0), queue, wait, reason }
    }

    /// Takes a permit, at once or after waiting.
    ///
    /// # Errors
    /// When the queue is full, or the wait was too long.
    pub async fn enter(&self) -> Result<Permit, Failure> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(Permit { _permit: permit });
        }
        let _place = Place::take(self).ok_or_else(|| self.overloaded())?;
        let permit = tokio::time::timeout(self.wait, Arc::clone(&self.permits).acquire_owned());
        match permit.await {
            Ok(Ok(permit)) => Ok(Permit { _permit: permit }),
            Ok(Err(_)) | Err(_) => Err(self.overloaded()),
        }
    }

    fn overloaded(&self) -> Failure {
        Failure::Overloaded { reason: self.reason, retry_after: self.wait.max(Duration::from_secs(1)) }
    }
}

/// A place in the queue.
struct Place<'a>(&'a Gate);

impl<'a> Place<'a> {
    fn take(gate: &'a Gate) -> Option<Self> {
        if gate.waiting.fetch_add(1, Relaxed) < gate.queue {
            return Some(Self(gate));
        }
        gate.waiting.fetch_sub(1, Relaxed);
        None
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}
