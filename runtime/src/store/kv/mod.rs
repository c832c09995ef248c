//! The keys and values of workers. Each worker has namespaces of its own, and a sum of bytes that it may take.
//!
//! What was answered is where its backend says that it is safe, and reads of this node see it at once. What keeps it is a backend: this
//! node's disk, or a server that nodes share; what each of them promises is what `conformance` finds to hold.

mod backend;
#[cfg(test)]
mod conformance;
mod model;
mod nats;
mod sqlite;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use super::error::StoreError;
use super::room::{Room, Rooms};
use crate::config::{Protocol, Server};
use backend::Backend;
use nats::Nats;
use sqlite::Sqlite;

pub use model::{Entry, Expected, KvError, KvLimits, Listed, Namespace, Page, Put};
pub(super) use sqlite::KV;

/// What keys and values take of the node's memory, at most, while they are on their way between guests and where they are kept.
const ROOM: u64 = 32 << 20;

/// What all workers have written down.
#[derive(Debug)]
pub struct Kv {
    backend: Box<dyn Backend>,
    rooms: Rooms,
}

impl Kv {
    /// On this node's disk: a database in a folder, which it makes if there is none; it waits for the disk.
    ///
    /// # Errors
    /// When it cannot be written, and when what is there is damaged, of a newer Eyot or not ours.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Ok(Self::on(Sqlite::open(folder)?))
    }

    /// On a server, which nodes share. What was read there is used for so long without asking again; what other nodes write meanwhile is not
    /// seen.
    ///
    /// # Errors
    /// When it may not be used, since it could lose what it acknowledges. One that is not there is waited for.
    pub fn connect(server: &Server, staleness: Duration) -> Result<Self, StoreError> {
        match server.protocol {
            Protocol::Nats => Ok(Self::on(Nats::open(server, staleness)?)),
            Protocol::Redis => Err(StoreError::Closed),
        }
    }

    fn on(backend: impl Backend + 'static) -> Self {
        Self { backend: Box::new(backend), rooms: Rooms::of(ROOM) }
    }

    /// Waits for so much memory: whoever asks for much at once waits for all that was asked before.
    pub async fn room(&self, bytes: u64) -> Room {
        self.rooms.take(bytes).await
    }

    /// What stands at a key.
    ///
    /// # Errors
    /// When it cannot be known.
    pub async fn get(&self, namespace: &Namespace, key: String) -> Result<Option<Entry>, KvError> {
        self.backend.get(namespace, key).await
    }

    /// What stands at some keys, at one moment, in the order in which they are named; no more than so many bytes of values.
    ///
    /// # Errors
    /// When there are more bytes, and when it cannot be known.
    pub async fn get_many(
        &self,
        namespace: &Namespace,
        keys: Vec<String>,
        most: u64,
    ) -> Result<Vec<Option<Entry>>, KvError> {
        self.backend.get_many(namespace, keys, most).await
    }

    /// Whether anything stands at a key.
    ///
    /// # Errors
    /// When it cannot be known.
    pub async fn exists(&self, namespace: &Namespace, key: String) -> Result<bool, KvError> {
        self.backend.exists(namespace, key).await
    }

    /// All keys one after the other, behind this place, so many at most, and where the next page begins.
    ///
    /// # Errors
    /// When it cannot be known.
    pub async fn keys(
        &self,
        namespace: &Namespace,
        after: u64,
        most: u32,
    ) -> Result<(Vec<String>, Option<u64>), KvError> {
        self.backend.keys(namespace, after, most).await
    }

    /// Keys that begin so, behind this one, in the order of their bytes, so many at most.
    ///
    /// # Errors
    /// When it cannot be known.
    pub async fn list(
        &self,
        namespace: &Namespace,
        prefix: String,
        after: Option<String>,
        most: u32,
    ) -> Result<Page, KvError> {
        self.backend.list(namespace, prefix, after, most).await
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
        self.backend.put(namespace, put, expected, limits).await
    }

    /// Writes all of them or none.
    ///
    /// # Errors
    /// When a limit is passed, and when they cannot be written.
    pub async fn put_many(&self, namespace: &Namespace, puts: Vec<Put>, limits: KvLimits) -> Result<(), KvError> {
        self.backend.put_many(namespace, puts, limits).await
    }

    /// Deletes what stands at a key, if it is what is expected. Nothing may stand there.
    ///
    /// # Errors
    /// When something else stands there, and when it cannot be written.
    pub async fn delete(&self, namespace: &Namespace, key: String, expected: Expected) -> Result<(), KvError> {
        self.backend.delete(namespace, key, expected).await
    }

    /// Deletes what stands at these keys, all of it or nothing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn delete_many(&self, namespace: &Namespace, keys: Vec<String>) -> Result<(), KvError> {
        self.backend.delete_many(namespace, keys).await
    }

    /// Adds to the number at a key, which is written in decimal digits and 0 where nothing stands; answers what it is then. What stands
    /// beside it stays.
    ///
    /// # Errors
    /// When something else stands there, when the sum has more than 64 bits, when a limit is passed, when others change it all the time, and
    /// when it cannot be written.
    pub async fn increment(
        &self,
        namespace: &Namespace,
        key: String,
        delta: i64,
        limits: KvLimits,
    ) -> Result<i64, KvError> {
        self.backend.increment(namespace, key, delta, limits).await
    }

    /// The bytes that the entries of a worker take.
    ///
    /// # Errors
    /// When it cannot be known.
    pub async fn used(&self, worker: &str) -> Result<u64, KvError> {
        self.backend.used(worker).await
    }

    /// The namespaces of a worker that were written to, and how many entries each has.
    ///
    /// # Errors
    /// When it cannot be known.
    pub async fn namespaces(&self, worker: &str) -> Result<Vec<(String, u64)>, KvError> {
        self.backend.namespaces(worker).await
    }

    /// Removes what has expired, some of it at a time, and says how much it was. Nobody is given it before that either.
    ///
    /// # Errors
    /// When it cannot be written. What was removed until then stays so.
    pub async fn sweep(&self) -> Result<u64, KvError> {
        self.backend.sweep().await
    }
}
