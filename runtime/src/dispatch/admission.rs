//! The node's permits, of which no worker can have all.
//!
//! A worker may hold so many times what is free ([`ROOM`]), as with the node's memory: dynamic thresholds, which switches use to
//! share a buffer between queues (Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998). However many requests come
//! for one worker, and however long its guests sleep, there is a permit for another one; whoever has the fewest is next.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::Pressure;
use crate::bindings::ROOM;
use crate::failure::Failure;

/// Workers whose entry stays for their next request.
const KEPT: usize = 64;

const FULL: &str = "the node is at its concurrency limit";

/// The permits, the queue before them, and how long a request may stand in it.
#[derive(Debug)]
pub struct NodeGate {
    state: Mutex<State>,
    emptied: Notify,
    permits: u64,
    queue: usize,
    wait: Duration,
    pressure: Arc<Pressure>,
}

#[derive(Debug)]
struct State {
    free: u64,
    waiting: usize,
    /// Of those that hold a permit or wait for one, and of some that did.
    workers: BTreeMap<u32, Line>,
}

/// One worker.
#[derive(Debug, Default)]
struct Line {
    held: u64,
    /// First come, first served.
    waiting: VecDeque<oneshot::Sender<NodePermit>>,
}

/// The right to run an isolate; given back when dropped.
#[derive(Debug)]
pub struct NodePermit {
    gate: Arc<NodeGate>,
    worker: u32,
}

impl NodeGate {
    /// A gate for so many isolates at once, with so many requests waiting, each for at most this long.
    #[must_use]
    pub fn new(permits: u64, queue: u64, wait: Duration, pressure: Arc<Pressure>) -> Arc<Self> {
        let state = State { free: permits, waiting: 0, workers: BTreeMap::new() };
        let queue = usize::try_from(queue).unwrap_or(usize::MAX);
        Arc::new(Self { state: Mutex::new(state), emptied: Notify::new(), permits, queue, wait, pressure })
    }

    /// Takes a permit for a worker, at once or after waiting.
    ///
    /// # Errors
    /// When the queue is full, the wait was too long, or the process has too much memory already.
    pub async fn enter(self: &Arc<Self>, worker: u32) -> Result<NodePermit, Failure> {
        if self.pressure.is_high() {
            return Err(self.overloaded("the node is short of memory"));
        }
        let mut place = {
            let mut state = self.lock();
            if state.take(worker) {
                return Ok(NodePermit { gate: Arc::clone(self), worker });
            }
            if state.waiting >= self.queue {
                return Err(self.overloaded(FULL));
            }
            let (grant, granted) = oneshot::channel();
            state.waiting += 1;
            state.workers.entry(worker).or_default().waiting.push_back(grant);
            Place { gate: self, worker, granted }
        };
        match tokio::time::timeout(self.wait, &mut place.granted).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(self.overloaded(FULL)),
        }
    }

    /// How many are inside.
    #[must_use]
    pub fn inside(&self) -> u64 {
        self.permits - self.lock().free
    }

    /// Resolves when nobody is inside.
    pub async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.inside() == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn overloaded(&self, reason: &'static str) -> Failure {
        Failure::Overloaded { reason, retry_after: self.wait.max(Duration::from_secs(1)) }
    }

    fn give_back(self: &Arc<Self>, worker: u32) {
        let mut state = self.lock();
        state.free += 1;
        state.leave(worker);
        if state.free == self.permits && state.waiting == 0 {
            self.emptied.notify_waiters();
        }
        while let Some((next, grant)) = state.next() {
            // Whoever has given up in the meantime gets none. The permit comes back here, so the lock must not be held.
            drop(state);
            let refused = grant.send(NodePermit { gate: Arc::clone(self), worker: next });
            drop(refused);
            state = self.lock();
        }
    }
}

impl State {
    fn fits(&self, held: u64) -> bool {
        self.free > 0 && held < self.free.saturating_mul(ROOM)
    }

    fn take(&mut self, worker: u32) -> bool {
        let held = self.workers.get(&worker).map_or(0, |line| line.held);
        let fits = self.fits(held);
        if fits {
            self.free -= 1;
            self.workers.entry(worker).or_default().held += 1;
        }
        fits
    }

    /// One permit less for this worker.
    fn leave(&mut self, worker: u32) {
        if let Some(line) = self.workers.get_mut(&worker) {
            line.held -= 1;
            let is_over = line.held == 0 && line.waiting.is_empty();
            if is_over && self.workers.len() > KEPT {
                self.workers.remove(&worker);
            }
        }
    }

