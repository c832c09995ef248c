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
        let used = self.used.fetch_add(bytes, Relaxed).saturating_add(bytes);
        let has = worker.memory.fetch_add(bytes, Relaxed).saturating_add(bytes);
        let fits = has <= self.allowance(used);
        if !fits {
            self.give_back(bytes, worker);
        }
        fits
    }

    /// What a worker may have when all together have so much: nothing when that is more than there is.
    fn allowance(&self, used: u64) -> u64 {
        let shared = self.limit - self.limit / KEPT;
        shared.saturating_sub(used).saturating_mul(ROOM).max(self.limit.saturating_sub(used) / SCARCE)
    }

    pub(super) fn give_back(&self, bytes: u64, worker: &WorkerShare) {
        worker.memory.fetch_sub(bytes, Relaxed);
        self.used.fetch_sub(bytes, Relaxed);
    }
}

/// A worker may have so many times what nobody has: eight ninths of it all when it is the only one that wants much, 8/17 when there
/// are two. Something is always left, so a worker that takes all that it can get fails alone, and its neighbours go on.
pub const ROOM: u64 = 8;

/// This part of the node's memory, a fourth, is kept for workers that have little: the more workers take all that they can get of the
/// rest, the less is left of it.
const KEPT: u64 = 4;

/// Of what is kept, a worker may have this part of what is left, a fourth again.
const SCARCE: u64 = 4;

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
        let node = NodeMemory::new(1200);
        let (greedy, other) = (WorkerShare::default(), WorkerShare::default());
        assert!(!node.take(801, &greedy), "nor by one large step");
        while node.take(1, &greedy) {}
        assert_eq!(node.used(), 800, "eight times what is free of three quarters");
        assert!(node.take(50, &other));
        assert!(!node.take(1, &greedy));
        node.give_back(50, &other);
        node.give_back(800, &greedy);
        assert_eq!(node.used(), 0);
    }

    #[test]
    fn however_many_workers_are_greedy_those_that_have_little_get_more() {
        let node = NodeMemory::new(1600);
        let greedy = [(); 5].map(|()| WorkerShare::default());
        while greedy.iter().map(|worker| node.take(1, worker)).filter(|taken| *taken).count() > 0 {}
        assert!((1100..=1200).contains(&node.used()), "{}", node.used());
        let others = [(); 9].map(|()| WorkerShare::default());
        while others.iter().map(|worker| node.take(1, worker)).filter(|taken| *taken).count() > 0 {}
        assert!(others.iter().all(|other| other.memory.load(Relaxed) >= 30));
        assert!(node.used() < 1500, "{}", node.used());
    }

    #[test]
    fn together_they_have_no_more_than_the_node() {
        let node = NodeMemory::new(1600);
        let workers = [(); 100].map(|()| WorkerShare::default());
        while workers.iter().map(|worker| node.take(1, worker)).filter(|taken| *taken).count() > 0 {}
        assert!(node.used() <= 1600);
    }

    #[test]
    fn the_versions_of_a_worker_have_one_share_and_workers_that_are_gone_have_none() {
        let shares = WorkerShares::default();
        let (old, new, other) = (shares.of("shop"), shares.of("shop"), shares.of("blog"));
        assert!(Arc::ptr_eq(&old, &new));
        assert_ne!(old.id, other.id);
        let node = NodeMemory::new(1200);
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
