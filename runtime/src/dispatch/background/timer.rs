//! The timer of one schedule: it waits until the schedule is due, begins its runs, and writes down what they came to.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Mutex, oneshot};
use tokio::time::sleep;

use super::claimed::{self, Held};
use crate::activate::Planned;
use crate::config::{CatchUp, Overlap};
use crate::dispatch::http::Core;
use crate::failure::Failure;
use crate::observe::{self, Fired, RequestId, Tracer};
use crate::sandbox::Job;
use crate::store::{RunId, RunOutcome, ScheduleName, Schedules, StoreError};

/// How often the clock is looked at while nothing is due: somebody may have set it.
const LOOK: Duration = Duration::from_secs(30);

/// What cannot be done is tried again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// What should have begun longer ago than this was missed.
const LATE: SignedDuration = SignedDuration::from_secs(30);

/// So many runs that were missed are made up for, or noted, at most.
const MISSED: usize = 100;

/// So many runs wait for the one before, or run beside each other, at most.
const MOST: u32 = 100;

/// A run that may not begin, for there is too much else, waits so long at most.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Timer {
    shared: Shared,
    leave: oneshot::Receiver<()>,
}

/// What its runs need, too.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) core: Arc<Core>,
    pub(super) name: ScheduleName,
    pub(super) schedules: Arc<Schedules>,
    /// Held by a run for as long as it runs, where others wait for it.
    turn: Arc<Mutex<()>>,
    running: Arc<AtomicU32>,
}

/// A run, counted for as long as it is there.
struct Running(Arc<AtomicU32>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Timer {
    /// `None` where schedules cannot be opened, which is no longer so after they have been.
    pub(super) fn new(core: &Arc<Core>, name: &ScheduleName, leave: oneshot::Receiver<()>) -> Option<Self> {
        let schedules = core.dispatcher.activator.data.schedules();
        let schedules = schedules.map_err(|error| tracing::error!(schedule = %name, "it is never due: {error}"));
        let (turn, running) = Default::default();
        let (core, name) = (Arc::clone(core), name.clone());
        Some(Self { shared: Shared { core, name, schedules: schedules.ok()??, turn, running }, leave })
    }

    /// Until there is no such schedule any more.
    pub(super) async fn run(mut self) {
        let mut asked = self.shared.schedules.asked(&self.shared.name);
        let mut serving = self.shared.core.dispatcher.serving.subscribe();
        loop {
            if serving.borrow_and_update().is_over {
                return;
            }
            let Some(planned) = self.shared.planned() else { return };
            asked.mark_unchanged();
            let wait = match self.shared.begin_what_is_due(&planned).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(schedule = %self.shared.name, "{error}");
                    AGAIN
                }
            };
            let mut timer = pin!(sleep(wait.min(LOOK)));
            tokio::select! {
                biased;
                _ = &mut self.leave => return,
                _ = serving.changed() => {}
                changed = asked.changed() => if changed.is_err() { timer.as_mut().await },
                () = timer.as_mut() => {}
            }
        }
    }
}

impl Shared {
    /// As it is planned now.
    pub(super) fn planned(&self) -> Option<Planned> {
        self.core.dispatcher.active.load().schedules.get(&self.name).cloned()
    }

    /// Begins what is due, and what somebody has asked for; says how long nothing is.
    async fn begin_what_is_due(&self, planned: &Planned) -> Result<Duration, StoreError> {
        while let Some((run, due)) = self.schedules.take_asked(&self.name).await? {
            self.spawn(planned, (run, due), None);
        }
        let when = &planned.schedule.when;
        loop {
            let now = Timestamp::now();
            let first = when.after(now);
            let Some(next) = self.schedules.next(&self.name, &when.to_string(), first).await? else { return Ok(LOOK) };
            if next > now {
                return Ok(Duration::try_from(next.duration_since(now)).unwrap_or(Duration::ZERO));
            }
            match now.duration_since(next) > LATE {
                true => self.catch_up(planned, next, now).await?,
                false => self.one_is_due(planned, next, when.after(next)).await?,
            }
        }
    }

    /// A time has come.
    async fn one_is_due(&self, planned: &Planned, due: Timestamp, then: Option<Timestamp>) -> Result<(), StoreError> {
        let runs = self.running.load(Relaxed);
        let skipped = match planned.schedule.overlap {
            Overlap::Skip if runs > 0 => Some("the run before had not ended"),
            Overlap::Queue | Overlap::Allow if runs >= MOST => Some("too many runs before had not ended"),
            Overlap::Skip | Overlap::Queue | Overlap::Allow => None,
        };
        if let Some(why) = skipped {
            tracing::warn!(schedule = %self.name, %due, "a run is skipped: {why}");
            self.count(RunOutcome::Skipped);
            return self.schedules.pass(&self.name, due, then, (RunOutcome::Skipped, why)).await;
        }
        self.begin(planned, due, then).await
    }

    /// Begins a run, unless another node of the fleet has it.
    async fn begin(&self, planned: &Planned, due: Timestamp, then: Option<Timestamp>) -> Result<(), StoreError> {
        let mut held = None;
        if let Some(fleet) = self.core.dispatcher.activator.data.fleet() {
            match fleet.claim(&self.name, due).await? {
                Some(claim) => held = Some(Held::new(self, claim)),
                None => {
                    self.count(RunOutcome::Elsewhere);
                    let elsewhere = (RunOutcome::Elsewhere, "another node of the fleet has it");
                    self.schedules.pass(&self.name, due, then, elsewhere).await?;
                    claimed::look_after(self, Arc::clone(fleet), due);
                    return Ok(());
                }
            }
        }
        if let Some(run) = self.schedules.begin(&self.name, due, then).await? {
            self.spawn(planned, (run, due), held);
        }
        Ok(())
    }

