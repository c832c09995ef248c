//! A whole copy of a store in a folder of its own, made while the store is in use, and a new store made of such a folder.
//!
//! Both are made under a temporary name, looked at, and renamed when all of it is on the disk: a folder under its own name is whole.
//! A process that dies leaves a folder `.….tmp` beside it, which nobody needs.

use std::fs;
use std::io;
use std::path::Path;

use rusqlite::Connection;

use super::check;
use super::components::Components;
use super::database::{self, DATABASE};
use super::durable;
use super::error::{READ, StoreError, WRITTEN};
use super::kv::KV;
use super::queue::QUEUE;
use super::read;
use super::schedule::SCHEDULE;
use super::wal;

/// What a backup came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backup {
    /// So many components.
    pub components: usize,
    /// So many bytes of them.
    pub bytes: u64,
}

/// Copies a store that may be in use.
pub(super) fn backup(database: &Path, components: &Components, into: &Path) -> Result<Backup, StoreError> {
    refuse_full(into)?;
    // Before the database is copied: what the copy names is there until the end.
    let _held = components.hold_all();
    whole(into, |temporary| {
        let copy = temporary.join(DATABASE);
        database::copy(&database::open_to_read(database)?, &copy)?;
        for kind in [KV, QUEUE, SCHEDULE] {
            kind.back_up(durable::parent(database), temporary)?;
        }
        copy_components(&database::open_to_read(&copy)?, database, components, temporary)
    })
}

/// Makes a store of a backup, after a look at every byte of it.
///
/// # Errors
/// When the folder is not empty, or the backup is not whole. There is no store then.
pub fn restore(from: &Path, into: &Path) -> Result<Backup, StoreError> {
    refuse_full(into)?;
    let database = from.join(DATABASE);
    let refused = |reason: &str| StoreError::NotABackup { folder: from.to_owned(), reason: reason.to_owned() };
    if !database.is_file() {
        return Err(refused("it has no state.db"));
    }
    if wal::path(&database).exists() {
        return Err(refused("it is a store that is or was in use, which only a backup can copy"));
    }
    whole(into, |temporary| {
        let copy = temporary.join(DATABASE);
        fs::copy(&database, &copy).map_err(|error| StoreError::file(&copy, WRITTEN, &error))?;
        durable::sync_file(&copy).map_err(|error| StoreError::file(&copy, WRITTEN, &error))?;
        let broken = |error: StoreError| match error {
            // By the name that its owner knows.
            StoreError::Damaged { found, .. } => StoreError::Damaged { path: database.clone(), found },
            StoreError::NotADatabase { reason, .. } => StoreError::NotADatabase { path: database.clone(), reason },
            other => other,
        };
        // This also brings the copy to our schema.
        let connection = database::open(&copy).map_err(broken)?;
        let restored = copy_components(&connection, &database, &Components::of(from), temporary)?;
        for kind in [KV, QUEUE, SCHEDULE] {
            kind.restore(from, temporary)?;
        }
        let faults = check::all(&connection, &Components::of(temporary), database.clone())?;
        match faults.first() {
            None => Ok(restored),
            Some(fault) => Err(refused(&fault.to_string())),
        }
    })
}

/// Makes a folder under a temporary name, and gives it its own when all of it is on the disk.
fn whole<T>(into: &Path, make: impl FnOnce(&Path) -> Result<T, StoreError>) -> Result<T, StoreError> {
    let temporary = durable::temporary(into);
    let told = |error: io::Error| StoreError::file(into, WRITTEN, &error);
    let made = durable::make_folder(&temporary).map_err(told).and_then(|()| make(&temporary));
    let kept = made.and_then(|made| {
        durable::sync_folder(&temporary).and_then(|()| durable::rename(&temporary, into)).map_err(told)?;
        Ok(made)
    });
    kept.inspect_err(|_| _ = fs::remove_dir_all(&temporary))
}

/// Copies what a copied database names. Not by links: a backup that shares its bytes with what it is to stand in for is none.
fn copy_components(
    connection: &Connection,
    database: &Path,
    from: &Components,
    into: &Path,
) -> Result<Backup, StoreError> {
    let told = |error: rusqlite::Error| StoreError::sqlite(database, &error);
    let into = Components::of(into);
    let mut copied = Backup::default();
    for digest in read::components(connection).map_err(told)? {
        let bytes = from.read(&digest).map_err(|why| StoreError::Component {
            path: from.path(&digest),
            why: why.to_string(),
            used_by: read::users(connection, &digest).unwrap_or_default(),
        })?;
        into.put(&bytes)?;
        copied.components += 1;
        copied.bytes += bytes.len() as u64;
    }
    Ok(copied)
}

fn refuse_full(folder: &Path) -> Result<(), StoreError> {
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(StoreError::NotEmpty { folder: folder.to_owned() }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::file(folder, READ, &error)),
    }
}
