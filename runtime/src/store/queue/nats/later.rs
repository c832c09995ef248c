//! What waits for its time, moved when the time has come. The server keeps the time: it gives a message again when it is due.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use jiff::Timestamp;
use tokio::time::timeout;

use super::Nats;
use super::deliver::Out;
use super::streams::Part;
use super::wire::Moved;
use crate::store::queue::model::{Message, QueueError, QueueName};

/// A queue that has no room is asked again after so long, and a server that is away.
const AGAIN: Duration = Duration::from_secs(1);

/// How long one question stands: what is due meanwhile comes at once. A server that was killed knows nothing of it any more.
const STANDS: Duration = Duration::from_secs(5);

/// The queues whose messages this process moves.
#[derive(Debug, Default)]
pub(super) struct Movers(Mutex<HashSet<QueueName>>);

impl Movers {
    fn here(&self) -> std::sync::MutexGuard<'_, HashSet<QueueName>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From now on this process moves what is due of a queue, as long as anybody here waits for it.
pub(super) fn move_for(nats: &Arc<Nats>, queue: &QueueName) {
    if !nats.movers.here().insert(queue.clone()) {
        return;
    }
    let (weak, queue) = (Arc::downgrade(nats), queue.clone());
    nats.link.spawn("mover", run(weak, queue));
}

async fn run(nats: Weak<Nats>, queue: QueueName) {
    while let Some(here) = nats.upgrade() {
        if !here.changes.is_waited_for(&queue) {
            here.movers.here().remove(&queue);
            return;
        }
        if let Err(error) = here.move_some(&queue).await {
            tracing::debug!(%queue, "what is due is not moved: {error}");
            drop(here);
            tokio::time::sleep(AGAIN).await;
        }
    }
}

impl Nats {
    /// Moves what is due, and waits a while for more.
    async fn move_some(&self, queue: &QueueName) -> Result<(), QueueError> {
        let (created, consumer) = self.streams.consumer(Part::Later, queue, None).await?;
        self.streams.make(Part::Ready, queue, None).await?;
        let batch = consumer.batch().max_messages(super::AT_ONCE).expires(STANDS).messages().await;
        let mut batch = batch.map_err(|error| {
            self.streams.forget(Part::Later, queue);
            self.failed(error)
        })?;
        let lease = consumer.cached_info().config.ack_wait;
        while let Ok(Some(Ok(given))) = timeout(STANDS + AGAIN, batch.next()).await {
            let (message, out) = self.read(created, (Instant::now(), lease), &given)?;
            match message.due.duration_since(Timestamp::now()).try_into() {
                Ok(wait) if wait > Duration::ZERO => self.put_off(&out, wait).await?,
                _ => self.move_one(queue, &message, &out).await?,
            }
        }
        Ok(())
    }

    async fn move_one(&self, queue: &QueueName, message: &Message, out: &Out) -> Result<(), QueueError> {
        // How often it was given to movers is nobody's affair.
        let attempts = message.attempts.saturating_sub(out.delivered());
        let reason = message.reason.as_deref();
        let moved = Moved { message, attempts, due: Some(message.due), reason, once: out.once("due") };
        match self.transfer(&moved, Part::Ready, queue).await {
            Ok(()) => {
                self.acknowledge(out).await?;
                self.ring(queue).await;
                Ok(())
            }
            Err(QueueError::Full { .. }) => self.put_off(out, AGAIN).await,
            Err(error) => Err(error),
        }
    }
}