    /// Times have passed while the node was down, or could not write.
    async fn catch_up(&self, planned: &Planned, first: Timestamp, now: Timestamp) -> Result<(), StoreError> {
        let when = &planned.schedule.when;
        // From now backwards: what lies further back than the latest hundred may be millions, and is not even noted.
        let mut missed = std::collections::VecDeque::new();
        let mut before = when.before(now);
        while let Some(due) = before.filter(|due| *due > first && missed.len() < MISSED) {
            missed.push_front(due);
            before = when.before(due);
        }
        if missed.len() < MISSED {
            missed.push_front(first);
        }
        let next = when.after(now);
        let made_up_for = match planned.schedule.catch_up {
            CatchUp::None => 0,
            CatchUp::Latest => 1,
            CatchUp::All => missed.len(),
        };
        tracing::warn!(schedule = %self.name, missed = missed.len(), made_up_for, "it was due while the node was down");
        let passed = missed.len() - made_up_for;
        if let Some(noted) = missed.front().filter(|noted| **noted != first) {
            let lost = (RunOutcome::Missed, "the node was down, and later times were too many to note them all");
            self.schedules.pass(&self.name, first, Some(*noted), lost).await?;
        }
        for (index, due) in missed.iter().enumerate() {
            let then = missed.get(index + 1).copied().or(next);
            match index < passed {
                true => {
                    self.count(RunOutcome::Missed);
                    let down = (RunOutcome::Missed, "the node was down");
                    self.schedules.pass(&self.name, *due, then, down).await?;
                }
                false => {
                    self.begin(planned, *due, then).await?;
                }
            }
        }
        Ok(())
    }

    fn spawn(&self, planned: &Planned, (run, due): (RunId, Timestamp), held: Option<Held>) {
        self.running.fetch_add(1, Relaxed);
        let counted = Running(Arc::clone(&self.running));
        let (shared, planned) = (self.clone(), planned.clone());
        observe::spawn("scheduled run", async move {
            // What is made up for, or asked for by hand, runs side by side only where that is allowed.
            let turn = match planned.schedule.overlap {
                Overlap::Allow => None,
                Overlap::Skip | Overlap::Queue => Some(shared.turn.lock().await),
            };
            match shared.core.dispatcher.serving.is_over() {
                true => shared.end(run, RunOutcome::Lost, Some("the node ended before it began".to_owned())).await,
                false => shared.one_run(&planned, run, due).await,
            }
            held.into_iter().for_each(Held::end);
            drop((turn, counted));
        });
    }

    /// Runs it in an isolate of its own, and writes down what it came to.
    async fn one_run(&self, planned: &Planned, run: RunId, due: Timestamp) {
        let tracer = self.core.dispatcher.tracer.as_ref();
        let (id, began) = (RequestId::fresh(), SystemTime::now());
        let trace = Tracer::trace_of_messages(tracer, []);
        let (ended, ready) = match self.ready(planned).await {
            Ok(ready) => {
                let milliseconds = u64::try_from(due.as_millisecond()).unwrap_or(0);
                let job = Job::Scheduled(Arc::clone(&self.name.name), milliseconds);
                (self.core.run_event(&ready, (&id, &trace), job).await, Some(ready))
            }
            Err(failure) => {
                tracing::warn!(schedule = %self.name, code = failure.code(), "a run could not begin: {failure}");
                (Err(failure), None)
            }
        };
        if let Some(tracer) = tracer {
            let failure = ended.as_ref().err().map(Failure::code);
            let (worker, schedule) = (&*self.name.worker, &*self.name.name);
            tracer.fired(&trace, &Fired { worker, schedule, start: began, failure });
        }
        let (outcome, reason) = match &ended {
            Ok(()) => (RunOutcome::Done, None),
            Err(failure) => (RunOutcome::Failed, Some(format!("{}: {failure}", failure.code()))),
        };
        self.end(run, outcome, reason).await;
        // The permit is held until then.
        drop(ready);
    }

    /// Writes down what a run came to.
    async fn end(&self, run: RunId, outcome: RunOutcome, reason: Option<String>) {
        self.count(outcome);
        if let Err(error) = self.schedules.end(run, outcome, reason).await {
            tracing::error!(schedule = %self.name, "what a run came to is not written down: {error}");
        }
    }

    /// Waits for a permit and for code, for a while.
    async fn ready(&self, planned: &Planned) -> Result<super::event::Ready, Failure> {
        let began = std::time::Instant::now();
        loop {
            match self.core.ready(&planned.by).await {
                Err(failure @ Failure::Overloaded { .. }) if began.elapsed() > PATIENCE => return Err(failure),
                Err(Failure::Overloaded { .. }) => sleep(AGAIN).await,
                result => return result,
            }
        }
    }

    fn count(&self, outcome: RunOutcome) {
        let metrics = self.core.dispatcher.metrics.schedules();
        metrics.ran(&self.name.worker, &self.name.name, outcome.as_str());
    }
}
