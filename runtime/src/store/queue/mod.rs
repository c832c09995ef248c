//! Queues of workers: where messages are kept until they are worked off.
//!
//! A message that was accepted is safe before its producer hears of it. It is delivered at least once: whoever receives it has it for as
//! long as its lease goes, and says what became of it; what nobody says anything of comes back by itself. A message that is moved to a
//! queue of dead letters is in one of the two at any moment. What keeps them is a backend: this node's disk, or a server; what each of them
//! promises is what `conformance` finds to hold.

mod backend;
mod changes;
#[cfg(test)]
mod conformance;
mod due;
mod model;
mod nats;
mod redis;
mod sqlite;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use self::redis::Redis;
use super::error::StoreError;
use super::room::{Room, Rooms};
use crate::config::{Protocol, Server};
use backend::Backend;
use changes::Changes;
use nats::Nats;
use sqlite::Sqlite;

pub use model::{
    Delivery, Lease, Message, MessageId, NewMessage, QueueError, QueueLimits, QueueName, QueueRule, QueueStanding,
    Settled, Wanted,
};
pub(super) use sqlite::QUEUE;

/// What messages take of the node's memory, at most, while they are on their way to where they are kept.
const ROOM: u64 = 32 << 20;

/// The queues of all workers.
#[derive(Debug)]
pub struct Queues {
    backend: Box<dyn Backend>,
    rooms: Rooms,
    /// Those that are worked off here.
    rules: ArcSwap<HashMap<QueueName, QueueRule>>,
    changes: Arc<Changes>,
}

impl Queues {
    /// On this node's disk: a database in a folder, which it makes if there is none; it waits for the disk.
    ///
    /// # Errors
    /// When it cannot be written, and when what is there is damaged, of a newer Eyot or not ours.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Ok(Self::on(Sqlite::open(folder)?, Arc::default()))
    }

    /// On a server, which nodes share.
    ///
    /// # Errors
    /// When it may not be used, since it could lose what it acknowledges. One that is not there is waited for.
    pub fn connect(server: &Server) -> Result<Self, StoreError> {
        let changes = Arc::<Changes>::default();
        match server.protocol {
            Protocol::Nats => Ok(Self::on(Nats::open(server, Arc::clone(&changes))?, changes)),
            Protocol::Redis => Ok(Self::on(Redis::open(server, Arc::clone(&changes))?, changes)),
        }
    }

    fn on(backend: impl Backend + 'static, changes: Arc<Changes>) -> Self {
        Self { backend: Box::new(backend), rooms: Rooms::of(ROOM), rules: ArcSwap::default(), changes }
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
        let sent = self.backend.send(queue, messages, limits).await?;
        self.changes.tell(queue);
        Ok(sent)
    }

    /// Waits until there may be a batch: a whole one, or one whose first message has waited for so long that no other is waited for.
    ///
    /// # Errors
    /// When it cannot be known.
    pub async fn wait(
        &self,
        queue: &QueueName,
        wanted: Wanted,
        changes: &mut watch::Receiver<()>,
    ) -> Result<(), QueueError> {
        self.backend.wait(queue, wanted, changes).await
    }

    /// Takes messages out that are due, the oldest first. They come back by themselves when their lease is over. A queue that is paused
    /// gives none.
    ///
    /// # Errors
    /// When they cannot be read or marked.
    pub async fn receive(&self, queue: &QueueName, delivery: Delivery) -> Result<Vec<Message>, QueueError> {
        self.backend.receive(queue, delivery).await
    }

    /// Says what became of messages that were received. One whose lease is over stays as it is; says how many those are.
    ///
    /// # Errors
    /// When it cannot be written. They then come back by themselves.
    pub async fn settle(&self, queue: &QueueName, settled: Vec<(Lease, Settled)>) -> Result<usize, QueueError> {
        let dead = settled.iter().find_map(|(_, settled)| match settled {
            Settled::Dead(name, _) => Some(queue.beside(name)),
            Settled::Done | Settled::Again(..) => None,
        });
        let late = self.backend.settle(queue, settled).await?;
        self.changes.tell(queue);
        dead.iter().for_each(|dead| self.changes.tell(dead));
        Ok(late)
    }

    /// The lease of a message goes on for so long from now. Whether it was still out.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn extend(&self, queue: &QueueName, lease: Lease, by: Duration) -> Result<bool, QueueError> {
        self.backend.extend(queue, lease, by).await
    }

    /// Messages as they stand in a queue, the oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn peek(&self, queue: &QueueName, most: u32) -> Result<Vec<Message>, QueueError> {
        self.backend.peek(queue, most).await
    }

    /// All queues that anything was ever sent to, or those of a worker.
    ///
    /// # Errors
    /// When it cannot be known.
    pub async fn standing(&self, worker: Option<&str>) -> Result<Vec<QueueStanding>, QueueError> {
        self.backend.standing(worker).await
    }

    /// Moves all messages that are not out from one queue to another, such as from the dead letters back; says how many it was.
    ///
    /// # Errors
    /// When it cannot be written. What was moved until then stays so.
    pub async fn redrive(&self, from: &QueueName, into: &QueueName) -> Result<u64, QueueError> {
        let moved = self.backend.redrive(from, into).await?;
        self.changes.tell(into);
        Ok(moved)
    }

    /// Removes all messages of a queue; says how many it was.
    ///
    /// # Errors
    /// When it cannot be written. What was removed until then stays so.
    pub async fn purge(&self, queue: &QueueName) -> Result<u64, QueueError> {
        self.backend.purge(queue).await
    }

    /// From now on nothing of a queue is delivered, or something is again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn pause(&self, queue: &QueueName, paused: bool) -> Result<(), QueueError> {
        self.backend.pause(queue, paused).await?;
        self.changes.tell(queue);
        Ok(())
    }

    /// Makes dead letters of messages that came into a queue longer ago than `retention`; says how many it was.
    ///
    /// # Errors
    /// When it cannot be written. What was moved until then stays so.
    pub async fn bury(&self, queue: &QueueName, dead: &str, retention: Duration) -> Result<u64, QueueError> {
        let dead = queue.beside(dead);
        let buried = self.backend.bury(queue, &dead, retention).await?;
        if buried > 0 {
            self.changes.tell(&dead);
        }
        Ok(buried)
    }

    /// Removes dead letters that are so for longer than `retention`; says how many it was.
    ///
    /// # Errors
    /// When it cannot be written. What was removed until then stays so.
    pub async fn forget(&self, dead: &QueueName, retention: Duration) -> Result<u64, QueueError> {
        self.backend.forget(dead, retention).await
    }

    /// Forgets under which keys messages were sent a day ago; says how many it was.
    ///
    /// # Errors
    /// When it cannot be written. What was forgotten until then stays so.
    pub async fn forget_keys(&self) -> Result<u64, QueueError> {
        self.backend.forget_keys().await
    }

    /// Changes whenever a message of the queue may be due sooner than it was.
    #[must_use]
    pub fn changes(&self, queue: &QueueName) -> watch::Receiver<()> {
        self.changes.of(queue)
    }
}
