//! Databases beside the store's, for what workers keep: a worker that writes much is in nobody's way who deploys.
//!
//! Two processes may have one for a while, when one takes the other's place: each sees what the other has written.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::check;
use super::database::{self, Opening};
use super::durable;
use super::error::{Cause, StoreError, WRITTEN};
use super::lock::Share;
use super::migrate::Migration;
use super::thread::Owner;
use super::writer::Writer;

/// What is kept in such a database.
pub(super) struct Kind {
    /// How the file is called, in the folder of the store.
    pub(super) database: &'static str,
    /// The file whose lock says which processes have it.
    pub(super) lock: &'static str,
    /// How its threads are called: who reads, and who writes.
    pub(super) threads: [&'static str; 2],
    pub(super) migrations: &'static [Migration],
    /// Whether what was deleted is overwritten at once, even where that alone is a reason to write a page: dear where much comes and goes.
    pub(super) overwrites: bool,
    /// How many pages of 4 KiB are written ahead before they go to their places, which holds up the thread that writes. Where most of what
    /// comes is soon gone again, many of them never have to.
    pub(super) ahead: u32,
}

/// An open one.
#[derive(Debug)]
pub(super) struct Beside {
    path: PathBuf,
    reader: Owner<Connection>,
    writer: Writer,
    _share: Share,
}

impl Beside {
    /// Opens it in a folder, or makes one there; it waits for the disk. `alone` is done before anybody else may have it, and only if
    /// nobody had.
    ///
    /// # Errors
    /// When it cannot be written, and when what is there is damaged, of a newer Eyot or not ours.
    pub(super) fn open(
        folder: &Path,
        kind: &Kind,
        alone: impl FnOnce(&Connection) -> Result<(), Cause>,
    ) -> Result<Self, StoreError> {
        durable::make_folder(folder).map_err(|error| StoreError::file(folder, WRITTEN, &error))?;
        let path = folder.join(kind.database);
        let (share, is_alone) = Share::take(folder.join(kind.lock))?;
        let opening = if is_alone { Opening::Alone } else { Opening::Beside };
        let connection = database::open_with(&path, kind.migrations, opening)?;
        let told = |error: rusqlite::Error| StoreError::sqlite(&path, &error);
        if !kind.overwrites {
            connection.pragma_update(None, "secure_delete", "fast").map_err(told)?;
        }
        connection.pragma_update(None, "wal_autocheckpoint", kind.ahead).map_err(told)?;
        if is_alone {
            alone(&connection).map_err(|cause| cause.at(&path))?;
        }
        share.let_in()?;
        let told = |error| StoreError::file(folder, "given its threads", &error);
        let [read, write] = kind.threads;
        let reader = Owner::start(read, database::open_to_read(&path)?).map_err(told)?;
        let writer = Writer::start(write, connection, path.clone()).map_err(told)?;
        Ok(Self { path, reader, writer, _share: share })
    }

    /// How often it has committed.
    #[cfg(test)]
    pub(super) fn commits(&self) -> u64 {
        self.writer.commits()
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads in one transaction, which sees one moment.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, Cause> + Send + 'static,
    ) -> Result<T, StoreError> {
        let path = self.path.clone();
        let answer = self.reader.ask(move |connection| {
            let transaction = connection.transaction().map_err(|error| StoreError::sqlite(&path, &error))?;
            question(&transaction).map_err(|cause| cause.at(&path))
        });
        answer.await
    }

    /// Makes a change, and answers when it is on the disk.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        change: impl Fn(&Connection) -> Result<T, Cause> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.change(change).await
    }

    /// The same for what the machine may forget when it loses its power, but not when the process is killed.
    pub(super) async fn change_unsynced<T: Send + 'static>(
        &self,
        change: impl Fn(&Connection) -> Result<T, Cause> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.change_unsynced(change).await
    }
}

impl Kind {
    /// So many pages are written ahead by default: SQLite's own.
    pub(super) const AHEAD: u32 = 1000;

    /// Copies it, if there is one, as it is at one moment, from a folder that may be in use into another one.
    pub(super) fn back_up(&self, from: &Path, into: &Path) -> Result<(), StoreError> {
        let database = from.join(self.database);
        match database::is_there(&database)? {
            true => database::copy(&database::open_to_read(&database)?, &into.join(self.database)),
            false => Ok(()),
        }
    }

    /// Puts what a backup has of it into a new store, after a look at it.
    pub(super) fn restore(&self, from: &Path, into: &Path) -> Result<(), StoreError> {
        let (database, copy) = (from.join(self.database), into.join(self.database));
        if !database::is_there(&database)? {
            return Ok(());
        }
        let told = |error: std::io::Error| StoreError::file(&copy, WRITTEN, &error);
        std::fs::copy(&database, &copy).and_then(|_| durable::sync_file(&copy)).map_err(told)?;
        let connection = database::open_with(&copy, self.migrations, Opening::Alone)?;
        let pages = check::pages(&connection, check::Depth::Full);
        let found = pages.map_err(|error| StoreError::sqlite(&database, &error))?;
        match found.is_empty() {
            true => Ok(()),
            false => Err(StoreError::Damaged { path: database, found: found.join("; ") }),
        }
    }
}
