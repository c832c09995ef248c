//! What the isolates of a node share, and what of it belongs to one worker.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

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
    #[must_use]
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    pub(super) fn take(&self, bytes: u64, worker: &WorkerShare) -> bool {
        let before = self.used.fetch_add(bytes, Relaxed);
        let worker_before = worker.memory.fetch_add(bytes, Relaxed);
        let fits = before.saturating_add(bytes) <= self.limit
            && worker_before.saturating_add(bytes) <= self.limit.saturating_sub(before).saturating_mul(ROOM);
        if !fits {
            self.give_back(bytes, worker);
        }
        fits
    }

    pub(super) fn give_back(&self, bytes: u64, worker: &WorkerShare) {
        worker.memory.fetch_sub(bytes, Relaxed);
        self.used.fetch_sub(bytes, Relaxed);
    }
}

/// A worker may have so many times what nobody has: eight ninths of the node when it is the only one that wants much, 8/17 when
/// there are two. Something is always left, so a worker that takes all that it can get fails alone, and its neighbours go on.
pub const ROOM: u64 = 8;

/// What the isolates of one worker, of whatever version, have together: a reload gives a worker nothing more.
#[derive(Debug, Default)]
pub struct WorkerShare {
    /// Which worker, for whoever divides something between workers.
    pub id: u32,
    /// In bytes.
    memory: AtomicU64,
}

/// The shares of the workers of a node, by name, for as long as a version of the worker is there.
#[derive(Debug, Default)]
pub struct WorkerShares(Mutex<Named>);

#[derive(Debug, Default)]
struct Named {
    shares: HashMap<String, Weak<WorkerShare>>,
    next: u32,
}

impl WorkerShares {
    /// The share of the worker of this name.
    pub fn of(&self, worker: &str) -> Arc<WorkerShare> {
        let mut named = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = named.shares.get(worker).and_then(Weak::upgrade) {
            return share;
        }
        named.shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(WorkerShare { id: named.next, memory: AtomicU64::new(0) });
        named.next = named.next.wrapping_add(1);
        named.shares.insert(worker.to_owned(), Arc::downgrade(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_takes_all_it_can_get_leaves_some_for_another() {
        let node = NodeMemory::new(900);
        let (greedy, other) = (WorkerShare::default(), WorkerShare::default());
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
        assert!(!node.take(901, &WorkerShare::default()));
        assert!(node.take(900, &WorkerShare::default()));
        assert!(!node.take(1, &WorkerShare::default()));
    }

    #[test]
    fn the_versions_of_a_worker_have_one_share_and_workers_that_are_gone_have_none() {
        let shares = WorkerShares::default();
        let (old, new, other) = (shares.of("shop"), shares.of("shop"), shares.of("blog"));
        assert!(Arc::ptr_eq(&old, &new));
        assert_ne!(old.id, other.id);
        let node = NodeMemory::new(900);
        assert!(node.take(800, &old));
        assert!(!node.take(1, &new), "a reload gives a worker nothing more");
        let gone = other.id;
        drop(other);
        assert_ne!(shares.of("blog").id, gone);
        shares.of("third");
        shares.of("fourth");
        assert_eq!(shares.0.lock().unwrap().shares.len(), 2);
    }
}
