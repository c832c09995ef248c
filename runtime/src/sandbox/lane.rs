//! The low-priority lane: guests that have used their first slice take turns here, one slice at a time.
//!
//! Each core has one lane. After a slice the core looks at its sockets and runs whatever is ready, so a guest that spins delays
//! its neighbours by one slice, however many spin. While the sockets bring work, that goes on before the next slice, up to a bound:
//! a busy neighbour would have half of its core otherwise, since the less it has to do at a time, the more often slices come between.
//!
//! A turn goes to the worker whose slices have taken the least time, so a worker with twenty spinners has no more of the core than a
//! worker with one. It begins new guests in the lane, too; the others do not, and their short guests come before every slice. Were
//! turns counted in place of time, a worker whose guests take 20 µs and that has come into the lane, by one guest that was long,
//! would get 20 µs for each millisecond of a worker that spins, and never come out of it. For the same reason the beginning of a
//! slice is free, where a short guest would have ended; but not of one that comes to nothing.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::sweep::{Sweep, Sweeps};
use super::ticker::{FINE_TICK, Fine, SHORT_TURN, TICK};
use crate::observe;

/// Identifies a version of a worker for the purpose of sharing.
pub(super) type WorkerId = u32;

/// A wait for a turn.
pub(super) type Turn = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a worker's slices may take before it is held to its share.
const CREDIT: Duration = TICK.saturating_mul(2);

/// Turns of short guests follow one another for so long before the core looks at its sockets again.
const ROUND: Duration = FINE_TICK;

/// So much beyond what is free is a slice, whoever had it.
const SLICE: Duration = FINE_TICK.saturating_sub(SHORT_TURN);

/// After a slice, others go first for so long at most: guests that spin have a seventeenth of a core that is busy without them.
const GIVES_WAY: Duration = TICK.saturating_mul(4);

/// What has not taken longer than this was next to nothing.
const NOTHING: Duration = Duration::from_micros(50);

/// What the host does for a guest each time that it wakes it, at least: it has read or written something.
const WAKE: Duration = Duration::from_micros(10);

/// What the host does for a request, at least: it has read it and answers it.
const REQUEST: Duration = Duration::from_micros(20);

/// A worker is alone on a core when no other has run there for so long.
const ALONE: Duration = Duration::from_secs(1);

struct Lane {
    /// All workers that have waited, or have had a slice, since somebody waits.
    shares: HashMap<WorkerId, Share>,
    /// What the worker whose turn it was had had by then: who has had as much waits for a turn.
    clock: Duration,
    /// All that were granted.
    turns: u64,
    /// To all workers, since slices gave way.
    charged: Duration,
    /// While somebody waits, ticks are frequent: first slices are as short as the others then.
    driven: Option<Fine>,
    sweeps: Arc<Sweeps>,
    streak: Streak,
}

/// Guests of one worker, one after the other.
#[derive(Default)]
struct Streak {
    worker: WorkerId,
    had: Duration,
    /// When another worker's began.
    since: Option<Instant>,
}

#[derive(Default)]
struct Share {
    /// CPU time of its slices, on the lane's clock.
    had: Duration,
    /// Its last turn, counted by the lane: of those who have had as much, who has waited longest is next.
    last: u64,
    /// The guests that wait, in their order.
    queue: VecDeque<oneshot::Sender<()>>,
    /// An isolate of it is being swept.
    swept: bool,
    /// Many of its guests begin or end in a row: they take turns until none of them waits.
    many: bool,
}

thread_local! {
    static LANE: RefCell<Lane> = RefCell::new(Lane::new());
}

/// Whether guests spin on this core, or the sweeper is at work for it.
pub(super) fn is_busy() -> bool {
    LANE.with_borrow(|lane| lane.driven.is_some())
}

/// Whether a new guest of this worker must wait for a turn on this core.
pub(super) fn is_rationed(worker: WorkerId) -> bool {
    LANE.with_borrow_mut(|lane| lane.ends_streak(worker) || lane.has_had_its_share(worker))
}

/// Whether guests spin on this core and this worker has had its share of it.
pub(super) fn has_had_its_share(worker: WorkerId) -> bool {
    LANE.with_borrow(|lane| lane.has_had_its_share(worker))
}