    /// Who is next, with the permit already counted as held: of the workers with requests waiting, that which holds the fewest.
    fn next(&mut self) -> Option<(u32, oneshot::Sender<NodePermit>)> {
        if self.waiting == 0 {
            return None;
        }
        let waiting = self.workers.iter().filter(|(_, line)| !line.waiting.is_empty());
        let (worker, held) = waiting.map(|(worker, line)| (*worker, line.held)).min_by_key(|(_, held)| *held)?;
        if !self.fits(held) {
            return None;
        }
        let line = self.workers.get_mut(&worker)?;
        let grant = line.waiting.pop_front()?;
        line.held += 1;
        self.waiting -= 1;
        self.free -= 1;
        Some((worker, grant))
    }
}

impl Drop for NodePermit {
    fn drop(&mut self) {
        self.gate.give_back(self.worker);
    }
}

/// A place in the queue, for a request that may go away while it waits.
struct Place<'a> {
    gate: &'a NodeGate,
    worker: u32,
    granted: oneshot::Receiver<NodePermit>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.granted.close();
        // One that was granted at the last moment goes to the next, once the lock is free again.
        let _late = self.granted.try_recv();
        let mut state = self.gate.lock();
        let Some(line) = state.workers.get_mut(&self.worker) else { return };
        let before = line.waiting.len();
        line.waiting.retain(|grant| !grant.is_closed());
        state.waiting -= before - line.waiting.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    fn gate(permits: u64, queue: u64, wait: Duration) -> Arc<NodeGate> {
        NodeGate::new(permits, queue, wait, Arc::default())
    }

    /// Takes what a worker can get at once.
    async fn all(gate: &Arc<NodeGate>, worker: u32) -> Vec<NodePermit> {
        let mut held = Vec::new();
        while let Ok(Ok(permit)) = tokio::time::timeout(Duration::ZERO, gate.enter(worker)).await {
            held.push(permit);
        }
        held
    }

    #[tokio::test]
    async fn a_worker_that_takes_all_it_can_get_leaves_some_for_others() {
        let gate = gate(900, 10, SOON);
        let greedy = all(&gate, 1).await;
        assert_eq!(greedy.len(), 800, "eight times what is free");
        let second = all(&gate, 2).await;
        assert_eq!(second.len(), 89);
        let third = gate.enter(3).await.unwrap();
        assert_eq!(gate.inside(), 890);
        drop((greedy, second, third));
        gate.empty().await;
        assert!(gate.lock().workers.values().all(|line| line.held == 0));
    }

    #[tokio::test]
    async fn a_single_permit_is_had_by_any_worker() {
        let gate = gate(1, 0, SOON);
        let permit = gate.enter(1).await.unwrap();
        gate.enter(2).await.unwrap_err();
        drop(permit);
        gate.enter(2).await.unwrap();
    }

    #[tokio::test]
    async fn who_holds_the_fewest_is_next_and_within_a_worker_who_came_first() {
        let gate = gate(2, 10, Duration::from_secs(60));
        let held = [gate.enter(1).await.unwrap(), gate.enter(1).await.unwrap()];
        let order = Arc::new(Mutex::new(Vec::new()));
        let wait = |worker, name| {
            let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
            async move {
                let permit = gate.enter(worker).await.unwrap();
                order.lock().unwrap().push(name);
                permit
            }
        };
        let [first, second, third] = [wait(1, "1a"), wait(1, "1b"), wait(2, "2a")];
        let release = async {
            for permit in held {
                tokio::task::yield_now().await;
                drop(permit);
            }
        };
        // The permits that are granted are kept until all were, but for the first.
        let waiting = async {
            let (first, third) = tokio::join!(first, third);
            drop((first, third));
        };
        tokio::join!(waiting, second, release);
        assert_eq!(*order.lock().unwrap(), ["2a", "1a", "1b"]);
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_who_goes_away_or_waits_too_long_leaves_it() {
        let gate = gate(1, 1, SOON);
        let permit = gate.enter(1).await.unwrap();
        {
            let waiting = gate.enter(2);
            tokio::pin!(waiting);
            assert!(futures_util::poll!(&mut waiting).is_pending());
            gate.enter(3).await.unwrap_err();
        }
        assert_eq!(gate.lock().waiting, 0, "it went away");
        gate.enter(2).await.unwrap_err();
        assert_eq!(gate.lock().waiting, 0, "it waited too long");
        drop(permit);
        gate.empty().await;
    }
}
