//! Schedules of workers on this node's disk: when each is due, and what its runs came to. A database of its own beside the store's.
//!
//! Whoever notes that a run begins moves the schedule on in the same change, so no time is due twice, and of two processes only one begins
//! it.

mod rows;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use super::beside::{Beside, Kind};
use super::error::StoreError;

/// The database.
pub(super) const SCHEDULE: Kind = Kind {
    database: "schedule.db",
    lock: "schedule.lock",
    threads: ["eyot-schedule-read", "eyot-schedule-write"],
    migrations: &[include_str!("../schema/schedule/0001_schedule.sql")],
    overwrites: true,
    ahead: Kind::AHEAD,
};

/// A worker's schedule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScheduleName {
    /// Whose it is.
    pub worker: Arc<str>,
    /// How its worker calls it.
    pub name: Arc<str>,
}

impl std::fmt::Display for ScheduleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.worker, self.name)
    }
}

/// A run of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RunId(i64);

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// It went well.
    Done,
    /// It did not.
    Failed,
    /// It was due while another one ran, and was left out.
    Skipped,
    /// It was due while the node was down, and was left out.
    Missed,
    /// The node ended while it ran.
    Lost,
    /// Another node of the fleet has it.
    Elsewhere,
}

impl RunOutcome {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Missed => "missed",
            Self::Lost => "lost",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// A run, as its history has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// When it should have begun.
    pub due: Timestamp,
    /// When it has, if it has.
    pub began: Option<Timestamp>,
    /// When it was over, if it is.
    pub ended: Option<Timestamp>,
    /// What it came to: a word of [`RunOutcome`].
    pub outcome: Option<String>,
    /// Why, where that was not well.
    pub reason: Option<String>,
}

/// How a schedule stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleStanding {
    /// Which.
    pub name: ScheduleName,
    /// When it is due next.
    pub next: Option<Timestamp>,
    /// Its latest run.
    pub last: Option<Run>,
}

/// The schedules of all workers.
#[derive(Debug)]
pub struct Schedules {
    database: Beside,
    /// Of each schedule that somebody waits for: it changes when a run is asked for.
    asked: Mutex<HashMap<ScheduleName, watch::Sender<()>>>,
}

impl Schedules {
    /// Opens the database in a folder, or makes one there; it waits for the disk. The process whose place this one takes may have it open,
    /// too. Without one, what has not ended never will, and is lost.
    ///
    /// # Errors
    /// When it cannot be written, and when what is there is damaged, of a newer Eyot or not ours.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Ok(Self { database: Beside::open(folder, &SCHEDULE, rows::lose)?, asked: Mutex::default() })
    }

    /// When a schedule is due next: as it is known, or, where it is not known by this plan, `first` from now on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn next(
        &self,
        name: &ScheduleName,
        plan: &str,
        first: Option<Timestamp>,
    ) -> Result<Option<Timestamp>, StoreError> {
        let (name, plan) = (name.clone(), plan.to_owned());
        self.database.change(move |connection| rows::next(connection, &name, &plan, first)).await
    }

    /// A run begins that is due at this time, if the schedule is still there; the schedule is due next at `then`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn begin(
        &self,
        name: &ScheduleName,
        due: Timestamp,
        then: Option<Timestamp>,
    ) -> Result<Option<RunId>, StoreError> {
        let name = name.clone();
        let run = self.database.change(move |connection| rows::begin(connection, &name, due, then, Timestamp::now()));
        Ok(run.await?.map(RunId))
    }

    /// A time passes without a run, if the schedule is still there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn pass(
        &self,
        name: &ScheduleName,
        due: Timestamp,
        then: Option<Timestamp>,
        (outcome, reason): (RunOutcome, &str),
    ) -> Result<(), StoreError> {
        let (name, reason) = (name.clone(), reason.to_owned());
        let pass = move |connection: &rusqlite::Connection| {
            let now = Timestamp::now();
            match rows::begin(connection, &name, due, then, now)? {
                Some(run) => rows::end(connection, run, outcome, Some(&reason), now),
                None => Ok(()),
            }
        };
        self.database.change(pass).await
    }

    /// A run has ended.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn end(&self, RunId(run): RunId, outcome: RunOutcome, reason: Option<String>) -> Result<(), StoreError> {
        let end = move |connection: &rusqlite::Connection| {
            rows::end(connection, run, outcome, reason.as_deref(), Timestamp::now())
        };
        self.database.change(end).await
    }

    /// Asks for a run now. Whether there is such a schedule.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn ask(&self, name: &ScheduleName) -> Result<bool, StoreError> {
        let which = name.clone();
        let asked = self.database.change(move |connection| rows::ask(connection, &which, Timestamp::now())).await?;
        if let Some(waiting) = self.asked.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            waiting.send_replace(());
        }
        Ok(asked)
    }

    /// Takes a run that somebody has asked for: it begins.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn take_asked(&self, name: &ScheduleName) -> Result<Option<(RunId, Timestamp)>, StoreError> {
        let name = name.clone();
        let taken = self.database.change(move |connection| rows::take_asked(connection, &name, Timestamp::now()));
        Ok(taken.await?.map(|(run, due)| (RunId(run), due)))
    }

    /// Changes whenever a run is asked for.
    #[must_use]
    pub fn asked(&self, name: &ScheduleName) -> watch::Receiver<()> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|_, waiting| waiting.receiver_count() > 0);
        asked.entry(name.clone()).or_insert_with(|| watch::Sender::new(())).subscribe()
    }

    /// The schedules of a worker that were ever due or are to be.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn standing(&self, worker: &str) -> Result<Vec<ScheduleStanding>, StoreError> {
        let worker = worker.to_owned();
        self.database.ask(move |connection| rows::standing(connection, &worker)).await
    }

    /// The latest runs of a schedule, the latest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn history(&self, name: &ScheduleName, most: u32) -> Result<Vec<Run>, StoreError> {
        let name = name.clone();
        self.database.ask(move |connection| rows::history(connection, &name, most)).await
    }
}
