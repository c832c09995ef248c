//! Keys and values on this node's disk: a database of its own beside the store's, so that a worker that writes much is in nobody's way who
//! deploys.

mod rows;

use std::path::Path;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::Connection;

use super::backend::Backend;
use super::model::{Entry, Expected, KvError, KvLimits, Namespace, Page, Put};
use crate::store::beside::{Beside, Kind};
use crate::store::database;
use crate::store::error::{Cause, StoreError};
use crate::store::thread::apart;

/// The database.
pub(in crate::store) const KV: Kind = Kind {
    database: "kv.db",
    lock: "kv.lock",
    threads: ["eyot-kv-read", "eyot-kv-write"],
    migrations: &[include_str!("../../schema/kv/0001_kv.sql")],
    overwrites: true,
    ahead: Kind::AHEAD,
};

/// So many expired entries are removed at a time: others wait for the thread that writes.
const SWEPT_AT_ONCE: u32 = 256;

/// The open database.
#[derive(Debug)]
pub(super) struct Sqlite {
    database: Beside,
}

impl Sqlite {
    /// Opens the database in a folder, or makes one there; it waits for the disk. The process whose place this one takes may have it open,
    /// too, and still write: each sees what the other has answered.
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        Ok(Self { database: Beside::open(folder, &KV, |_| Ok(()))? })
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

#[async_trait]
impl Backend for Sqlite {
    async fn get(&self, namespace: &Namespace, key: String) -> Result<Option<Entry>, KvError> {
        self.read(namespace, move |connection, namespace| rows::get(connection, namespace, &key, now())).await
    }

    async fn get_many(
        &self,
        namespace: &Namespace,
        keys: Vec<String>,
        most: u64,
    ) -> Result<Vec<Option<Entry>>, KvError> {
        self.read(namespace, move |connection, namespace| rows::get_many(connection, namespace, &keys, most, now()))
            .await?
    }

    async fn exists(&self, namespace: &Namespace, key: String) -> Result<bool, KvError> {
        self.read(namespace, move |connection, namespace| rows::exists(connection, namespace, &key, now())).await
    }

    async fn keys(&self, namespace: &Namespace, after: u64, most: u32) -> Result<(Vec<String>, Option<u64>), KvError> {
        self.read(namespace, move |connection, namespace| rows::keys(connection, namespace, after, most, now())).await
    }

    async fn list(
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

    async fn put(&self, namespace: &Namespace, put: Put, expected: Expected, limits: KvLimits) -> Result<u64, KvError> {
        let namespace = namespace.clone();
        let change = move |connection: &Connection| rows::put(connection, &namespace, &put, expected, &limits, now());
        self.database.change(change).await?
    }

    async fn put_many(&self, namespace: &Namespace, puts: Vec<Put>, limits: KvLimits) -> Result<(), KvError> {
        let namespace = namespace.clone();
        self.database.change(move |connection| rows::put_many(connection, &namespace, &puts, &limits)).await?
    }

    async fn delete(&self, namespace: &Namespace, key: String, expected: Expected) -> Result<(), KvError> {
        let namespace = namespace.clone();
        self.database.change(move |connection| rows::delete(connection, &namespace, &key, expected, now())).await?
    }

    async fn delete_many(&self, namespace: &Namespace, keys: Vec<String>) -> Result<(), KvError> {
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

    async fn increment(
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

    async fn used(&self, worker: &str) -> Result<u64, KvError> {
        let worker = worker.to_owned();
        Ok(self.database.ask(move |connection| rows::used(connection, &worker)).await?)
    }

    async fn namespaces(&self, worker: &str) -> Result<Vec<(String, u64)>, KvError> {
        let (worker, path) = (worker.to_owned(), self.database.path().to_owned());
        // All of its entries are looked at, which nobody else should wait for.
        let count = move || {
            let connection = database::open_to_read(&path)?;
            rows::namespaces(&connection, &worker, now()).map_err(|cause| cause.at(&path))
        };
        Ok(apart("eyot-kv-count", count).await?)
    }

    async fn sweep(&self) -> Result<u64, KvError> {
        let mut swept = 0;
        loop {
            let gone = self.database.change(move |connection| rows::sweep(connection, now(), SWEPT_AT_ONCE)).await?;
            swept += gone;
            if gone < SWEPT_AT_ONCE.into() {
                return Ok(swept);
            }
        }
    }
}

fn now() -> Timestamp {
    Timestamp::now()
}