/// Whether so many isolates of this worker begin or end in a row that the next one must wait for a turn.
pub(super) fn is_crowded(worker: WorkerId) -> bool {
    LANE.with_borrow_mut(|lane| lane.ends_streak(worker) || lane.shares.get(&worker).is_some_and(|share| share.many))
}

/// A guest of this worker has had so much of this core.
pub(super) fn charge(worker: WorkerId, time: Duration) {
    charge_share(worker, time, time.saturating_sub(SHORT_TURN));
}

/// The same of a guest that is woken again and again: nothing of it is free, and the host's part is added.
pub(super) fn charge_woken(worker: WorkerId, time: Duration) {
    charge_share(worker, time, time + WAKE);
}

/// A request came to nothing, and its guest, if there was one, has had so much. That is not free: whoever is refused at once can
/// ask again at once.
pub(super) fn charge_failed(worker: WorkerId, time: Duration) {
    LANE.with_borrow_mut(|lane| lane.charge(worker, time.min(SHORT_TURN) + REQUEST));
}

fn charge_share(worker: WorkerId, time: Duration, more: Duration) {
    LANE.with_borrow_mut(|lane| {
        lane.charge(worker, more);
        if lane.streak.worker == worker {
            lane.streak.had += time;
        } else {
            lane.streak = Streak { worker, had: time, since: Some(Instant::now()) };
        }
    });
}

/// Resolves when it is this guest's turn to run for a slice, or to have a piece of its response sent.
pub(super) fn turn(worker: WorkerId) -> Turn {
    let (grant, granted) = oneshot::channel();
    LANE.with_borrow_mut(|lane| {
        lane.share(worker).queue.push_back(grant);
        lane.start();
    });
    Box::pin(async move {
        // An error means that the core shuts down; the guest is dropped with it.
        let _ = granted.await;
    })
}

/// An isolate of this worker is about to be swept, for as long as the returned value lives. Meanwhile those who have had their
/// share wait: what such guests leave behind is cleared in their time, not in that of the core's other work.
pub(super) fn sweep(worker: WorkerId) -> Sweep {
    LANE.with_borrow_mut(|lane| {
        lane.share(worker).swept = true;
        let sweep = Sweeps::begin(&lane.sweeps);
        lane.start();
        sweep
    })
}

/// Grants one turn, lets everything else that is ready run, and so on until nobody waits.
async fn drive() {
    let sweeps = LANE.with_borrow(|lane| Arc::clone(&lane.sweeps));
    let mut round = Instant::now();
    loop {
        match LANE.with_borrow_mut(Lane::next) {
            Next::Turn(grant) => {
                // A guest that is gone has no turn, and costs the others none. The task of one that is there is queued now.
                if grant.send(()).is_err() {
                    continue;
                }
                after_what_is_queued().await;
                if LANE.with_borrow_mut(Lane::has_granted_a_slice) {
                    give_way().await;
                    round = Instant::now();
                } else if round.elapsed() >= ROUND {
                    tokio::task::yield_now().await;
                    round = Instant::now();
                }
            }
            Next::Sweep => {
                // An error says that a tick is over; somebody may have come who need not wait for the sweep.
                let _ = tokio::time::timeout(TICK, sweeps.finished()).await;
            }
            Next::Nobody => return,
        }
    }
}

