//! Queues of workers on this node's disk: a database of its own beside the store's.
//!
//! A message that was accepted is on the disk before its producer hears of it. It is delivered at least once: whoever receives it has it
//! for as long as its lease goes, and says what became of it; what nobody says anything of comes back by itself. A message that is moved to
//! a queue of dead letters is in one of the two at any moment.

mod model;
mod rows;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod throughput;
mod upkeep;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use tokio::sync::watch;

use super::beside::{Beside, Kind};
use super::database;
use super::error::{Cause, StoreError};
use super::room::{Room, Rooms};
use super::thread::apart;

pub use model::{
    Delivery, Due, Lease, Message, MessageId, NewMessage, QueueError, QueueLimits, QueueName, QueueRule, QueueStanding,
    Settled,
};

/// The database.
pub(super) const QUEUE: Kind = Kind {
    database: "queue.db",
    lock: "queue.lock",
    threads: ["eyot-queue-read", "eyot-queue-write"],
    migrations: &[include_str!("../schema/queue/0001_queue.sql")],
    overwrites: false,
};

/// So many messages are moved or removed at a time: others wait for the thread that writes.
const AT_ONCE: u32 = 1000;

/// What messages take of the node's memory, at most, while they are on their way to the disk.
const ROOM: u64 = 32 << 20;

/// The queues of all workers.
#[derive(Debug)]
pub struct Queues {
    database: Beside,
    rooms: Rooms,
    /// Those that are worked off here.
    rules: ArcSwap<HashMap<QueueName, QueueRule>>,
    /// Of each queue that somebody waits for: it changes when a message may be due sooner than was known.
    changes: Mutex<HashMap<QueueName, watch::Sender<()>>>,
}

