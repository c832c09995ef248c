//! Who has had how much of a core, who waits for a turn, and whose it is next.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::sweep::Sweeps;
use super::super::ticker::{FINE_TICK, Fine, SHORT_TURN, TICK};
use super::{Payer, WorkerId};

/// What a worker's slices may take before it is held to its share.
const CREDIT: Duration = TICK.saturating_mul(2);

/// So much beyond what is free is a slice, whoever had it.
const SLICE: Duration = FINE_TICK.saturating_sub(SHORT_TURN);

/// Of what a worker's short guests take, one part of so many makes up for one that was long by chance: it met a page that was not there,
/// or an interrupt. A worker that is asked ten thousand times in a second would be held for them to the share of one that spins.
const FORGIVES: u32 = 8;

/// What the host does for a guest each time that it wakes it, at least: it has read or written something.
const WAKE: Duration = Duration::from_micros(10);

/// What the host does for a request, at least: it has read it and answers it.
const REQUEST: Duration = Duration::from_micros(20);

/// So long the guests of one worker may go on in a row.
const STREAK: Duration = TICK.saturating_mul(4);

/// A worker is alone on a core when no other has run there for so long.
const ALONE: Duration = Duration::from_secs(1);

/// One core's.
pub(super) struct Shares {
    /// All workers that have waited, or have had a slice, since somebody waits.
    workers: HashMap<WorkerId, Share>,
    /// What the worker whose turn it was had had by then: who has had as much waits for a turn.
    clock: Duration,
    /// All that were granted.
    turns: u64,
    /// To all workers, since slices gave way.
    charged: Duration,
    /// The last turn was that of a short guest.
    was_short: bool,
    /// Somebody waits, or the sweeper is at work: turns are granted.
    pub(super) are_granted: bool,
    /// How many of those that wait are long.
    long: usize,
    /// While there are any, or the sweeper is at work, ticks are frequent: first slices are as short as the others then.
    ticks: Option<Fine>,
    pub(super) sweeps: Arc<Sweeps>,
    streak: Streak,
}

/// Guests of one worker, and of those that it calls, one after the other.
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
    queue: VecDeque<Waiter>,
    /// An isolate of it is being swept.
    swept: bool,
    /// Many of its guests begin or end in a row: they take turns until none of them waits.
    many: bool,
    /// What one that is short takes, as the last of them did.
    takes: Duration,
}

/// The last one counts for so much of what the next is expected to take.
const LAST: u32 = 8;

struct Waiter {
    grant: oneshot::Sender<()>,
    is_long: bool,
}

/// What the lane does next.
pub(super) enum Next {
    /// Somebody has one.
    Turn {
        grant: oneshot::Sender<()>,
        /// What a short guest is expected to take, with what the host does for it.
        short: Option<Duration>,
    },
    /// Before a slice: there were short guests since the last one, and there may be more of them by now.
    Sockets,
    Sweep,
    Nobody,
}

impl Share {
    /// Guests wait that begin or end, of a worker that has not had its share.
    fn has_short_guests(&self, clock: Duration) -> bool {
        self.many && self.had < clock && !self.queue.is_empty()
    }
}

impl Shares {
    pub(super) fn new() -> Self {
        Self {
            workers: HashMap::new(),
            clock: CREDIT,
            turns: 0,
            charged: Duration::ZERO,
            was_short: false,
            are_granted: false,
            long: 0,
            ticks: None,
            sweeps: Arc::default(),
            streak: Streak::default(),
        }
    }

    /// A worker's share; time that it did not use is lost, but for its credit.
    fn share(&mut self, worker: WorkerId) -> &mut Share {
        let share = self.workers.entry(worker).or_default();
        share.had = share.had.max(self.clock.saturating_sub(CREDIT));
        share
    }

    /// Whether a guest that is long waits, or the sweeper is at work.
    pub(super) fn are_with_long(&self) -> bool {
        self.ticks.is_some()
    }

    /// A guest waits for its turn. Who need not wait for a sweep does not.
    pub(super) fn queue(&mut self, worker: WorkerId, is_long: bool) -> oneshot::Receiver<()> {
        let (grant, granted) = oneshot::channel();
        self.share(worker).queue.push_back(Waiter { grant, is_long });
        if is_long {
            self.long += 1;
            self.ticks.get_or_insert_with(Fine::ticks);
        }
        self.sweeps.tell();
        granted
    }

    /// An isolate of this worker is being swept.
    pub(super) fn is_swept(&mut self, worker: WorkerId) {
        self.share(worker).swept = true;
        self.ticks.get_or_insert_with(Fine::ticks);
    }

    pub(super) fn charge(&mut self, payer: Payer, time: Duration) {
        self.add(payer.worker, time.saturating_sub(SHORT_TURN));
        if time <= SHORT_TURN {
            self.was_short_for(payer.worker, time);
        }
        self.goes_on(payer.asked, time);
    }

