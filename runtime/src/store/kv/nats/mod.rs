//! Keys and values on a NATS server, which several nodes share: what stands at a key is the last message of a subject of JetStream.
//!
//! A message's number in its stream is the revision. The server compares it when a change is made under a condition, so no two nodes
//! overwrite each other. What a node has read it uses again for a moment (`cache`).

mod cache;
mod list;
mod names;
mod read;
mod streams;
#[cfg(test)]
mod tests;
mod wire;
mod write;

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::backend::Backend;
use super::model::{Entry, Expected, KvError, KvLimits, Namespace, Page, Put};
use crate::config::Server;
use crate::store::error::StoreError;
use crate::store::nats::Link;
use cache::{Cache, Known};
use streams::Streams;

/// What entries take of the node's memory that were read a moment ago, in bytes.
const CACHED: usize = 32 << 20;

/// So many may add to numbers at a time, each to one of its own.
const TURNS: usize = 64;

/// Keys and values on a server.
#[derive(Debug)]
pub(super) struct Nats {
    link: Arc<Link>,
    streams: Streams,
    cache: Cache,
    turns: [Semaphore; TURNS],
    hasher: RandomState,
    /// Questions whose answers are long.
    pieces: Semaphore,
    /// Several servers have each stream, and only one of them surely has all of it.
    asks_leader: bool,
}

impl Nats {
    /// Connects.
    pub(super) fn open(server: &Server, staleness: Duration) -> Result<Self, StoreError> {
        let link = Link::open(server)?;
        Ok(Self {
            streams: Streams::new(Arc::clone(&link), server.replicas),
            link,
            cache: Cache::new(CACHED, staleness),
            turns: std::array::from_fn(|_| Semaphore::new(1)),
            hasher: RandomState::new(),
            pieces: Semaphore::new(read::PIECES),
            asks_leader: server.replicas > 1,
        })
    }

    /// As if its server were one of several.
    #[cfg(test)]
    pub(super) fn asking_who_leads(self) -> Self {
        Self { asks_leader: true, ..self }
    }

    /// Waits until nobody else here adds to this number.
    async fn turn(&self, subject: &str) -> Option<SemaphorePermit<'_>> {
        let turn = self.hasher.hash_one(subject) as usize % TURNS;
        // They are never closed.
        self.turns[turn].acquire().await.ok()
    }

    async fn read(&self, namespace: &Namespace, key: &str) -> Result<Option<Arc<Entry>>, KvError> {
        let Some(subject) = names::subject(namespace, key) else { return Ok(None) };
        let asked = match self.cache.look(&subject) {
            Known::This(entry) => return Ok(entry),
            Known::Ask(asked) => asked,
        };
        let last = self.last(&namespace.worker, &subject).await?;
        let entry = last.map(|last| self.entry_of(&last)).transpose()?.flatten().map(Arc::new);
        self.cache.note(&subject, asked, entry.clone());
        Ok(entry)
    }
}

#[async_trait]
impl Backend for Nats {
    async fn get(&self, namespace: &Namespace, key: String) -> Result<Option<Entry>, KvError> {
        Ok(self.read(namespace, &key).await?.map(Arc::unwrap_or_clone))
    }

    /// The server is asked, whatever was read a moment ago: that was so at moments of its own.
    async fn get_many(
        &self,
        namespace: &Namespace,
        keys: Vec<String>,
        most: u64,
    ) -> Result<Vec<Option<Entry>>, KvError> {
        let too_large = |found| KvError::TooLarge { what: "answer", found, limit: most, key: "hostcall_fuel" };
        let subjects: Vec<_> = keys.iter().map(|key| names::subject(namespace, key)).collect();
        let each: BTreeSet<_> = subjects.iter().flatten().cloned().collect();
        let each: Vec<_> = each.into_iter().collect();
        let asked: Vec<_> = each.iter().map(|subject| self.cache.asking(subject)).collect();
        let last = self.last_of(&namespace.worker, &each, most).await?.map_err(too_large)?;
        for (subject, asked) in each.iter().zip(asked) {
            let entry = last.get(subject).map(|last| self.entry_of(last)).transpose()?.flatten();
            self.cache.note(subject, asked, entry.map(Arc::new));
        }
        let (mut found, mut bytes) = (Vec::with_capacity(subjects.len()), 0);
        for subject in subjects {
            let last = subject.and_then(|subject| last.get(&subject));
            let entry = last.map(|last| self.entry_of(last)).transpose()?.flatten();
            bytes += entry.as_ref().map_or(0, |entry| entry.value.len()) as u64;
            if bytes > most {
                return Err(too_large(bytes));
            }
            found.push(entry);
        }
        Ok(found)
    }

    async fn exists(&self, namespace: &Namespace, key: String) -> Result<bool, KvError> {
        Ok(self.read(namespace, &key).await?.is_some())
    }

    async fn keys(&self, namespace: &Namespace, after: u64, most: u32) -> Result<(Vec<String>, Option<u64>), KvError> {
        self.keys_from(namespace, after, most as usize).await
    }

    async fn list(
        &self,
        namespace: &Namespace,
        prefix: String,
        after: Option<String>,
        most: u32,
    ) -> Result<Page, KvError> {
        self.page(namespace, prefix, after, most as usize).await
    }

    async fn put(&self, namespace: &Namespace, put: Put, expected: Expected, limits: KvLimits) -> Result<u64, KvError> {
        self.write(namespace, put, expected, limits).await
    }

    async fn put_many(&self, namespace: &Namespace, puts: Vec<Put>, limits: KvLimits) -> Result<(), KvError> {
        self.write_many(namespace, puts, limits).await
    }

    async fn delete(&self, namespace: &Namespace, key: String, expected: Expected) -> Result<(), KvError> {
        self.remove(namespace, &key, expected).await
    }

    async fn delete_many(&self, namespace: &Namespace, keys: Vec<String>) -> Result<(), KvError> {
        self.remove_many(namespace, &keys).await
    }

    async fn increment(
        &self,
        namespace: &Namespace,
        key: String,
        delta: i64,
        limits: KvLimits,
    ) -> Result<i64, KvError> {
        self.add(namespace, key, delta, limits).await
    }

    async fn used(&self, worker: &str) -> Result<u64, KvError> {
        Ok(self.streams.bytes(worker).await?)
    }

    async fn namespaces(&self, worker: &str) -> Result<Vec<(String, u64)>, KvError> {
        self.count(worker).await
    }

    /// The server clears away what has expired.
    async fn sweep(&self) -> Result<u64, KvError> {
        Ok(0)
    }
}
