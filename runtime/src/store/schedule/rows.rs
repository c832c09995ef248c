//! Schedules and their runs in their tables. Each function is a part of one transaction.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Run, RunOutcome, ScheduleName, ScheduleStanding};
use crate::store::error::Cause;
use crate::store::read::time;

/// So many runs of a schedule are kept.
const KEPT: u32 = 1000;

/// What has not ended never will: the process that ran it is gone.
pub(super) fn lose(connection: &Connection) -> Result<(), Cause> {
    let lost = "UPDATE runs SET ended = ?1, outcome = ?2, reason = 'the node ended while it ran' \
                WHERE began IS NOT NULL AND ended IS NULL";
    connection.execute(lost, params![Timestamp::now().as_microsecond(), RunOutcome::Lost.as_str()])?;
    Ok(())
}

pub(super) fn next(
    connection: &Connection,
    name: &ScheduleName,
    plan: &str,
    first: Option<Timestamp>,
) -> Result<Option<Timestamp>, Cause> {
    // This is asked each time the clock is looked at: what is known is not written once more.
    let known = "SELECT next FROM schedules WHERE worker = ?1 AND name = ?2 AND plan = ?3";
    let given = params![name.worker, name.name, plan];
    let next: Option<Option<i64>> = connection.prepare_cached(known)?.query_row(given, |row| row.get(0)).optional()?;
    if let Some(next) = next {
        return next.map(time).transpose();
    }
    let plan_anew = "INSERT INTO schedules (worker, name, plan, next) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (worker, name) DO UPDATE SET \
                 next = ?4, plan = ?3";
    let given = params![name.worker, name.name, plan, first.map(Timestamp::as_microsecond)];
    connection.prepare_cached(plan_anew)?.execute(given)?;
    Ok(first)
}

/// The run, unless somebody else has begun it.
pub(super) fn begin(
    connection: &Connection,
    name: &ScheduleName,
    due: Timestamp,
    then: Option<Timestamp>,
    now: Timestamp,
) -> Result<Option<i64>, Cause> {
    let step = "UPDATE schedules SET next = ?4 WHERE worker = ?1 AND name = ?2 AND next = ?3 RETURNING id";
    let given = params![name.worker, name.name, due.as_microsecond(), then.map(Timestamp::as_microsecond)];
    let schedule: Option<i64> = connection.prepare_cached(step)?.query_row(given, |row| row.get(0)).optional()?;
    schedule.map(|schedule| add(connection, schedule, due, Some(now))).transpose()
}

fn add(connection: &Connection, schedule: i64, due: Timestamp, began: Option<Timestamp>) -> Result<i64, Cause> {
    let add = "INSERT INTO runs (schedule, due, began) VALUES (?1, ?2, ?3) RETURNING id";
    let given = params![schedule, due.as_microsecond(), began.map(Timestamp::as_microsecond)];
    let run = connection.prepare_cached(add)?.query_row(given, |row| row.get(0))?;
    let prune = "DELETE FROM runs WHERE id IN \
                 (SELECT id FROM runs WHERE schedule = ?1 AND ended IS NOT NULL ORDER BY id DESC LIMIT -1 OFFSET ?2)";
    connection.prepare_cached(prune)?.execute(params![schedule, KEPT])?;
    Ok(run)
}

pub(super) fn end(
    connection: &Connection,
    run: i64,
    outcome: RunOutcome,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<(), Cause> {
    let end = "UPDATE runs SET ended = ?2, outcome = ?3, reason = ?4 WHERE id = ?1";
    let given = params![run, now.as_microsecond(), outcome.as_str(), reason];
    connection.prepare_cached(end)?.execute(given)?;
    Ok(())
}

pub(super) fn ask(connection: &Connection, name: &ScheduleName, now: Timestamp) -> Result<bool, Cause> {
    match id_of(connection, name)? {
        Some(schedule) => add(connection, schedule, now, None).map(|_| true),
        None => Ok(false),
    }
}

pub(super) fn take_asked(
    connection: &Connection,
    name: &ScheduleName,
    now: Timestamp,
) -> Result<Option<(i64, Timestamp)>, Cause> {
    let Some(schedule) = id_of(connection, name)? else { return Ok(None) };
    let take = "UPDATE runs SET began = ?2 WHERE id = \
                (SELECT min(id) FROM runs WHERE schedule = ?1 AND began IS NULL AND ended IS NULL) RETURNING id, due";
    let taken: Option<(i64, i64)> = connection
        .prepare_cached(take)?
        .query_row(params![schedule, now.as_microsecond()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    taken.map(|(run, due)| Ok((run, time(due)?))).transpose()
}

pub(super) fn standing(connection: &Connection, worker: &str) -> Result<Vec<ScheduleStanding>, Cause> {
    let all = "SELECT name, next FROM schedules WHERE worker = ?1 ORDER BY name";
    let mut statement = connection.prepare_cached(all)?;
    let mut rows = statement.query([worker])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, next): (String, Option<i64>) = (row.get(0)?, row.get(1)?);
        let name = ScheduleName { worker: worker.into(), name: name.into() };
        let last = history(connection, &name, 1)?.pop();
        found.push(ScheduleStanding { next: next.map(time).transpose()?, last, name });
    }
    Ok(found)
}

pub(super) fn history(connection: &Connection, name: &ScheduleName, most: u32) -> Result<Vec<Run>, Cause> {
    let Some(schedule) = id_of(connection, name)? else { return Ok(Vec::new()) };
    let latest = "SELECT due, began, ended, outcome, reason FROM runs WHERE schedule = ?1 ORDER BY id DESC LIMIT ?2";
    let mut statement = connection.prepare_cached(latest)?;
    let mut rows = statement.query(params![schedule, most])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (began, ended): (Option<i64>, Option<i64>) = (row.get(1)?, row.get(2)?);
        found.push(Run {
            due: time(row.get(0)?)?,
            began: began.map(time).transpose()?,
            ended: ended.map(time).transpose()?,
            outcome: row.get(3)?,
            reason: row.get(4)?,
        });
    }
    Ok(found)
}

fn id_of(connection: &Connection, name: &ScheduleName) -> Result<Option<i64>, Cause> {
    let known = "SELECT id FROM schedules WHERE worker = ?1 AND name = ?2";
    let given = params![name.worker, name.name];
    Ok(connection.prepare_cached(known)?.query_row(given, |row| row.get(0)).optional()?)
}
