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
//! slice is free, where a short guest would have ended; but not of one that comes to nothing. Who has had how much: `lane/shares.rs`.

mod shares;

use std::cell::RefCell;
use std::future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use shares::{Next, Shares};

use super::sweep::{Sweep, Sweeps};
use super::ticker::{FINE_TICK, TICK};
use crate::observe;

/// Identifies a version of a worker for the purpose of sharing.
pub(super) type WorkerId = u32;

/// Whose guest takes time of a core.
#[derive(Clone, Copy, Debug)]
pub(super) struct Payer {
    /// Its worker.
    pub(super) worker: WorkerId,
    /// The worker that a client has asked: the same, or the first of those that have called one another to come to it. However many it
    /// calls for one request, they are in the row of its own guests, and it may be alone with them.
    pub(super) asked: WorkerId,
}

impl Payer {
    /// A worker that nobody has called.
    pub(super) fn of(worker: WorkerId) -> Self {
        Self { worker, asked: worker }
    }
}

/// A wait for a turn.
pub(super) type Turn = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Turns that are no slices follow one another for so long before the core looks at its sockets again.
const ROUND: Duration = FINE_TICK;

/// Those of short guests for so long, at least: what the core does between them they find out of its caches.
const SHORT_ROUND: Duration = TICK;

/// After a slice as long as it should be, others go first for so long at most: guests that spin have a seventeenth of a core that is
/// busy without them.
const GIVES_WAY: Duration = TICK.saturating_mul(4);

/// After one that took longer, as one does that meets pages which are not there: for so many times that, up to four times as long.
const TO_OTHERS: u32 = (GIVES_WAY.as_micros() / FINE_TICK.as_micros()) as u32;

/// What has not taken longer than this was next to nothing.
const NOTHING: Duration = Duration::from_micros(50);

thread_local! {
    /// This core's.
    static SHARES: RefCell<Shares> = RefCell::new(Shares::new());
}

/// Whether guests spin on this core, or the sweeper is at work for it.
pub(super) fn is_busy() -> bool {
    SHARES.with_borrow(Shares::are_with_long)
}

/// Whether a new guest of this worker must wait for a turn on this core.
pub(super) fn is_rationed(worker: WorkerId) -> bool {
    SHARES.with_borrow_mut(|shares| shares.ends_streak(worker) || shares.has_had_its_share(worker))
}

/// Whether guests spin on this core and this worker has had its share of it.
pub(super) fn has_had_its_share(worker: WorkerId) -> bool {
    SHARES.with_borrow(|shares| shares.has_had_its_share(worker))
}

/// Whether so many isolates of this worker begin or end in a row that the next one must wait for a turn.
pub(super) fn is_crowded(worker: WorkerId) -> bool {
    SHARES.with_borrow_mut(|shares| shares.ends_streak(worker) || shares.has_many(worker))
}

/// Its guest has had so much of this core.
pub(super) fn charge(payer: Payer, time: Duration) {
    SHARES.with_borrow_mut(|shares| shares.charge(payer, time));
}

/// The same of a guest that is woken again and again: nothing of it is free, and the host's part is added.
pub(super) fn charge_woken(payer: Payer, time: Duration) {
    SHARES.with_borrow_mut(|shares| shares.charge_woken(payer, time));
}

/// A request came to nothing, and its guest, if there was one, has had so much. That is not free: whoever is refused at once can
/// ask again at once.
pub(super) fn charge_failed(worker: WorkerId, time: Duration) {
    SHARES.with_borrow_mut(|shares| shares.charge_failed(worker, time));
}

/// Resolves when it is this guest's turn to begin, to be woken once more, or to have a piece of its response sent.
pub(super) fn turn(worker: WorkerId) -> Turn {
    wait(worker, false)
}

/// Resolves when it is this guest's turn to run for a further slice.
pub(super) fn slice(worker: WorkerId) -> Turn {
    wait(worker, true)
}

fn wait(worker: WorkerId, is_long: bool) -> Turn {
    let granted = SHARES.with_borrow_mut(|shares| {
        let granted = shares.queue(worker, is_long);
        start(shares);
        granted
    });
    Box::pin(async move {
        // An error means that the core shuts down; the guest is dropped with it.
        let _ = granted.await;
    })
}

/// An isolate of this worker is about to be swept, for as long as the returned value lives. Meanwhile those who have had their
/// share wait: what such guests leave behind is cleared in their time, not in that of the core's other work.
pub(super) fn sweep(worker: WorkerId) -> Sweep {
    SHARES.with_borrow_mut(|shares| {
        shares.is_swept(worker);
        let sweep = Sweeps::begin(&shares.sweeps);
        start(shares);
        sweep
    })
}

fn start(shares: &mut Shares) {
    // A core that shuts down drops its guests when nothing can be started there any more.
    if !shares.are_granted && tokio::runtime::Handle::try_current().is_ok() {
        shares.are_granted = true;
        observe::spawn("lane", drive());
    }
}

