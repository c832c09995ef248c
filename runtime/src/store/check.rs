//! Looks whether what is there is what was written, and names what is not.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use rusqlite::Connection;

use super::components::Components;
use super::error::{Cause, StoreError};
use super::migrate::{self, Migration};
use super::read;

/// Something that is not what it was when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// In the database: its pages, its schema or one of its rows.
    Database {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        found: String,
    },
    /// A component that a version needs.
    Component {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// The versions that need it, as `worker version 3`.
        used_by: Vec<String>,
    },
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database { path, found } => write!(f, "{}: {found}", path.display()),
            Self::Component { path, why, used_by } => {
                write!(f, "the component {} of {} {why}", path.display(), used_by.join(", "))
            }
        }
    }
}

/// How closely pages are looked at.
#[derive(Clone, Copy)]
pub(super) enum Depth {
    /// Each page alone, in time that is linear in their number.
    Quick,
    /// Also whether indexes and tables agree.
    Full,
}

/// What is wrong with the pages.
pub(super) fn pages(connection: &Connection, depth: Depth) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(match depth {
        Depth::Quick => "PRAGMA quick_check(5)",
        Depth::Full => "PRAGMA integrity_check(100)",
    })?;
    let found = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(found.into_iter().filter(|line| line != "ok").collect())
}

/// What is wrong with the schema: it is the text that tells SQLite how to read everything else, and no page's form depends on it.
pub(super) fn schema(connection: &Connection, migrations: &[Migration]) -> rusqlite::Result<Vec<String>> {
    let mut model = Connection::open_in_memory()?;
    for (number, migration) in (1..).zip(migrations) {
        migrate::step(&mut model, number, migration)?;
    }
    let (found, wanted) = (objects(connection)?, objects(&model)?);
    let differs = |(kind, name, _): &(String, String, String)| format!("the {kind} {name} is not as it was made");
    let lost = wanted.iter().filter(|object| !found.contains(object)).map(differs);
    let added = found.iter().filter(|object| !wanted.contains(object)).map(differs);
    let mut faults: Vec<String> = lost.chain(added).collect();
    faults.sort();
    faults.dedup();
    Ok(faults)
}

/// All tables, indexes and triggers, with the text that made them.
fn objects(connection: &Connection) -> rusqlite::Result<Vec<(String, String, String)>> {
    // Statistics are SQLite's own affair.
    let all = "SELECT type, name, tbl_name || ': ' || coalesce(sql, '') FROM sqlite_schema \
               WHERE name NOT LIKE 'sqlite_stat%' ORDER BY name";
    let mut statement = connection.prepare(all)?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

/// What is wrong with the rows that say what runs; with the audit, too, if it is asked for.
pub(super) fn rows(connection: &Connection, with_audit: bool) -> Vec<String> {
    read::broken(connection, with_audit).iter().map(Cause::to_string).collect()
}

/// Looks at everything: pages, schema, rows, references, and every byte of every component that a version needs.
pub(super) fn all(connection: &Connection, components: &Components, path: PathBuf) -> Result<Vec<Fault>, StoreError> {
    let mut found = Vec::new();
    let told = |error: rusqlite::Error| vec![error.to_string()];
    found.extend(pages(connection, Depth::Full).unwrap_or_else(told));
    found.extend(schema(connection, migrate::MIGRATIONS).unwrap_or_else(told));
    found.extend(references(connection).unwrap_or_else(told));
    found.extend(rows(connection, true));
    let mut faults: Vec<Fault> = found.into_iter().map(|found| Fault::Database { path: path.clone(), found }).collect();
    // Where the database cannot tell them, that is among the faults already.
    for digest in read::components(connection).unwrap_or_default() {
        if let Err(why) = components.verify(&digest) {
            let used_by = read::users(connection, &digest).unwrap_or_default();
            faults.push(Fault::Component { path: components.path(&digest), why: why.to_string(), used_by });
        }
    }
    Ok(faults)
}

fn references(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    let broken = |row: &rusqlite::Row<'_>| {
        let (table, other): (String, String) = (row.get(0)?, row.get(2)?);
        Ok(format!("a row of {table} refers to one of {other} that is not there"))
    };
    statement.query_map([], broken)?.collect()
}
