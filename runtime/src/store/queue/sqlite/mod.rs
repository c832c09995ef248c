//! Messages on this node's disk: a database beside the store's.

mod rows;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod throughput;
mod upkeep;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use tokio::sync::watch;

use super::backend::Backend;
use super::due;
use super::model::{
    Delivery, Lease, Message, MessageId, NewMessage, QueueError, QueueLimits, QueueName, QueueStanding, Settled, Wanted,
};
use crate::store::beside::{Beside, Kind};
use crate::store::database;
use crate::store::error::{Cause, StoreError};
use crate::store::thread::apart;

/// The database.
pub(in crate::store) const QUEUE: Kind = Kind {
    database: "queue.db",
    lock: "queue.lock",
    threads: ["eyot-queue-read", "eyot-queue-write"],
    migrations: &[include_str!("../../schema/queue/0001_queue.sql")],
    overwrites: false,
    ahead: 8 * Kind::AHEAD,
};

/// So many messages are moved or removed at a time: others wait for the thread that writes.
const AT_ONCE: u32 = 1000;

/// The open database.
#[derive(Debug)]
pub(super) struct Sqlite {
    database: Beside,
}

impl Sqlite {
    /// Opens the database in a folder, or makes one there; it waits for the disk. The process whose place this one takes may have it open,
    /// too, and still send and work off: each sees what the other has answered. Without one, nobody has what is out, and it comes back.
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        Ok(Self { database: Beside::open(folder, &QUEUE, rows::release)? })
    }

    /// All messages of the queue are looked at, which nobody else should wait for.
    async fn older(&self, queue: &QueueName, before: Timestamp) -> Result<Vec<i64>, StoreError> {
        let (path, queue) = (self.database.path().to_owned(), queue.clone());
        let look = move || {
            let connection = database::open_to_read(&path)?;
            upkeep::older(&connection, &queue, before, AT_ONCE).map_err(|cause| cause.at(&path))
        };
        apart("eyot-queue-old", look).await
    }

    /// Makes a change again and again until it comes to less than it may at a time; says to how much it came in all.
    async fn in_pieces(
        &self,
        change: impl Fn(&Connection) -> Result<u64, Cause> + Clone + Send + 'static,
    ) -> Result<u64, QueueError> {
        let mut all = 0;
        loop {
            let some = self.database.change(change.clone()).await?;
            all += some;
            if some < AT_ONCE.into() {
                return Ok(all);
            }
        }
    }
}

#[async_trait]
impl Backend for Sqlite {
    async fn send(
        &self,
        queue: &QueueName,
        messages: Vec<NewMessage>,
        limits: QueueLimits,
    ) -> Result<Vec<MessageId>, QueueError> {
        let queue = queue.clone();
        let prepared: Vec<_> = messages.into_iter().map(rows::Prepared::new).collect();
        self.database.change(move |connection| rows::send(connection, &queue, &prepared, &limits, now())).await?
    }

    async fn wait(
        &self,
        queue: &QueueName,
        wanted: Wanted,
        changes: &mut watch::Receiver<()>,
    ) -> Result<(), QueueError> {
        loop {
            changes.mark_unchanged();
            let which = queue.clone();
            let look = move |connection: &Connection| rows::due(connection, &which, wanted.messages, now());
            let Some(wait) = self.database.ask(look).await?.wait(wanted, now()) else { return Ok(()) };
            due::rest(wait, changes).await;
        }
    }

    async fn receive(&self, queue: &QueueName, delivery: Delivery) -> Result<Vec<Message>, QueueError> {
        let queue = queue.clone();
        let receive = move |connection: &Connection| rows::receive(connection, &queue, delivery, now());
        // After a loss of power nobody has what was out, so it comes back in any case.
        Ok(self.database.change_unsynced(receive).await?)
    }

    async fn settle(&self, queue: &QueueName, settled: Vec<(Lease, Settled)>) -> Result<usize, QueueError> {
        let queue = queue.clone();
        Ok(self.database.change(move |connection| rows::settle(connection, &queue, &settled, now())).await?)
    }

    async fn extend(&self, _: &QueueName, lease: Lease, by: Duration) -> Result<bool, QueueError> {
        let extend = move |connection: &Connection| rows::extend(connection, &lease, by, now());
        Ok(self.database.change_unsynced(extend).await?)
    }

    async fn peek(&self, queue: &QueueName, most: u32) -> Result<Vec<Message>, QueueError> {
        let queue = queue.clone();
        Ok(self.database.ask(move |connection| upkeep::peek(connection, &queue, most)).await?)
    }

    async fn standing(&self, worker: Option<&str>) -> Result<Vec<QueueStanding>, QueueError> {
        let worker = worker.map(str::to_owned);
        Ok(self.database.ask(move |connection| upkeep::standing(connection, worker.as_deref())).await?)
    }

    async fn redrive(&self, from: &QueueName, into: &QueueName) -> Result<u64, QueueError> {
        let (from, into) = (from.clone(), into.clone());
        self.in_pieces(move |connection| upkeep::redrive(connection, &from, &into, AT_ONCE, now())).await
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64, QueueError> {
        let queue = queue.clone();
        self.in_pieces(move |connection| upkeep::purge(connection, &queue, AT_ONCE)).await
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<(), QueueError> {
        let queue = queue.clone();
        Ok(self.database.change(move |connection| upkeep::pause(connection, &queue, paused)).await?)
    }

    async fn bury(&self, queue: &QueueName, dead: &QueueName, retention: Duration) -> Result<u64, QueueError> {
        let (before, mut buried) = (ago(retention), 0);
        loop {
            let old = self.older(queue, before).await?;
            let (from, into, found) = (queue.clone(), dead.clone(), old.len());
            let bury = move |connection: &Connection| upkeep::bury(connection, &from, &into, &old, before, now());
            let some = self.database.change(bury).await?;
            buried += some;
            // What is out is not buried, and not looked for again either.
            if found < AT_ONCE as usize || some == 0 {
                return Ok(buried);
            }
        }
    }

    async fn forget(&self, dead: &QueueName, retention: Duration) -> Result<u64, QueueError> {
        let (before, mut gone) = (ago(retention), 0);
        loop {
            let old = self.older(dead, before).await?;
            let (name, found) = (dead.clone(), old.len());
            let forget = move |connection: &Connection| upkeep::forget(connection, &name, &old, before);
            gone += self.database.change(forget).await?;
            if found < AT_ONCE as usize {
                return Ok(gone);
            }
        }
    }

    async fn forget_keys(&self) -> Result<u64, QueueError> {
        self.in_pieces(move |connection| upkeep::forget_keys(connection, AT_ONCE, now())).await
    }
}

fn ago(time: Duration) -> Timestamp {
    SignedDuration::try_from(time).ok().and_then(|time| now().checked_sub(time).ok()).unwrap_or(Timestamp::MIN)
}

fn now() -> Timestamp {
    Timestamp::now()
}