/// Comes back when everything that is ready now has run.
async fn after_what_is_queued() {
    let mut is_queued = false;
    future::poll_fn(|context| {
        if is_queued {
            return Poll::Ready(());
        }
        is_queued = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Comes back when everything that is ready has run, and what the sockets bring, too, for as long as they bring something.
async fn give_way() {
    tokio::task::yield_now().await;
    let end = Instant::now() + GIVES_WAY;
    loop {
        let began = Instant::now();
        tokio::task::yield_now().await;
        let now = Instant::now();
        if now - began < NOTHING || now > end || LANE.with_borrow(Lane::has_short_guests) {
            return;
        }
    }
}

/// What the lane does next.
enum Next {
    Turn(oneshot::Sender<()>),
    Sweep,
    Nobody,
}

impl Lane {
    fn new() -> Self {
        Self {
            shares: HashMap::new(),
            clock: CREDIT,
            turns: 0,
            charged: Duration::ZERO,
            driven: None,
            sweeps: Arc::default(),
            streak: Streak::default(),
        }
    }

    /// A worker's share; time that it did not use is lost, but for its credit.
    fn share(&mut self, worker: WorkerId) -> &mut Share {
        let share = self.shares.entry(worker).or_default();
        share.had = share.had.max(self.clock.saturating_sub(CREDIT));
        share
    }

    fn charge(&mut self, worker: WorkerId, time: Duration) {
        if self.driven.is_some() && !time.is_zero() {
            self.share(worker).had += time;
            self.charged += time;
        }
    }

    fn start(&mut self) {
        // A core that shuts down drops its guests when nothing can be started there any more.
        if self.driven.is_none() && tokio::runtime::Handle::try_current().is_ok() {
            self.driven = Some(Fine::ticks());
            observe::spawn("lane", drive());
        }
    }

    /// Hundreds of requests may come at once, and each begins a guest; hundreds of guests may reach their time-out at once. A
    /// slice's worth of them in a row is enough, and the rest take turns. Not where a worker is alone.
    fn ends_streak(&mut self, worker: WorkerId) -> bool {
        if self.streak.worker != worker || self.streak.had < TICK {
            return false;
        }
        self.streak.had = Duration::ZERO;
        let alone = self.streak.since.is_none_or(|since| since.elapsed() > ALONE);
        if !alone {
            self.share(worker).many = true;
        }
        !alone
    }

    fn has_had_its_share(&self, worker: WorkerId) -> bool {
        let share = self.shares.get(&worker).filter(|_| self.driven.is_some());
        share.is_some_and(|share| share.many || share.swept || share.had >= self.clock)
    }

    /// Whether what was charged since this was last so amounts to a slice.
    fn has_granted_a_slice(&mut self) -> bool {
        let is_slice = self.charged >= SLICE;
        if is_slice {
            self.charged = Duration::ZERO;
        }
        is_slice
    }

    fn has_short_guests(&self) -> bool {
        self.shares.values().any(|share| share.many && !share.queue.is_empty())
    }

    fn next(&mut self) -> Next {
        let (clock, sweeping) = (self.clock, !self.sweeps.are_finished());
        if !sweeping {
            self.shares.values_mut().for_each(|share| share.swept = false);
        }
        let waiting = self.shares.values_mut().filter(|share| !share.queue.is_empty());
        let may = waiting.filter(|share| !sweeping || (!share.swept && share.had < clock));
        if let Some(share) = may.min_by_key(|share| (share.had, share.last))
            && let Some(grant) = share.queue.pop_front()
        {
            self.clock = clock.max(share.had);
            self.turns += 1;
            share.last = self.turns;
            share.many &= !share.queue.is_empty();
            return Next::Turn(grant);
        }
        if sweeping {
            return Next::Sweep;
        }
        self.shares.clear();
        self.clock = CREDIT;
        self.driven = None;
        Next::Nobody
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    fn lane() -> Lane {
        Lane { driven: Some(Fine::ticks()), ..Lane::new() }
    }

    /// A guest waits for its turn.
    fn wait(lane: &mut Lane, worker: WorkerId) -> oneshot::Receiver<()> {
        let (grant, granted) = oneshot::channel();
        lane.share(worker).queue.push_back(grant);
        granted
    }

    fn grant(lane: &mut Lane) {
        let Next::Turn(grant) = lane.next() else { panic!("somebody waits") };
        grant.send(()).unwrap();
    }

    fn rations(lane: &mut Lane, worker: WorkerId) -> bool {
        lane.share(worker);
        lane.has_had_its_share(worker)
    }

    #[test]
    fn a_worker_with_short_guests_gets_as_much_time_as_one_that_spins() {
        let mut lane = lane();
        let (mut short, mut long) = (Duration::ZERO, Duration::ZERO);
        let mut waiting = [wait(&mut lane, 0), wait(&mut lane, 1)];
        for _ in 0..1000 {
            grant(&mut lane);
            let worker = waiting.iter_mut().position(|granted| granted.try_recv().is_ok()).unwrap();
            let (took, sum) = if worker == 0 { (20 * US, &mut short) } else { (1000 * US, &mut long) };
            *sum += took;
            lane.share(worker as WorkerId).had += took;
            waiting[worker] = wait(&mut lane, worker as WorkerId);
        }
        assert!(short.abs_diff(long) <= CREDIT, "{short:?} and {long:?}");
    }

    #[test]
    fn who_has_had_less_than_the_others_does_not_wait() {
        let mut lane = lane();
        let _spins = wait(&mut lane, 0);
        lane.share(0).had = Duration::from_secs(10);
        let _spins = wait(&mut lane, 0);
        grant(&mut lane);
        assert!(rations(&mut lane, 0));
        assert!(!rations(&mut lane, 1));
        lane.share(1).had += CREDIT;
        assert!(rations(&mut lane, 1), "its credit is used");
    }

    #[test]
    fn during_a_sweep_only_those_run_who_have_not_had_their_share() {
        let mut lane = lane();
        let _spins = wait(&mut lane, 0);
        lane.share(0).had = CREDIT;
        let sweep = Sweeps::begin(&lane.sweeps);
        assert!(matches!(lane.next(), Next::Sweep));
        let _short = wait(&mut lane, 1);
        grant(&mut lane);
        assert!(matches!(lane.next(), Next::Sweep));
        assert!(!rations(&mut lane, 2));
        drop(sweep);
        grant(&mut lane);
    }

    #[test]
    fn when_nobody_waits_all_are_even_again() {
        let mut lane = lane();
        lane.share(0).had = Duration::from_secs(10);
        assert!(matches!(lane.next(), Next::Nobody));
        assert!(lane.driven.is_none());
        let [one, other] = [0, 1].map(|worker| lane.share(worker).had);
        assert_eq!(one, other);
    }

    #[test]
    fn short_work_is_free_but_not_what_is_woken_again_and_again_or_comes_to_nothing() {
        // Each test has a thread of its own, and that a lane.
        let had = |worker| LANE.with_borrow_mut(|lane| lane.share(worker).had - (lane.clock - CREDIT));
        LANE.with_borrow_mut(|lane| lane.driven = Some(Fine::ticks()));
        charge(0, SHORT_TURN);
        assert_eq!(had(0), Duration::ZERO);
        charge(0, SHORT_TURN + 10 * US);
        assert_eq!(had(0), 10 * US);
        charge_woken(1, 10 * US);
        assert_eq!(had(1), WAKE + 10 * US);
        assert!(!has_had_its_share(1));
        charge_woken(1, CREDIT);
        assert!(has_had_its_share(1));
        charge_failed(2, SHORT_TURN - 10 * US);
        assert_eq!(had(2), SHORT_TURN - 10 * US + REQUEST);
        charge_failed(3, CREDIT);
        assert_eq!(had(3), SHORT_TURN + REQUEST, "the rest was charged when it ran");
    }

    #[test]
    fn turns_amount_to_a_slice_by_what_they_have_taken() {
        LANE.with_borrow_mut(|lane| lane.driven = Some(Fine::ticks()));
        let is_slice = || LANE.with_borrow_mut(Lane::has_granted_a_slice);
        charge(0, SHORT_TURN + SLICE - US);
        assert!(!is_slice());
        charge(1, SHORT_TURN + US);
        assert!(is_slice());
        assert!(!is_slice(), "the next one begins");
    }

    #[test]
    fn workers_whose_turns_cost_nothing_take_them_one_after_the_other() {
        let mut lane = lane();
        let mut waiting = [0, 1, 2].map(|worker| wait(&mut lane, worker));
        for round in 0..10 {
            let mut had = [false; 3];
            for _ in 0..3 {
                grant(&mut lane);
                let worker = waiting.iter_mut().position(|granted| granted.try_recv().is_ok()).unwrap();
                had[worker] = true;
                waiting[worker] = wait(&mut lane, worker as WorkerId);
            }
            assert_eq!(had, [true; 3], "round {round}");
        }
    }

    #[test]
    fn a_worker_that_begins_many_guests_in_a_row_is_rationed_unless_it_is_alone() {
        let mut lane = lane();
        let mut streak = |since| {
            lane.streak = Streak { worker: 1, had: TICK, since };
            lane.ends_streak(1)
        };
        assert!(!streak(None));
        assert!(streak(Some(Instant::now())));
        assert!(!lane.ends_streak(1), "a new streak begins");
        let _waits = wait(&mut lane, 1);
        assert!(rations(&mut lane, 1));
        grant(&mut lane);
        assert!(!rations(&mut lane, 1), "none of them waits");
    }
}
