//! What goes, so that a disk does not fill with what nobody will serve again.
//!
//! A version loses its content (its component and its manifest) when none of the last deployments of its worker names it and it is
//! old enough; its number, its message and its place in the history stay. Then the files of components go that no version needs.
//! What serves is in a worker's last deployment, so it never goes. What is being uploaded is held until its version is committed:
//! holds are looked at before the database, and no upload begins meanwhile, because the same thread does both. A backup holds everything:
//! for its sake holds are looked at after the database, too.
//!
//! History is bounded as well. Of each worker's deployments the newest stay, so many of them, and with them all from the oldest on that
//! a key still answers with. Of the audit the newest lines stay, so many of them, and all from the first on that is young enough; so do
//! tokens that hold, and for as long as young lines those that do not. Keys that have expired go.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::change;
use super::components::Components;
use super::error::{Cause, StoreError};
use super::horizon::{self, History};
use super::model::By;
use super::read;
use super::secret;
use super::token;

/// What stays.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// What the last so many deployments of a worker name.
    pub deployments: NonZeroU32,
    /// What was added less than so long ago, so that whoever has added a version finds it when he deploys it.
    pub younger_than: Duration,
    /// The last so many deployments of a worker, as history; no fewer than `deployments`.
    pub history: NonZeroU32,
    /// The last so many lines of the audit.
    pub audit: NonZeroU32,
    /// Also the lines that were written less than so long ago, and tokens that held so long ago.
    pub audit_younger_than: Duration,
}

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// So many versions lost their content.
    pub versions: usize,
    /// So many deployments.
    pub deployments: usize,
    /// So many lines of the audit.
    pub audit: usize,
    /// So many tokens that did not hold any more.
    pub tokens: usize,
    /// So many files of components.
    pub components: usize,
    /// What they took of the disk.
    pub bytes: u64,
}

/// What a node keeps: of each worker 100 deployments to go back to, and a week what was not deployed yet; 1,000 deployments of history;
/// of the audit 10,000 lines, and all of the last year.
impl Default for Keep {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let many = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MAX);
        Self {
            deployments: many(100),
            younger_than: DAY * 7,
            history: many(1_000),
            audit: many(10_000),
            audit_younger_than: DAY * 365,
        }
    }
}

const IN_NO_DEPLOYMENT: &str = "SELECT v.id FROM versions v JOIN contents c ON c.version = v.id \
     WHERE v.created < ?2 AND v.id NOT IN ( \
         SELECT s.version FROM shares s JOIN ( \
             SELECT number, row_number() OVER (PARTITION BY worker ORDER BY number DESC) AS age FROM deployments \
         ) d ON d.number = s.deployment WHERE d.age <= ?1) \
     ORDER BY v.id";

/// The newest deployment of each worker that its history does without. Its newest one never is.
const BEYOND_HISTORY: &str = "SELECT worker, max(number) FROM ( \
         SELECT worker, number, row_number() OVER (PARTITION BY worker ORDER BY number DESC) AS age FROM deployments \
     ) WHERE age > ?1 GROUP BY worker";

/// The oldest deployment of each worker that a key answers with.
const ANSWERED: &str = "SELECT d.worker, min(d.number) FROM idempotency_keys k \
     JOIN deployments d ON d.id = substr(k.answer, 12) WHERE k.answer LIKE 'deployment %' GROUP BY d.worker";

/// Removes from the database what goes by the rule, and says what that was.
pub(super) fn rows(connection: &Connection, by: &By, keep: Keep) -> Result<Pruned, Cause> {
    let now = change::now();
    connection.execute("DELETE FROM idempotency_keys WHERE expires <= ?1", [now.as_microsecond()])?;
    let versions = contents(connection, keep, before(now, keep.younger_than))?;
    let deployments = history(connection, keep)?;
    let old = before(now, keep.audit_younger_than);
    let audit = lines(connection, keep, old)?;
    let tokens = token::rows::forget(connection, old)?;
    secret::rows::forget(connection, old)?;
    let pruned = Pruned { versions: versions.len(), deployments, audit, tokens, ..Pruned::default() };
    if pruned != Pruned::default() {
        let detail = serde_json::json!({
            "versions": versions, "deployments": deployments, "audit": audit, "tokens": tokens,
        });
        change::audit(connection, now, by, "prune", "store", &detail)?;
    }
    Ok(pruned)
}