impl Queues {
    /// Opens the database in a folder, or makes one there; it waits for the disk. The process whose place this one takes may have it open,
    /// too, and still send and work off: each sees what the other has answered. Without one, nobody has what is out, and it comes back.
    ///
    /// # Errors
    /// When it cannot be written, and when what is there is damaged, of a newer Eyot or not ours.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let database = Beside::open(folder, &QUEUE, rows::release)?;
        Ok(Self { database, rooms: Rooms::of(ROOM), rules: ArcSwap::default(), changes: Mutex::default() })
    }

    /// Waits for so much memory: whoever asks for much at once waits for all that was asked before.
    pub async fn room(&self, bytes: u64) -> Room {
        self.rooms.take(bytes).await
    }

    /// From now on these are the queues that workers may send to.
    pub fn rule(&self, rules: HashMap<QueueName, QueueRule>) {
        self.rules.store(rules.into());
    }

    /// Puts messages of a worker into a queue, all of them or none, and says how they are called.
    ///
    /// # Errors
    /// When there is no such queue, its worker does not take messages from this one, it is full, or they cannot be written.
    pub async fn send_from(
        &self,
        producer: &str,
        queue: &QueueName,
        messages: Vec<NewMessage>,
    ) -> Result<Vec<MessageId>, QueueError> {
        let limits = {
            let rules = self.rules.load();
            let rule = rules.get(queue).ok_or_else(|| QueueError::NoSuchQueue(queue.clone()))?;
            if producer != &*queue.worker && !rule.producers.iter().any(|listed| listed == producer) {
                return Err(QueueError::NotAProducer(queue.clone()));
            }
            rule.limits
        };
        self.send(queue, messages, limits).await
    }

    /// The same, whoever sends.
    async fn send(
        &self,
        queue: &QueueName,
        messages: Vec<NewMessage>,
        limits: QueueLimits,
    ) -> Result<Vec<MessageId>, QueueError> {
        let into = queue.clone();
        let sent =
            self.database.change(move |connection| rows::send(connection, &into, &messages, &limits, now())).await??;
        self.changed(queue);
        Ok(sent)
    }

    /// Takes messages out that are due, the oldest first. They come back by themselves when their lease is over. A queue that is paused
    /// gives none.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    pub async fn receive(&self, queue: &QueueName, delivery: Delivery) -> Result<Vec<Message>, QueueError> {
        let queue = queue.clone();
        Ok(self.database.change(move |connection| rows::receive(connection, &queue, delivery, now())).await?)
    }

    /// Says what became of messages that were received. One whose lease is over stays as it is; says how many those are.
    ///
    /// # Errors
    /// When it cannot be written. They then come back by themselves.
    pub async fn settle(&self, queue: &QueueName, settled: Vec<(Lease, Settled)>) -> Result<usize, QueueError> {
        let dead = settled.iter().find_map(|(_, settled)| match settled {
            Settled::Dead(name, _) => Some(QueueName { worker: queue.worker.clone(), name: name.clone() }),
            Settled::Done | Settled::Again(..) => None,
        });
        let from = queue.clone();
        let late = self.database.change(move |connection| rows::settle(connection, &from, &settled, now())).await?;
        self.changed(queue);
        dead.iter().for_each(|dead| self.changed(dead));
        Ok(late)
    }

    /// The lease of a message goes on for so long from now. Whether it was still out.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn extend(&self, lease: Lease, by: Duration) -> Result<bool, QueueError> {
        Ok(self.database.change(move |connection| rows::extend(connection, lease, by, now())).await?)
    }

    /// What of a queue could be delivered now, up to so many messages.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn due(&self, queue: &QueueName, most: u32) -> Result<Due, QueueError> {
        let queue = queue.clone();
        Ok(self.database.ask(move |connection| rows::due(connection, &queue, most, now())).await?)
    }

    /// Messages as they stand in a queue, the oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn peek(&self, queue: &QueueName, most: u32) -> Result<Vec<Message>, QueueError> {
        let queue = queue.clone();
        Ok(self.database.ask(move |connection| upkeep::peek(connection, &queue, most)).await?)
    }

    /// All queues that anything was ever sent to, or those of a worker.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn standing(&self, worker: Option<&str>) -> Result<Vec<QueueStanding>, QueueError> {
        let worker = worker.map(str::to_owned);
        Ok(self.database.ask(move |connection| upkeep::standing(connection, worker.as_deref())).await?)
    }

    /// Moves all messages that are not out from one queue to another, such as from the dead letters back; says how many it was.
    ///
    /// # Errors
    /// When it cannot be written. What was moved until then stays so.
    pub async fn redrive(&self, from: &QueueName, into: &QueueName) -> Result<u64, QueueError> {
        let (source, target) = (from.clone(), into.clone());
        let moved =
            self.in_pieces(move |connection| upkeep::redrive(connection, &source, &target, AT_ONCE, now())).await?;
        self.changed(into);
        Ok(moved)
    }

    /// Removes all messages of a queue; says how many it was.
    ///
    /// # Errors
    /// When it cannot be written. What was removed until then stays so.
    pub async fn purge(&self, queue: &QueueName) -> Result<u64, QueueError> {
        let queue = queue.clone();
        self.in_pieces(move |connection| upkeep::purge(connection, &queue, AT_ONCE)).await
    }

    /// From now on nothing of a queue is delivered, or something is again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn pause(&self, queue: &QueueName, paused: bool) -> Result<(), QueueError> {
        let which = queue.clone();
        self.database.change(move |connection| upkeep::pause(connection, &which, paused)).await?;
        self.changed(queue);
        Ok(())
    }

    /// Makes dead letters of messages that came into a queue longer ago than `retention`; says how many it was.
    ///
    /// # Errors
    /// When it cannot be written. What was moved until then stays so.
    pub async fn bury(&self, queue: &QueueName, dead: &str, retention: Duration) -> Result<u64, QueueError> {
        let (before, mut buried) = (ago(retention), 0);
        loop {
            let old = self.older(queue, before).await?;
            let (from, name, found) = (queue.clone(), dead.to_owned(), old.len());
            let bury = move |connection: &Connection| upkeep::bury(connection, &from, &name, &old, before, now());
            let some = self.database.change(bury).await?;
            buried += some;
            // What is out is not buried, and not looked for again either.
            if found < AT_ONCE as usize || some == 0 {
                break;
            }
        }
        if buried > 0 {
            self.changed(&QueueName { worker: queue.worker.clone(), name: dead.into() });
        }
        Ok(buried)
    }

    /// Removes dead letters that are so for longer than `retention`; says how many it was.
    ///
    /// # Errors
    /// When it cannot be written. What was removed until then stays so.
    pub async fn forget(&self, dead: &QueueName, retention: Duration) -> Result<u64, QueueError> {
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

    /// All messages of the queue are looked at, which nobody else should wait for.
    async fn older(&self, queue: &QueueName, before: Timestamp) -> Result<Vec<i64>, StoreError> {
        let (path, queue) = (self.database.path().to_owned(), queue.clone());
        let look = move || {
            let connection = database::open_to_read(&path)?;
            upkeep::older(&connection, &queue, before, AT_ONCE).map_err(|cause| cause.at(&path))
        };
        apart("eyot-queue-old", look).await
    }

    /// Forgets under which keys messages were sent a day ago; says how many it was.
    ///
    /// # Errors
    /// When it cannot be written. What was forgotten until then stays so.
    pub async fn forget_keys(&self) -> Result<u64, QueueError> {
        self.in_pieces(move |connection| upkeep::forget_keys(connection, AT_ONCE, now())).await
    }

    /// Changes whenever a message of the queue may be due sooner than it was.
    #[must_use]
    pub fn changes(&self, queue: &QueueName) -> watch::Receiver<()> {
        let mut waited_for = self.waited_for();
        waited_for.retain(|_, changes| changes.receiver_count() > 0);
        waited_for.entry(queue.clone()).or_insert_with(|| watch::Sender::new(())).subscribe()
    }

    fn changed(&self, queue: &QueueName) {
        if let Some(changes) = self.waited_for().get(queue) {
            changes.send_replace(());
        }
    }

    fn waited_for(&self) -> MutexGuard<'_, HashMap<QueueName, watch::Sender<()>>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
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

fn ago(time: Duration) -> Timestamp {
    SignedDuration::try_from(time).ok().and_then(|time| now().checked_sub(time).ok()).unwrap_or(Timestamp::MIN)
}

fn now() -> Timestamp {
    Timestamp::now()
}
