//! What goes, so that a disk does not fill with what nobody will serve again.
//!
//! A version loses its content (its component and its manifest) when none of the last deployments of its worker names it and it is
//! old enough; its number, its message and its place in the history stay. Then the files of components go that no version needs.
//! What serves is in a worker's last deployment, so it never goes. What is being uploaded is held until its version is committed:
//! holds are looked at before the database, and no upload begins meanwhile, because the same thread does both. A backup holds everything:
//! for its sake holds are looked at after the database, too.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::change;
use super::components::Components;
use super::error::{Cause, StoreError};
use super::model::By;
use super::read;

/// What stays.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// What the last so many deployments of a worker name.
    pub deployments: NonZeroU32,
    /// What was added less than so long ago, so that whoever has added a version finds it when he deploys it.
    pub younger_than: Duration,
}

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// So many versions lost their content.
    pub versions: usize,
    /// So many files of components.
    pub components: usize,
    /// What they took of the disk.
    pub bytes: u64,
}

const IN_NO_DEPLOYMENT: &str = "SELECT v.id FROM versions v JOIN contents c ON c.version = v.id \
     WHERE v.created < ?2 AND v.id NOT IN ( \
         SELECT s.version FROM shares s JOIN ( \
             SELECT number, row_number() OVER (PARTITION BY worker ORDER BY number DESC) AS age FROM deployments \
         ) d ON d.number = s.deployment WHERE d.age <= ?1) \
     ORDER BY v.id";

/// Takes the content from the versions that have lost their claim to it, and says how many.
pub(super) fn versions(connection: &Connection, by: &By, keep: Keep) -> Result<usize, Cause> {
    let now = change::now();
    let age = i64::try_from(keep.younger_than.as_micros()).unwrap_or(i64::MAX);
    let before = now.as_microsecond().saturating_sub(age);
    let mut statement = connection.prepare(IN_NO_DEPLOYMENT)?;
    let found = statement.query_map(params![keep.deployments.get(), before], |row| row.get(0))?;
    let found = found.collect::<rusqlite::Result<Vec<String>>>()?;
    for version in &found {
        connection.prepare_cached("DELETE FROM contents WHERE version = ?1")?.execute([version])?;
    }
    if !found.is_empty() {
        let detail = serde_json::json!({ "versions": found });
        change::audit(connection, now, by, "prune", "versions", &detail)?;
    }
    Ok(found.len())
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
