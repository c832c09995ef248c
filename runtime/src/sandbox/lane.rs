//! The low-priority lane: guests that have used their first slice take turns here, one slice at a time.
//!
//! Each core has one lane. Between two turns the core looks at its sockets and runs whatever is ready, so a guest that spins
//! delays its neighbours by one slice, however many spin. Turns go round the workers first, so that a worker with twenty
//! spinners has no more of the core than a worker with one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;

use tokio::sync::oneshot;

use crate::observe;

/// Identifies a worker for the purpose of sharing; versions of one worker share.
pub(super) type WorkerId = u32;

#[derive(Default)]
struct Lane {
    /// The guests that wait, by worker, in the order in which the workers' turns come.
    queues: VecDeque<(WorkerId, VecDeque<oneshot::Sender<()>>)>,
    driven: bool,
}

thread_local! {
    static LANE: RefCell<Lane> = RefCell::default();
}

/// How many guests of this worker wait for a turn on this core.
pub(super) fn waiting(worker: WorkerId) -> usize {
    LANE.with_borrow(|lane| lane.queues.iter().find(|(id, _)| *id == worker).map_or(0, |(_, queue)| queue.len()))
}

/// Resolves when it is this guest's turn to run for a slice.
pub(super) fn turn(worker: WorkerId) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let (grant, granted) = oneshot::channel();
    let start = LANE.with_borrow_mut(|lane| {
        match lane.queues.iter_mut().find(|(id, _)| *id == worker) {
            Some((_, queue)) => queue.push_back(grant),
            None => lane.queues.push_back((worker, VecDeque::from([grant]))),
        }
        !std::mem::replace(&mut lane.driven, true)
    });
    if start {
        observe::spawn("lane", drive());
    }
    Box::pin(async move {
        // An error means that the core shuts down; the guest is dropped with it.
        let _ = granted.await;
    })
}

/// Grants one turn, lets everything else that is ready run, and so on until nobody waits.
async fn drive() {
    while let Some(grant) = LANE.with_borrow_mut(Lane::next) {
        // A guest that is gone has no turn, and costs the others none.
        if grant.send(()).is_ok() {
            // The guest's task is queued now; this one comes back after it, and after the sockets were looked at.
            tokio::task::yield_now().await;
        }
    }
}

impl Lane {
    fn next(&mut self) -> Option<oneshot::Sender<()>> {
        let Some((worker, mut queue)) = self.queues.pop_front() else {
            self.driven = false;
            return None;
        };
        let grant = queue.pop_front();
        if !queue.is_empty() {
            self.queues.push_back((worker, queue));
        }
        grant
    }
}