/// Grants turns until nobody waits: one to a guest that is long, as many as make a slice to short ones, and lets everything else that is
/// ready run in between. A turn for each of those would take longer than they do, and what is answered alone wakes a client by itself.
async fn drive() {
    let sweeps = SHARES.with_borrow(|shares| Arc::clone(&shares.sweeps));
    let mut round = Round::begin(Duration::ZERO);
    let mut gives_way_until = Instant::now();
    // What those take who have had a turn and were not waited for.
    let mut granted = Duration::ZERO;
    loop {
        let next = SHARES.with_borrow_mut(|shares| shares.next(Instant::now() >= gives_way_until));
        let takes = if let Next::Turn { short, .. } = &next { *short } else { None };
        if !granted.is_zero() && takes.is_none_or(|takes| granted + takes > FINE_TICK) {
            after_what_is_queued().await;
            granted = Duration::ZERO;
            // What they had beyond what is free is no slice that others wait for.
            SHARES.with_borrow_mut(Shares::have_given_a_slice);
            if round.is_over(true) {
                round = Round::after_the_sockets().await;
            }
        }
        match next {
            Next::Turn { grant, short } => {
                // A guest that is gone has no turn, and costs the others none. The task of one that is there is queued now.
                if grant.send(()).is_err() {
                    continue;
                }
                if let Some(takes) = short {
                    granted += takes;
                    continue;
                }
                let began = Instant::now();
                after_what_is_queued().await;
                if SHARES.with_borrow_mut(Shares::have_given_a_slice) {
                    gives_way_until = Instant::now() + to_others(began.elapsed());
                    give_way(gives_way_until).await;
                    round = Round::begin(Duration::ZERO);
                } else if round.is_over(false) {
                    round = Round::after_the_sockets().await;
                }
            }
            Next::Sockets => {
                give_way(gives_way_until).await;
                round = Round::begin(Duration::ZERO);
            }
            Next::Sweep => sweeps.change().await,
            Next::Nobody => return,
        }
    }
}

/// How long others go first after a slice that took so long.
fn to_others(took: Duration) -> Duration {
    (TO_OTHERS * took).clamp(GIVES_WAY, 4 * GIVES_WAY)
}

/// Turns that follow one another before the core looks at its sockets.
struct Round {
    began: Instant,
    /// What the sockets brought before took so long: short guests have as much. Hundreds of connections that come at once would leave
    /// them a tenth of the core.
    others: Duration,
}

impl Round {
    fn begin(others: Duration) -> Self {
        Self { began: Instant::now(), others: others.min(GIVES_WAY) }
    }

    fn is_over(&self, is_short: bool) -> bool {
        self.began.elapsed() >= if is_short { SHORT_ROUND.max(self.others) } else { ROUND }
    }

    /// The next one, after what the sockets bring.
    async fn after_the_sockets() -> Self {
        let ended = Instant::now();
        tokio::task::yield_now().await;
        Self::begin(ended.elapsed())
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

/// Comes back when everything that is ready has run, and what the sockets bring, too, for as long as they bring something; or when
/// there are guests that need not wait for so long.
async fn give_way(end: Instant) {
    tokio::task::yield_now().await;
    loop {
        let began = Instant::now();
        tokio::task::yield_now().await;
        let now = Instant::now();
        if now - began < NOTHING || now > end || SHARES.with_borrow(Shares::have_short_guests) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    async fn pass() {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_comes_during_a_sweep_and_need_not_wait_for_it_does_not() {
        let sweep = super::sweep(0);
        let mut spins = turn(0);
        pass().await;
        let mut short = turn(1);
        pass().await;
        assert!(futures_util::poll!(&mut short).is_ready(), "its turn came while the other's isolate is swept");
        assert!(futures_util::poll!(&mut spins).is_pending());
        drop(sweep);
        pass().await;
        assert!(futures_util::poll!(spins).is_ready());
    }

    #[tokio::test]
    async fn short_guests_have_as_many_turns_together_as_make_a_slice() {
        charge(Payer::of(0), Duration::ZERO);
        charge(Payer::of(1), GIVES_WAY);
        assert!(is_crowded(1), "so many in a row take turns");
        // As a task, which stands in the queue.
        let asked = observe::spawn("asks", async {
            let mut turns: Vec<_> = (0..100).map(|_| turn(1)).collect();
            after_what_is_queued().await;
            let granted = turns.iter_mut().filter_map(|turn| turn.now_or_never()).count();
            pass().await;
            assert!(turns.iter_mut().skip(granted).any(|turn| turn.now_or_never().is_some()), "and then the next");
            granted
        });
        let granted = asked.await.expect("the task is over");
        assert!((6..=FINE_TICK.as_micros() as usize / 10).contains(&granted), "{granted}");
    }

    #[test]
    fn a_slice_that_takes_longer_gives_way_for_longer() {
        assert_eq!(to_others(FINE_TICK), GIVES_WAY);
        assert_eq!(to_others(FINE_TICK / 2), GIVES_WAY);
        assert_eq!(to_others(2 * FINE_TICK), 2 * GIVES_WAY);
        assert_eq!(to_others(4 * FINE_TICK + TICK), 4 * GIVES_WAY, "at most");
    }

    #[test]
    fn short_guests_may_have_as_much_as_what_the_sockets_brought() {
        let round = |others| Round { began: Instant::now() - SHORT_ROUND, ..Round::begin(others) };
        assert!(round(Duration::ZERO).is_over(true));
        assert!(!round(2 * SHORT_ROUND).is_over(true));
        assert!(round(2 * SHORT_ROUND).is_over(false));
        assert_eq!(Round::begin(Duration::from_secs(1)).others, GIVES_WAY);
    }
}
