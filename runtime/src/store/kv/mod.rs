//! The keys and values of workers, on this node's disk: a database of its own beside the store's, so that a worker that writes much is in
//! nobody's way who deploys.
//!
//! What was answered is on the disk, and reads see it at once. Each worker has namespaces of its own, and a sum of bytes that it may take.

mod model;
mod rows;
#[cfg(test)]
mod tests;

use std::path::Path;

use jiff::Timestamp;
use rusqlite::Connection;

use super::beside::{Beside, Kind};
use super::database;
use super::error::{Cause, StoreError};
use super::room::{Room, Rooms};
use super::thread::apart;

pub use model::{Entry, Expected, KvError, KvLimits, Listed, Namespace, Page, Put};

/// The database.
pub(super) const KV: Kind = Kind {
    database: "kv.db",
    lock: "kv.lock",
    threads: ["eyot-kv-read", "eyot-kv-write"],
    migrations: &[include_str!("../schema/kv/0001_kv.sql")],
    overwrites: true,
};

/// So many expired entries are removed at a time: others wait for the thread that writes.
const SWEPT_AT_ONCE: u32 = 256;

/// What keys and values take of the node's memory, at most, while they are on their way between guests and the disk.
const ROOM: u64 = 32 << 20;

/// What all workers have written down.
#[derive(Debug)]
pub struct Kv {
    database: Beside,
    rooms: Rooms,
}

