//! Admission: the permits of the node and of its workers, and the requests that wait for one.
//!
//! A worker may hold as many permits as its own limit allows, and so many times what is free ([`ROOM`]), as with the node's memory:
//! dynamic thresholds, which switches use to share a buffer between queues (Choudhury and Hahne, IEEE/ACM Transactions on Networking
//! 6(2), 1998). However many requests come for one worker, and however long its guests sleep, there is a permit for another one;
//! whoever has the fewest is next. The versions of a worker stand in one line.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::bindings::{NodeMemory, ROOM};
use crate::config::WorkerLimits;
use crate::failure::Failure;

/// Workers whose entry stays for their next request.
const KEPT: usize = 64;

/// The permits, the queue before them, and how long a request may stand in it.
#[derive(Debug)]
pub struct NodeGate {
    state: Mutex<State>,
    emptied: Notify,
    permits: u64,
    queue: u64,
    wait: Duration,
    memory: Arc<NodeMemory>,
}

#[derive(Debug)]
struct State {
    free: u64,
    /// Requests in all lines.
    waiting: u64,
    /// Of those, the ones that wait for the node's permits, not for their worker's own.
    waiting_for_node: u64,
    /// Of those that hold a permit or wait for one, and of some that did.
    workers: BTreeMap<u32, Line>,
    /// Whether somebody wants to know when nobody is inside.
    is_awaited: bool,
}

/// One worker.
#[derive(Debug, Default)]
struct Line {
    held: u64,
    /// First come, first served.
    waiting: VecDeque<Waiting>,
    /// Of those, the ones that wait for the worker's own permits.
    waiting_for_worker: u64,
}

#[derive(Debug)]
struct Waiting {
    grant: oneshot::Sender<Permit>,
    /// The worker may hold so many, by the version that the request is for.
    concurrency: u64,
    lacks: Lacks,
}

/// Whose permits there were none of when the request came: that decides in which queue it is counted, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lacks {
    Worker,
    Node,
}

impl Lacks {
    /// The count of those who wait for the same.
    fn counted<'a>(self, for_worker: &'a mut u64, for_node: &'a mut u64) -> &'a mut u64 {
        match self {
            Self::Worker => for_worker,
            Self::Node => for_node,
        }
    }
}

/// The right to run an isolate; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<NodeGate>,
    worker: u32,
}

impl NodeGate {
    /// A gate for so many isolates at once, with so many requests waiting, each for at most this long.
    #[must_use]
    pub fn new(permits: u64, queue: u64, wait: Duration, memory: Arc<NodeMemory>) -> Arc<Self> {
        let state =
            State { free: permits, waiting: 0, waiting_for_node: 0, workers: BTreeMap::new(), is_awaited: false };
        Arc::new(Self { state: Mutex::new(state), emptied: Notify::new(), permits, queue, wait, memory })
    }

