//! What the isolates of a node share, and what of it belongs to one worker.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The memory of all isolates of the node together.
#[derive(Debug)]
pub struct NodeMemory {
    limit: u64,
    /// Isolates that may wait for a request on each core.
    pub waiting: usize,
    used: AtomicU64,
    /// Whatever has it: isolates or not.
    process_has_too_much: AtomicBool,
}

impl NodeMemory {
    /// A budget of so many bytes, some of them for so many isolates that wait on each core.
    #[must_use]
    pub fn new(limit: u64, waiting: usize) -> Arc<Self> {
        Arc::new(Self { limit, waiting, used: AtomicU64::new(0), process_has_too_much: AtomicBool::new(false) })
    }

    /// In bytes.
    #[must_use]
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Whether so little is left that nothing should be held for requests that have not come yet.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        self.used.load(Relaxed) > self.limit / TIGHT || self.process_has_too_much()
    }

    /// Whether the process has more than it should, so that no isolate may begin.
    #[must_use]
    pub fn process_has_too_much(&self) -> bool {
        self.process_has_too_much.load(Relaxed)
    }

    /// Somebody has looked. Returns what was known before.
    pub fn note_process(&self, has_too_much: bool) -> bool {
        self.process_has_too_much.swap(has_too_much, Relaxed)
    }

    /// What a worker may have when all together have so much: nothing when that is more than there is.
    fn allowance(&self, used: u64) -> u64 {
        let shared = self.limit - self.limit / KEPT;
        shared.saturating_sub(used).saturating_mul(ROOM).max(self.limit.saturating_sub(used) / SCARCE)
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

/// From half of it on, memory is tight.
const TIGHT: u64 = 2;

/// What the isolates of one worker, of whatever version, have together: a reload gives a worker nothing more.
#[derive(Debug)]
pub struct WorkerShare {
    /// Which worker, for whoever divides something between workers.
    pub id: u32,
    /// Of which this is a part.
    pub node: Arc<NodeMemory>,
    /// In bytes.
    memory: AtomicU64,
}

impl WorkerShare {
    pub(super) fn take(&self, bytes: u64) -> bool {
        let used = self.node.used.fetch_add(bytes, Relaxed).saturating_add(bytes);
        let has = self.memory.fetch_add(bytes, Relaxed).saturating_add(bytes);
        let fits = has <= self.node.allowance(used);
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    /// So much for what the node holds on the worker's behalf, if there is as much for it.
    #[must_use]
    pub fn lend(self: &Arc<Self>, bytes: u64) -> Option<Loan> {
        self.take(bytes).then(|| Loan { share: Arc::clone(self), bytes })
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.memory.fetch_sub(bytes, Relaxed);
        self.node.used.fetch_sub(bytes, Relaxed);
    }
}

/// Memory that a worker has besides its isolates; given back when this is dropped.
#[derive(Debug)]
#[must_use = "it is given back when it is dropped"]
pub struct Loan {
    share: Arc<WorkerShare>,
    bytes: u64,
}

impl Loan {
    /// What is more than this is given back now.
    pub fn keep(&mut self, bytes: u64) {
        let more = self.bytes.saturating_sub(bytes);
        self.share.give_back(more);
        self.bytes -= more;
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.share.give_back(self.bytes);
    }
}

/// The shares of the workers of a node, by name, for as long as a version of the worker is there.
#[derive(Debug)]
pub struct WorkerShares {
    node: Arc<NodeMemory>,
    named: Mutex<Named>,
}

#[derive(Debug, Default)]
struct Named {
    shares: HashMap<String, Weak<WorkerShare>>,
    next: u32,
    /// So many names are looked through for those that nobody has any more: not for each of thousands of workers.
    sweep_at: usize,
}

impl WorkerShares {
    /// Shares of this memory.
    #[must_use]
    pub fn new(node: Arc<NodeMemory>) -> Self {
        Self { node, named: Mutex::default() }
    }

    /// Of which they are parts.
    #[must_use]
    pub fn node(&self) -> &Arc<NodeMemory> {
        &self.node
    }

    /// The share of the worker of this name.
    pub fn of(&self, worker: &str) -> Arc<WorkerShare> {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = named.shares.get(worker).and_then(Weak::upgrade) {
            return share;
        }
        if named.shares.len() >= named.sweep_at {
            named.shares.retain(|_, share| share.strong_count() > 0);
            named.sweep_at = 2 * named.shares.len() + 2;
        }
        let share = Arc::new(WorkerShare { id: named.next, node: Arc::clone(&self.node), memory: AtomicU64::new(0) });
        named.next = named.next.wrapping_add(1);
        named.shares.insert(worker.to_owned(), Arc::downgrade(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(node: &Arc<NodeMemory>) -> WorkerShare {
        WorkerShare { id: 0, node: Arc::clone(node), memory: AtomicU64::new(0) }
    }

    #[test]
    fn a_worker_that_takes_all_it_can_get_leaves_some_for_another() {
        let node = NodeMemory::new(1200, 0);
        let (greedy, other) = (share(&node), share(&node));
        assert!(!greedy.take(801), "nor by one large step");
        while greedy.take(1) {}
        assert_eq!(node.used(), 800, "eight times what is free of three quarters");
        assert!(other.take(50));
        assert!(!greedy.take(1));
        other.give_back(50);
        greedy.give_back(800);
        assert_eq!(node.used(), 0);
    }

    #[test]
    fn however_many_workers_are_greedy_those_that_have_little_get_more() {
        let node = NodeMemory::new(1600, 0);
        let greedy = [(); 5].map(|()| share(&node));
        while greedy.iter().map(|worker| worker.take(1)).filter(|taken| *taken).count() > 0 {}
        assert!((1100..=1200).contains(&node.used()), "{}", node.used());
        let others = [(); 9].map(|()| share(&node));
        while others.iter().map(|worker| worker.take(1)).filter(|taken| *taken).count() > 0 {}
        assert!(others.iter().all(|other| other.memory.load(Relaxed) >= 30));
        assert!(node.used() < 1500, "{}", node.used());
    }

    #[test]
    fn what_is_lent_is_the_workers_until_it_is_given_back() {
        let node = NodeMemory::new(1200, 0);
        let (worker, other) = (Arc::new(share(&node)), share(&node));
        let mut loan = worker.lend(800).unwrap();
        assert!(worker.lend(1).is_none(), "it has had its share");
        loan.keep(300);
        assert_eq!(node.used(), 300);
        loan.keep(400);
        assert_eq!(node.used(), 300, "nothing comes back by keeping more");
        assert!(other.take(50));
        drop(loan);
        assert_eq!(node.used(), 50);
    }

    #[test]
    fn together_they_have_no_more_than_the_node() {
        let node = NodeMemory::new(1600, 0);
        let workers = [(); 100].map(|()| share(&node));
        while workers.iter().map(|worker| worker.take(1)).filter(|taken| *taken).count() > 0 {}
        assert!(node.used() <= 1600);
    }

    #[test]
    fn the_versions_of_a_worker_have_one_share_and_workers_that_are_gone_have_none() {
        let node = NodeMemory::new(1200, 0);
        let shares = WorkerShares::new(Arc::clone(&node));
        let (old, new, other) = (shares.of("shop"), shares.of("shop"), shares.of("blog"));
        assert!(Arc::ptr_eq(&old, &new));
        assert_ne!(old.id, other.id);
        assert!(old.take(800));
        assert!(!new.take(1), "a reload gives a worker nothing more");
        let gone = other.id;
        drop(other);
        assert_ne!(shares.of("blog").id, gone);
        (0..100).for_each(|number| drop(shares.of(&number.to_string())));
        assert!(shares.named.lock().unwrap().shares.len() < 10);
    }
}
