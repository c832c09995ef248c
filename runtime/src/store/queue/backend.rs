//! What keeps the messages: one trait, and one folder for each that does.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::model::{
    Delivery, Lease, Message, MessageId, NewMessage, QueueError, QueueLimits, QueueName, QueueStanding, Settled, Wanted,
};

/// Somewhere to keep messages. Each method answers when what it did is where the backend says that it is safe.
///
/// What all of them promise are the claims of `conformance`; one that cannot promise a claim says so there, with the reason.
#[async_trait]
pub(super) trait Backend: Send + Sync + std::fmt::Debug {
    /// Puts messages into a queue, all of them or none, and says how they are called.
    async fn send(
        &self,
        queue: &QueueName,
        messages: Vec<NewMessage>,
        limits: QueueLimits,
    ) -> Result<Vec<MessageId>, QueueError>;

    /// Waits until there may be a batch: a whole one, or one whose first message has waited for so long that no other is waited for.
    /// `changes` tells of what this process knows of.
    async fn wait(
        &self,
        queue: &QueueName,
        wanted: Wanted,
        changes: &mut watch::Receiver<()>,
    ) -> Result<(), QueueError>;

    /// Takes messages out that are due, the oldest first.
    async fn receive(&self, queue: &QueueName, delivery: Delivery) -> Result<Vec<Message>, QueueError>;

    /// Says what became of messages that were received, and how many of them it came too late for.
    async fn settle(&self, queue: &QueueName, settled: Vec<(Lease, Settled)>) -> Result<usize, QueueError>;

    /// The lease of a message goes on for so long from now. Whether it was still out.
    async fn extend(&self, queue: &QueueName, lease: Lease, by: Duration) -> Result<bool, QueueError>;

    /// Messages as they stand in a queue, the oldest first.
    async fn peek(&self, queue: &QueueName, most: u32) -> Result<Vec<Message>, QueueError>;

    /// All queues that anything was ever sent to, or those of a worker.
    async fn standing(&self, worker: Option<&str>) -> Result<Vec<QueueStanding>, QueueError>;

    /// Moves all messages that are not out from one queue to another; says how many it was.
    async fn redrive(&self, from: &QueueName, into: &QueueName) -> Result<u64, QueueError>;

    /// Removes all messages of a queue; says how many it was.
    async fn purge(&self, queue: &QueueName) -> Result<u64, QueueError>;

    /// From now on nothing of a queue is delivered, or something is again.
    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<(), QueueError>;

    /// Makes dead letters of messages that came into a queue longer ago than `retention`; says how many it was.
    async fn bury(&self, queue: &QueueName, dead: &QueueName, retention: Duration) -> Result<u64, QueueError>;

    /// Removes dead letters that are so for longer than `retention`; says how many it was.
    async fn forget(&self, dead: &QueueName, retention: Duration) -> Result<u64, QueueError>;

    /// Forgets under which keys messages were sent a day ago; says how many it was. A backend that does so by itself says 0.
    async fn forget_keys(&self) -> Result<u64, QueueError>;
}
