//! Queues of workers, for operators: what is in them, and changes that stand in the audit.

use std::sync::Arc;

use super::Stock;
use crate::config;
use crate::store::{By, MessageId, NewMessage, QueueError, QueueName, Queues, StoreError};

impl Stock {
    /// The queues of all workers.
    ///
    /// # Errors
    /// They cannot be opened.
    pub fn queues(&self) -> Result<Arc<Queues>, StoreError> {
        self.activator.data.queues()?.ok_or(StoreError::Closed)
    }

    /// How a worker that serves works off its queues.
    #[must_use]
    pub fn consumed(&self, worker: &str) -> Vec<Arc<config::Queue>> {
        let active = (self.serving)();
        let own = active.queues.values().filter(|consumed| *consumed.name.worker == *worker);
        own.map(|consumed| Arc::clone(&consumed.queue)).collect()
    }

    /// Sends messages as the worker itself would.
    ///
    /// # Errors
    /// When no version that serves has the queue, it is full, or they cannot be written.
    pub async fn send_messages(
        &self,
        by: By,
        queue: &QueueName,
        messages: Vec<NewMessage>,
    ) -> Result<Vec<MessageId>, QueueError> {
        let (audit, count) = (self.audit()?, messages.len());
        let sent = self.queues()?.send_from(&queue.worker, queue, messages).await?;
        let detail = serde_json::json!({ "queue": &*queue.name, "messages": count });
        audit.note(by, "queue.send", &queue.worker, detail).await?;
        Ok(sent)
    }

    /// Moves what is in one queue of a worker to another; says how many messages it was.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn redrive(&self, by: By, from: &QueueName, into: &QueueName) -> Result<u64, QueueError> {
        let audit = self.audit()?;
        let moved = self.queues()?.redrive(from, into).await?;
        let detail = serde_json::json!({ "queue": &*into.name, "from": &*from.name, "messages": moved });
        audit.note(by, "queue.redrive", &into.worker, detail).await?;
        Ok(moved)
    }

    /// Removes all messages of a queue; says how many it was.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn purge(&self, by: By, queue: &QueueName) -> Result<u64, QueueError> {
        let audit = self.audit()?;
        let purged = self.queues()?.purge(queue).await?;
        let detail = serde_json::json!({ "queue": &*queue.name, "messages": purged });
        audit.note(by, "queue.purge", &queue.worker, detail).await?;
        Ok(purged)
    }

    /// From now on nothing of a queue is delivered, or something is again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn pause(&self, by: By, queue: &QueueName, paused: bool) -> Result<(), QueueError> {
        let audit = self.audit()?;
        self.queues()?.pause(queue, paused).await?;
        let what = if paused { "queue.pause" } else { "queue.resume" };
        let detail = serde_json::json!({ "queue": &*queue.name });
        Ok(audit.note(by, what, &queue.worker, detail).await?)
    }
}