impl Kv {
    /// Opens the database in a folder, or makes one there; it waits for the disk. The process whose place this one takes may have it open,
    /// too, and still write: each sees what the other has answered.
    ///
    /// # Errors
    /// When it cannot be written, and when what is there is damaged, of a newer Eyot or not ours.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Ok(Self { database: Beside::open(folder, &KV, |_| Ok(()))?, rooms: Rooms::of(ROOM) })
    }

    /// Waits for so much memory: whoever asks for much at once waits for all that was asked before.
    pub async fn room(&self, bytes: u64) -> Room {
        self.rooms.take(bytes).await
    }

    /// What stands at a key.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn get(&self, namespace: &Namespace, key: String) -> Result<Option<Entry>, KvError> {
        self.read(namespace, move |connection, namespace| rows::get(connection, namespace, &key, now())).await
    }

    /// What stands at some keys, at one moment, in the order in which they are named; no more than so many bytes of values.
    ///
    /// # Errors
    /// When there are more bytes, and when the database cannot be read.
    pub async fn get_many(
        &self,
        namespace: &Namespace,
        keys: Vec<String>,
        most: u64,
    ) -> Result<Vec<Option<Entry>>, KvError> {
        self.read(namespace, move |connection, namespace| rows::get_many(connection, namespace, &keys, most, now()))
            .await?
    }

    /// Whether anything stands at a key.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn exists(&self, namespace: &Namespace, key: String) -> Result<bool, KvError> {
        self.read(namespace, move |connection, namespace| rows::exists(connection, namespace, &key, now())).await
    }

    /// Keys in the order in which they were first written, behind this place, so many at most, and where the next page begins.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn keys(
        &self,
        namespace: &Namespace,
        after: u64,
        most: u32,
    ) -> Result<(Vec<String>, Option<u64>), KvError> {
        self.read(namespace, move |connection, namespace| rows::keys(connection, namespace, after, most, now())).await
    }

    /// Keys that begin so, behind this one, in the order of their bytes, so many at most.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn list(
        &self,
        namespace: &Namespace,
        prefix: String,
        after: Option<String>,
        most: u32,
    ) -> Result<Page, KvError> {
        self.read(namespace, move |connection, namespace| {
            rows::list(connection, namespace, &prefix, after.as_deref(), most, now())
        })
        .await
    }

    /// Writes a value if what is expected stands there, and says which revision it is.
    ///
    /// # Errors
    /// When a limit is passed, when something else stands there, and when it cannot be written.
    pub async fn put(
        &self,
        namespace: &Namespace,
        put: Put,
        expected: Expected,
        limits: KvLimits,
    ) -> Result<u64, KvError> {
        let namespace = namespace.clone();
        let change = move |connection: &Connection| rows::put(connection, &namespace, &put, expected, &limits, now());
        self.database.change(change).await?
    }

    /// Writes all of them or none.
    ///
    /// # Errors
    /// When a limit is passed, and when they cannot be written.
    pub async fn put_many(&self, namespace: &Namespace, puts: Vec<Put>, limits: KvLimits) -> Result<(), KvError> {
        let namespace = namespace.clone();
        self.database.change(move |connection| rows::put_many(connection, &namespace, &puts, &limits)).await?
    }

    /// Deletes what stands at a key, if it is what is expected. Nothing may stand there.
    ///
    /// # Errors
    /// When something else stands there, and when it cannot be written.
    pub async fn delete(&self, namespace: &Namespace, key: String, expected: Expected) -> Result<(), KvError> {
        let namespace = namespace.clone();
        self.database.change(move |connection| rows::delete(connection, &namespace, &key, expected, now())).await?
    }

    /// Deletes what stands at these keys, all of it or nothing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn delete_many(&self, namespace: &Namespace, keys: Vec<String>) -> Result<(), KvError> {
        let namespace = namespace.clone();
        let delete = move |connection: &Connection| {
            let now = now();
            for key in &keys {
                // What is expected is anything: nothing is against it.
                let _ = rows::delete(connection, &namespace, key, Expected::Anything, now)?;
            }
            Ok(())
        };
        Ok(self.database.change(delete).await?)
    }

    /// Adds to the number at a key, which is written in decimal digits and 0 where nothing stands; answers what it is then. What stands
    /// beside it stays.
    ///
    /// # Errors
    /// When something else stands there, when the sum has more than 64 bits, when a limit is passed, and when it cannot be written.
    pub async fn increment(
        &self,
        namespace: &Namespace,
        key: String,
        delta: i64,
        limits: KvLimits,
    ) -> Result<i64, KvError> {
        let namespace = namespace.clone();
        let change =
            move |connection: &Connection| rows::increment(connection, &namespace, &key, delta, &limits, now());
        self.database.change(change).await?
    }

    /// The bytes that the entries of a worker take.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn used(&self, worker: &str) -> Result<u64, KvError> {
        let worker = worker.to_owned();
        Ok(self.database.ask(move |connection| rows::used(connection, &worker)).await?)
    }

    /// The namespaces of a worker that were written to, and how many entries each has.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn namespaces(&self, worker: &str) -> Result<Vec<(String, u64)>, KvError> {
        let (worker, path) = (worker.to_owned(), self.database.path().to_owned());
        // All of its entries are looked at, which nobody else should wait for.
        let count = move || {
            let connection = database::open_to_read(&path)?;
            rows::namespaces(&connection, &worker, now()).map_err(|cause| cause.at(&path))
        };
        Ok(apart("eyot-kv-count", count).await?)
    }

    /// Removes what has expired, some of it at a time, and says how much it was. Nobody is given it before that either.
    ///
    /// # Errors
    /// When it cannot be written. What was removed until then stays so.
    pub async fn sweep(&self) -> Result<u64, KvError> {
        let mut swept = 0;
        loop {
            let gone = self.database.change(move |connection| rows::sweep(connection, now(), SWEPT_AT_ONCE)).await?;
            swept += gone;
            if gone < SWEPT_AT_ONCE.into() {
                return Ok(swept);
            }
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        namespace: &Namespace,
        question: impl FnOnce(&Connection, &Namespace) -> Result<T, Cause> + Send + 'static,
    ) -> Result<T, KvError> {
        let namespace = namespace.clone();
        Ok(self.database.ask(move |connection| question(connection, &namespace)).await?)
    }
}

fn now() -> Timestamp {
    Timestamp::now()
}
