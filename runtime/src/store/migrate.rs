//! From the schema of an older Eyot to ours, one step after the other.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};

use super::database;
use super::durable;
use super::error::{StoreError, WRITTEN};

/// A step. Its number is its place.
pub(super) type Migration = &'static str;

/// All of them. One that was in a release is never changed again.
pub(super) const MIGRATIONS: &[Migration] = &[include_str!("schema/0001_state.sql")];

/// Refuses the database of a newer Eyot, and says which one.
pub(super) fn refuse_newer(connection: &Connection, path: &Path, ours: &[Migration]) -> Result<(), StoreError> {
    let schema = schema(connection).map_err(|error| StoreError::sqlite(path, &error))?;
    let ours = count(ours);
    if schema <= ours {
        return Ok(());
    }
    let made_by = "SELECT eyot FROM migrations WHERE number = ?1";
    let made_by = connection.query_row(made_by, [schema], |row| row.get(0));
    let made_by = made_by.unwrap_or_else(|_| "of an unknown version".to_owned());
    Err(StoreError::Newer { path: path.to_owned(), made_by, schema, ours })
}

/// Makes each step that is missing, in a transaction of its own, after a copy of what there was.
pub(super) fn migrate(connection: &mut Connection, path: &Path, migrations: &[Migration]) -> Result<(), StoreError> {
    let before = schema(connection).map_err(|error| StoreError::sqlite(path, &error))?;
    if before > 0 && before < count(migrations) {
        keep(connection, path, before)?;
    }
    for (number, migration) in (1..).zip(migrations).skip_while(|(number, _)| *number <= before) {
        step(connection, number, migration).map_err(|error| {
            let reason = error.to_string();
            StoreError::Migration { path: path.to_owned(), number, reason }
        })?;
        tracing::info!(path = %path.display(), schema = number, "the store has a new schema");
    }
    Ok(())
}

/// Where the database of an older schema is kept.
fn kept(path: &Path, schema: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".before-{}", schema + 1));
    name.into()
}

fn keep(connection: &Connection, path: &Path, schema: u32) -> Result<(), StoreError> {
    let kept = kept(path, schema);
    let temporary = durable::temporary(&kept);
    let copied = database::copy(connection, &temporary)
        .and_then(|()| durable::rename(&temporary, &kept).map_err(|error| StoreError::file(&kept, WRITTEN, &error)));
    copied.inspect_err(|_| _ = std::fs::remove_file(&temporary))
}

pub(super) fn step(connection: &mut Connection, number: u32, migration: &str) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(migration)?;
    let now = Timestamp::now().as_microsecond();
    let eyot = env!("CARGO_PKG_VERSION");
    transaction
        .execute("INSERT INTO migrations (number, eyot, applied) VALUES (?1, ?2, ?3)", params![number, eyot, now])?;
    transaction.pragma_update(None, "user_version", number)?;
    transaction.commit()
}

fn schema(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn count(migrations: &[Migration]) -> u32 {
    u32::try_from(migrations.len()).unwrap_or(u32::MAX)
}