    /// Takes a permit for a worker, at once or after waiting.
    ///
    /// # Errors
    /// When the queue of the worker or of the node is full, the wait was too long, or the process has too much memory already.
    pub async fn enter(self: &Arc<Self>, worker: u32, limits: &WorkerLimits) -> Result<Permit, Failure> {
        if self.memory.process_has_too_much() {
            return Err(overloaded("the node is short of memory", self.wait));
        }
        let (place, lacks) = {
            let mut state = self.lock();
            let Err(lacks) = state.take(worker, limits.concurrency) else {
                return Ok(Permit { gate: Arc::clone(self), worker });
            };
            let queue = if lacks == Lacks::Worker { limits.queue } else { self.queue };
            (state.queue_up(worker, limits.concurrency, lacks, queue), lacks)
        };
        let (wait, reason) = match lacks {
            Lacks::Worker => (limits.queue_wait, "the worker is at its concurrency limit"),
            Lacks::Node => (self.wait, "the node is at its concurrency limit"),
        };
        let granted = place.ok_or_else(|| overloaded(reason, wait))?;
        let mut place = Place { gate: self, worker, granted };
        // Boxed: few wait, and the future of each request has room for this one.
        match Box::pin(tokio::time::timeout(wait, &mut place.granted)).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(overloaded(reason, wait)),
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
            {
                let mut state = self.lock();
                if state.free == self.permits {
                    return;
                }
                state.is_awaited = true;
            }
            emptied.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(self: &Arc<Self>, worker: u32) {
        let mut state = self.lock();
        state.leave(worker);
        if state.free == self.permits && state.is_awaited {
            state.is_awaited = false;
            self.emptied.notify_waiters();
        }
        while let Some((next, grant)) = state.next() {
            // Whoever has given up in the meantime gets none. The permit comes back here, so the lock must not be held.
            drop(state);
            let refused = grant.send(Permit { gate: Arc::clone(self), worker: next });
            drop(refused);
            state = self.lock();
        }
    }
}

fn overloaded(reason: &'static str, wait: Duration) -> Failure {
    Failure::Overloaded { reason, retry_after: wait.max(Duration::from_secs(1)) }
}

/// Whether the node has one of its free permits for a worker that holds so many.
fn has_one_for(held: u64, free: u64) -> bool {
    held < free.saturating_mul(ROOM)
}

impl State {
    fn take(&mut self, worker: u32, concurrency: u64) -> Result<(), Lacks> {
        let free = self.free;
        let line = self.workers.entry(worker).or_default();
        if line.held + line.waiting.len() as u64 >= concurrency {
            return Err(Lacks::Worker);
        }
        if !has_one_for(line.held, free) {
            return Err(Lacks::Node);
        }
        line.held += 1;
        self.free -= 1;
        Ok(())
    }

    /// A place at the end of the worker's line, unless so many wait already for lack of the same.
    fn queue_up(
        &mut self,
        worker: u32,
        concurrency: u64,
        lacks: Lacks,
        queue: u64,
    ) -> Option<oneshot::Receiver<Permit>> {
        let line = self.workers.entry(worker).or_default();
        let counted = lacks.counted(&mut line.waiting_for_worker, &mut self.waiting_for_node);
        if *counted >= queue {
            return None;
        }
        *counted += 1;
        self.waiting += 1;
        let (grant, granted) = oneshot::channel();
        line.waiting.push_back(Waiting { grant, concurrency, lacks });
        Some(granted)
    }

    /// One permit less for this worker.
    fn leave(&mut self, worker: u32) {
        self.free += 1;
        if let Some(line) = self.workers.get_mut(&worker) {
            line.held -= 1;
            let is_over = line.held == 0 && line.waiting.is_empty();
            if is_over && self.workers.len() > KEPT {
                self.workers.remove(&worker);
            }
        }
    }

    /// Who is next, with the permit already counted as held: of the workers with requests waiting, that which holds the fewest.
    fn next(&mut self) -> Option<(u32, oneshot::Sender<Permit>)> {
        if self.waiting == 0 {
            return None;
        }
        let may_have_more = |line: &Line| line.waiting.front().is_some_and(|first| line.held < first.concurrency);
        let waiting = self.workers.iter().filter(|(_, line)| may_have_more(line));
        let (worker, held) = waiting.map(|(worker, line)| (*worker, line.held)).min_by_key(|(_, held)| *held)?;
        if !has_one_for(held, self.free) {
            return None;
        }
        let line = self.workers.get_mut(&worker)?;
        let first = line.waiting.pop_front()?;
        line.held += 1;
        self.free -= 1;
        self.waiting -= 1;
        *first.lacks.counted(&mut line.waiting_for_worker, &mut self.waiting_for_node) -= 1;
        Some((worker, first.grant))
    }