    pub(super) fn charge_woken(&mut self, payer: Payer, time: Duration) {
        self.add(payer.worker, time + WAKE);
        self.goes_on(payer.asked, time);
    }

    pub(super) fn charge_failed(&mut self, worker: WorkerId, time: Duration) {
        self.add(worker, time.min(SHORT_TURN) + REQUEST);
    }

    fn add(&mut self, worker: WorkerId, time: Duration) {
        if self.are_granted && !time.is_zero() {
            self.share(worker).had += time;
            self.charged += time;
        }
    }

    fn goes_on(&mut self, worker: WorkerId, time: Duration) {
        if self.streak.worker == worker {
            self.streak.had += time;
        } else {
            self.streak = Streak { worker, had: time, since: Some(Instant::now()) };
        }
    }

    /// A part of it less does the worker have had, of what was more than its credit.
    fn was_short_for(&mut self, worker: WorkerId, time: Duration) {
        let least = self.clock.saturating_sub(CREDIT);
        if let Some(share) = self.workers.get_mut(&worker) {
            share.had = share.had.saturating_sub(time / FORGIVES).max(least);
            share.takes = share.takes - share.takes / LAST + time / LAST;
        }
    }

    /// Hundreds of requests may come at once, and each begins a guest; hundreds of guests may reach their time-out at once. So many of
    /// them in a row are enough, and the rest take turns. Not where a worker is alone. Were fewer enough, a worker that is asked steadily,
    /// and has waited for a moment, would have to take turns for what has come meanwhile: they cost it two fifths of what it takes, which
    /// a core that others attack may not have.
    pub(super) fn ends_streak(&mut self, worker: WorkerId) -> bool {
        if self.streak.worker != worker || self.streak.had < STREAK {
            return false;
        }
        self.streak.had = Duration::ZERO;
        let alone = self.streak.since.is_none_or(|since| since.elapsed() > ALONE);
        if !alone {
            self.share(worker).many = true;
        }
        !alone
    }

    /// Whether so many isolates of this worker begin or end in a row that they take turns.
    pub(super) fn has_many(&self, worker: WorkerId) -> bool {
        self.workers.get(&worker).is_some_and(|share| share.many)
    }

    pub(super) fn has_had_its_share(&self, worker: WorkerId) -> bool {
        let share = self.workers.get(&worker).filter(|_| self.are_granted);
        share.is_some_and(|share| share.many || share.swept || share.had >= self.clock)
    }

    /// Whether what was charged since this was last so amounts to a slice.
    pub(super) fn have_given_a_slice(&mut self) -> bool {
        let is_slice = self.charged >= SLICE;
        if is_slice {
            self.charged = Duration::ZERO;
        }
        is_slice
    }

    pub(super) fn have_short_guests(&self) -> bool {
        self.workers.values().any(|share| share.has_short_guests(self.clock))
    }