/// Takes the content from the versions that have lost their claim to it.
fn contents(connection: &Connection, keep: Keep, before: i64) -> Result<Vec<String>, Cause> {
    let mut statement = connection.prepare(IN_NO_DEPLOYMENT)?;
    let found = statement.query_map(params![keep.deployments.get(), before], |row| row.get(0))?;
    let found = found.collect::<rusqlite::Result<Vec<String>>>()?;
    for version in &found {
        connection.prepare_cached("DELETE FROM contents WHERE version = ?1")?.execute([version])?;
    }
    Ok(found)
}

/// Deletes the deployments that history does without.
fn history(connection: &Connection, keep: Keep) -> Result<usize, Cause> {
    let pairs = |query: &str, given: &[u32]| -> rusqlite::Result<Vec<(i64, i64)>> {
        let mut statement = connection.prepare(query)?;
        statement.query_map(rusqlite::params_from_iter(given), |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    };
    let beyond = pairs(BEYOND_HISTORY, &[keep.history.max(keep.deployments).get()])?;
    let answered: HashMap<i64, i64> = match beyond.is_empty() {
        true => HashMap::new(),
        false => pairs(ANSWERED, &[])?.into_iter().collect(),
    };
    let mut deleted = 0;
    for (worker, newest) in beyond {
        let begins = answered.get(&worker).map_or(newest + 1, |answered| *answered.min(&(newest + 1)));
        horizon::advance(connection, History::Deployments(worker), begins)?;
        let shares =
            "DELETE FROM shares WHERE deployment IN (SELECT number FROM deployments WHERE worker = ?1 AND number < ?2)";
        connection.prepare_cached(shares)?.execute([worker, begins])?;
        let deployments = "DELETE FROM deployments WHERE worker = ?1 AND number < ?2";
        deleted += connection.prepare_cached(deployments)?.execute([worker, begins])?;
    }
    Ok(deleted)
}

/// Deletes the lines of the audit that are old, up to the first one that is not: what stays has no gaps.
fn lines(connection: &Connection, keep: Keep, before: i64) -> Result<usize, Cause> {
    let begins = "SELECT min(max(number) - ?1 + 1, coalesce((SELECT min(number) FROM audit WHERE at >= ?2), max(number))) FROM audit";
    let begins: Option<i64> = connection.query_row(begins, params![keep.audit.get(), before], |row| row.get(0))?;
    let first: Option<i64> = connection.query_row("SELECT min(number) FROM audit", [], |row| row.get(0))?;
    let Some(begins) = begins.filter(|begins| first.is_some_and(|first| first < *begins)) else { return Ok(0) };
    horizon::advance(connection, History::Audit, begins)?;
    Ok(connection.execute("DELETE FROM audit WHERE number < ?1", [begins])?)
}

/// So long before now, in microseconds since 1970.
fn before(now: Timestamp, age: Duration) -> i64 {
    now.as_microsecond().saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX))
}

/// Removes the files that no version needs. `reader` sees all that was committed when this is called.
pub(super) fn components(components: &Components, reader: &Connection, database: &Path) -> Result<Pruned, StoreError> {
    let held_before = components.held();
    let needed = read::components(reader).map_err(|error| StoreError::sqlite(database, &error))?;
    let needed: HashSet<_> = needed.into_iter().collect();
    let held_after = components.held();
    let mut pruned = Pruned::default();
    for digest in components.all()? {
        if !needed.contains(&digest) && !held_before.has(&digest) && !held_after.has(&digest) {
            pruned.bytes += components.remove(&digest)?;
            pruned.components += 1;
        }
    }
    Ok(pruned)
}
