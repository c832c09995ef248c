//! Who waits for a queue is told when there may be something for it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::model::QueueName;

/// Of each queue that somebody waits for: it changes when a message may be due sooner than was known.
#[derive(Debug, Default)]
pub(super) struct Changes(Mutex<HashMap<QueueName, watch::Sender<()>>>);

impl Changes {
    /// Whoever waits for a queue has one of these.
    pub(super) fn of(&self, queue: &QueueName) -> watch::Receiver<()> {
        let mut waited_for = self.waited_for();
        waited_for.retain(|_, changes| changes.receiver_count() > 0);
        waited_for.entry(queue.clone()).or_insert_with(|| watch::Sender::new(())).subscribe()
    }

    /// Whether anybody here waits for a queue.
    pub(super) fn is_waited_for(&self, queue: &QueueName) -> bool {
        self.waited_for().get(queue).is_some_and(|changes| changes.receiver_count() > 0)
    }

    /// Something may be due in this one.
    pub(super) fn tell(&self, queue: &QueueName) {
        if let Some(changes) = self.waited_for().get(queue) {
            changes.send_replace(());
        }
    }

    fn waited_for(&self) -> MutexGuard<'_, HashMap<QueueName, watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