    /// After a slice, guests that are not short wait until what is due to others has gone before: `gave_way`.
    pub(super) fn next(&mut self, gave_way: bool) -> Next {
        let (clock, sweeping) = (self.clock, !self.sweeps.are_finished());
        if !sweeping {
            self.workers.values_mut().for_each(|share| share.swept = false);
            if self.long == 0 {
                // A crowd of short guests may take turns for as long as it likes: no tick has to end one of them.
                self.ticks = None;
            }
        }
        let waiting = self.workers.values_mut().filter(|share| !share.queue.is_empty());
        let may = waiting.filter(|share| !sweeping || (!share.swept && share.had < clock));
        let order = |share: &&mut Share| (gave_way && share.has_short_guests(clock), share.had, share.last);
        if let Some(share) = may.min_by_key(order) {
            let short = share.has_short_guests(clock).then_some(share.takes + REQUEST);
            if std::mem::replace(&mut self.was_short, short.is_some()) && short.is_none() && !gave_way {
                return Next::Sockets;
            }
            if let Some(Waiter { grant, is_long }) = share.queue.pop_front() {
                self.long -= usize::from(is_long);
                self.clock = clock.max(share.had);
                self.turns += 1;
                share.last = self.turns;
                share.many &= !share.queue.is_empty();
                return Next::Turn { grant, short };
            }
        }
        if sweeping {
            return Next::Sweep;
        }
        self.workers.clear();
        self.clock = CREDIT;
        self.was_short = false;
        self.are_granted = false;
        Next::Nobody
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    fn shares() -> Shares {
        Shares { are_granted: true, ..Shares::new() }
    }

    fn grants(shares: &mut Shares) {
        let Next::Turn { grant, .. } = shares.next(true) else { panic!("somebody waits") };
        grant.send(()).unwrap();
    }

    /// Beyond its credit.
    fn had(shares: &mut Shares, worker: WorkerId) -> Duration {
        shares.share(worker).had - (shares.clock - CREDIT)
    }

    fn rations(shares: &mut Shares, worker: WorkerId) -> bool {
        shares.share(worker);
        shares.has_had_its_share(worker)
    }

    #[test]
    fn a_worker_with_short_guests_gets_as_much_time_as_one_that_spins() {
        let mut shares = shares();
        let (mut short, mut long) = (Duration::ZERO, Duration::ZERO);
        let mut waiting = [shares.queue(0, false), shares.queue(1, false)];
        for _ in 0..1000 {
            grants(&mut shares);
            let worker = waiting.iter_mut().position(|granted| granted.try_recv().is_ok()).unwrap();
            let (took, sum) = if worker == 0 { (20 * US, &mut short) } else { (1000 * US, &mut long) };
            *sum += took;
            shares.share(worker as WorkerId).had += took;
            waiting[worker] = shares.queue(worker as WorkerId, false);
        }
        assert!(short.abs_diff(long) <= CREDIT, "{short:?} and {long:?}");
    }

    #[test]
    fn who_has_had_less_than_the_others_does_not_wait() {
        let mut shares = shares();
        let _spins = shares.queue(0, false);
        shares.share(0).had = Duration::from_secs(10);
        let _spins = shares.queue(0, false);
        grants(&mut shares);
        assert!(rations(&mut shares, 0));
        assert!(!rations(&mut shares, 1));
        shares.share(1).had += CREDIT;
        assert!(rations(&mut shares, 1), "its credit is used");
    }

    #[test]
    fn during_a_sweep_only_those_run_who_have_not_had_their_share() {
        let mut shares = shares();
        let _spins = shares.queue(0, false);
        shares.share(0).had = CREDIT;
        let sweep = Sweeps::begin(&shares.sweeps);
        assert!(matches!(shares.next(true), Next::Sweep));
        let _short = shares.queue(1, false);
        grants(&mut shares);
        assert!(matches!(shares.next(true), Next::Sweep));
        assert!(!rations(&mut shares, 2));
        drop(sweep);
        grants(&mut shares);
    }

    #[test]
    fn when_nobody_waits_all_are_even_again() {
        let mut shares = shares();
        shares.share(0).had = Duration::from_secs(10);
        assert!(matches!(shares.next(true), Next::Nobody));
        assert!(!shares.are_granted);
        let [one, other] = [0, 1].map(|worker| shares.share(worker).had);
        assert_eq!(one, other);
    }

    #[test]
    fn short_work_is_free_but_not_what_is_woken_again_and_again_or_comes_to_nothing() {
        let mut shares = shares();
        shares.charge(Payer::of(0), SHORT_TURN);
        assert_eq!(had(&mut shares, 0), Duration::ZERO);
        shares.charge(Payer::of(0), SHORT_TURN + 10 * US);
        assert_eq!(had(&mut shares, 0), 10 * US);
        shares.charge_woken(Payer::of(1), 10 * US);
        assert_eq!(had(&mut shares, 1), WAKE + 10 * US);
        assert!(!shares.has_had_its_share(1));
        shares.charge_woken(Payer::of(1), CREDIT);
        assert!(shares.has_had_its_share(1));
        shares.charge_failed(2, SHORT_TURN - 10 * US);
        assert_eq!(had(&mut shares, 2), SHORT_TURN - 10 * US + REQUEST);
        shares.charge_failed(3, CREDIT);
        assert_eq!(had(&mut shares, 3), SHORT_TURN + REQUEST, "the rest was charged when it ran");
    }

    #[test]
    fn short_guests_make_up_for_a_long_one_but_not_in_advance() {
        let mut shares = shares();
        shares.charge(Payer::of(0), SHORT_TURN + 20 * US);
        shares.charge(Payer::of(0), FORGIVES * 15 * US);
        assert_eq!(had(&mut shares, 0), 5 * US);
        shares.charge(Payer::of(0), FORGIVES * 15 * US);
        shares.charge(Payer::of(0), SHORT_TURN + 20 * US);
        assert_eq!(had(&mut shares, 0), 20 * US);
    }

    #[test]
    fn short_guests_of_a_worker_with_many_go_before_slices_until_those_have_waited_long_enough() {
        let mut shares = shares();
        let (mut spins, mut first, mut second) =
            (shares.queue(0, false), shares.queue(1, false), shares.queue(1, false));
        let _third = shares.queue(1, false);
        shares.share(0).had = CREDIT;
        shares.share(1).had = CREDIT - US;
        shares.share(1).many = true;
        assert!(shares.have_short_guests());
        let Next::Turn { grant, short: Some(_) } = shares.next(false) else { panic!("a short guest waits") };
        grant.send(()).unwrap();
        assert!(first.try_recv().is_ok());
        grants(&mut shares);
        assert!(spins.try_recv().is_ok(), "it has waited long enough");
        let Next::Turn { grant, short: Some(_) } = shares.next(false) else { panic!("short guests wait") };
        grant.send(()).unwrap();
        assert!(second.try_recv().is_ok());
    }

    #[test]
    fn a_worker_with_many_guests_that_has_had_its_share_goes_before_nobody() {
        let mut shares = shares();
        let (_first, _second) = (shares.queue(0, false), shares.queue(0, false));
        shares.share(0).many = true;
        assert!(shares.have_short_guests());
        shares.share(0).had = CREDIT;
        assert!(!shares.have_short_guests());
        assert!(matches!(shares.next(false), Next::Turn { short: None, .. }));
    }

    #[test]
    fn before_a_slice_that_follows_a_short_guest_there_may_be_more_of_those() {
        let mut shares = shares();
        let (_spins, _short, _other) = (shares.queue(0, false), shares.queue(1, false), shares.queue(1, false));
        shares.share(0).had = CREDIT;
        shares.share(1).many = true;
        assert!(matches!(shares.next(false), Next::Turn { short: Some(_), .. }));
        shares.share(1).queue.clear();
        assert!(matches!(shares.next(false), Next::Sockets));
        assert!(matches!(shares.next(false), Next::Turn { short: None, .. }));
    }

    #[test]
    fn turns_amount_to_a_slice_by_what_they_have_taken() {
        let mut shares = shares();
        shares.charge(Payer::of(0), SHORT_TURN + SLICE - US);
        assert!(!shares.have_given_a_slice());
        shares.charge(Payer::of(1), SHORT_TURN + US);
        assert!(shares.have_given_a_slice());
        assert!(!shares.have_given_a_slice(), "the next one begins");
    }

    #[test]
    fn workers_whose_turns_cost_nothing_take_them_one_after_the_other() {
        let mut shares = shares();
        let mut waiting = [0, 1, 2].map(|worker| shares.queue(worker, false));
        for round in 0..10 {
            let mut had = [false; 3];
            for _ in 0..3 {
                grants(&mut shares);
                let worker = waiting.iter_mut().position(|granted| granted.try_recv().is_ok()).unwrap();
                had[worker] = true;
                waiting[worker] = shares.queue(worker as WorkerId, false);
            }
            assert_eq!(had, [true; 3], "round {round}");
        }
    }

    #[test]
    fn ticks_are_frequent_for_those_that_are_long_and_for_nobody_else() {
        let mut shares = shares();
        let _crowd = [shares.queue(1, false), shares.queue(1, false)];
        assert!(!shares.are_with_long());
        let _spins = shares.queue(0, true);
        shares.share(1).had = CREDIT - US;
        assert!(shares.are_with_long());
        grants(&mut shares);
        assert!(shares.are_with_long(), "it runs for a slice");
        grants(&mut shares);
        assert!(!shares.are_with_long(), "it does not wait for another one");
        let sweep = Sweeps::begin(&shares.sweeps);
        shares.is_swept(0);
        grants(&mut shares);
        assert!(shares.are_with_long());
        drop(sweep);
        assert!(matches!(shares.next(true), Next::Nobody));
        assert!(!shares.are_with_long());
    }

    #[test]
    fn whom_a_worker_calls_stands_in_its_own_row() {
        let mut shares = shares();
        let (asked, called) = (Payer::of(1), Payer { worker: 2, asked: 1 });
        (0..10).for_each(|_| [asked, called].into_iter().for_each(|payer| shares.charge(payer, 200 * US)));
        let since = shares.streak.since;
        assert!(shares.ends_streak(1), "they are in its row: who comes from elsewhere waits for both");
        assert!(!shares.ends_streak(2));
        assert_eq!(shares.streak.since, since, "it is as much alone as it was");
        shares.charge(Payer::of(2), 200 * US);
        assert_ne!(shares.streak.since, since, "clients ask the other one");
    }

    #[test]
    fn a_worker_that_begins_many_guests_in_a_row_is_rationed_unless_it_is_alone() {
        let mut shares = shares();
        let mut streak = |since| {
            shares.streak = Streak { worker: 1, had: STREAK, since };
            shares.ends_streak(1)
        };
        assert!(!streak(None));
        assert!(streak(Some(Instant::now())));
        assert!(!shares.ends_streak(1), "a new streak begins");
        shares.streak = Streak { worker: 1, had: STREAK - US, since: Some(Instant::now()) };
        assert!(!shares.ends_streak(1), "so many are not too many");
        let _waits = shares.queue(1, false);
        assert!(rations(&mut shares, 1));
        grants(&mut shares);
        assert!(!rations(&mut shares, 1), "none of them waits");
    }
}