    /// Takes those out of a worker's line who have gone away.
    fn forget_gone(&mut self, worker: u32) {
        let Some(line) = self.workers.get_mut(&worker) else { return };
        let Line { waiting, waiting_for_worker, .. } = line;
        waiting.retain(|one| {
            let is_gone = one.grant.is_closed();
            if is_gone {
                self.waiting -= 1;
                *one.lacks.counted(waiting_for_worker, &mut self.waiting_for_node) -= 1;
            }
            !is_gone
        });
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.give_back(self.worker);
    }
}

/// A place in a line, for a request that may go away while it waits.
struct Place<'a> {
    gate: &'a NodeGate,
    worker: u32,
    granted: oneshot::Receiver<Permit>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.granted.close();
        // One that was granted at the last moment goes to the next, once the lock is free again.
        let _late = self.granted.try_recv();
        self.gate.lock().forget_gone(self.worker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LimitTable;

    const SOON: Duration = Duration::from_millis(20);

    fn gate(permits: u64, queue: u64, wait: Duration) -> Arc<NodeGate> {
        NodeGate::new(permits, queue, wait, NodeMemory::new(u64::MAX, 0))
    }

    async fn enter(gate: &Arc<NodeGate>, worker: u32) -> Result<Permit, Failure> {
        gate.enter(worker, &limits(10_000, 0)).await
    }

    fn limits(concurrency: u64, queue: u64) -> WorkerLimits {
        WorkerLimits { concurrency, queue, queue_wait: SOON, ..LimitTable::builtin().worker_defaults() }
    }

    /// Takes what a worker can get at once.
    async fn all(gate: &Arc<NodeGate>, worker: u32) -> Vec<Permit> {
        let mut held = Vec::new();
        while let Ok(Ok(permit)) = tokio::time::timeout(Duration::ZERO, enter(gate, worker)).await {
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
        let third = enter(&gate, 3).await.unwrap();
        assert_eq!(gate.inside(), 890);
        drop((greedy, second, third));
        gate.empty().await;
        assert!(gate.lock().workers.values().all(|line| line.held == 0));
    }

    #[tokio::test]
    async fn a_single_permit_is_had_by_any_worker() {
        let gate = gate(1, 0, SOON);
        let permit = enter(&gate, 1).await.unwrap();
        enter(&gate, 2).await.unwrap_err();
        drop(permit);
        enter(&gate, 2).await.unwrap();
    }

    #[tokio::test]
    async fn who_holds_the_fewest_is_next_and_within_a_worker_who_came_first() {
        let gate = gate(2, 10, Duration::from_secs(60));
        let held = [enter(&gate, 1).await.unwrap(), enter(&gate, 1).await.unwrap()];
        let order = Arc::new(Mutex::new(Vec::new()));
        let wait = |worker, name| {
            let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
            async move {
                let permit = enter(&gate, worker).await.unwrap();
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
        let permit = enter(&gate, 1).await.unwrap();
        {
            let waiting = enter(&gate, 2);
            tokio::pin!(waiting);
            assert!(futures_util::poll!(&mut waiting).is_pending());
            enter(&gate, 3).await.unwrap_err();
        }
        assert_eq!(gate.lock().waiting, 0, "it went away");
        enter(&gate, 2).await.unwrap_err();
        assert_eq!(gate.lock().waiting, 0, "it waited too long");
        drop(permit);
        gate.empty().await;
    }

    #[tokio::test]
    async fn a_worker_at_its_own_limit_waits_in_its_own_queue_and_leaves_the_nodes_to_others() {
        let gate = gate(100, 1, SOON);
        let limits = limits(2, 1);
        let held = [gate.enter(1, &limits).await.unwrap(), gate.enter(1, &limits).await.unwrap()];
        let waiting = gate.enter(1, &limits);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        let refused = gate.enter(1, &limits).await.unwrap_err();
        assert!(refused.to_string().contains("worker"), "{refused}");
        assert_eq!(gate.lock().waiting, 1);
        assert_eq!(gate.lock().waiting_for_node, 0);
        let other = enter(&gate, 2).await.unwrap();
        drop(other);
        assert!(futures_util::poll!(&mut waiting).is_pending(), "another worker's permit is of no use to it");
        drop(held);
        let permit = waiting.await.unwrap();
        drop(permit);
        assert_eq!((gate.inside(), gate.lock().waiting), (0, 0));
    }

    #[tokio::test]
    async fn the_versions_of_a_worker_have_its_permits_together() {
        let gate = gate(100, 0, SOON);
        let old = [enter(&gate, 1).await.unwrap(), enter(&gate, 1).await.unwrap()];
        let new = limits(2, 0);
        gate.enter(1, &new).await.unwrap_err();
        drop(old);
        gate.enter(1, &new).await.unwrap();
    }
}
