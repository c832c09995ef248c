//! When somebody who waits for a batch looks into the queue again.

use std::pin::pin;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::sleep;

use super::model::Wanted;

/// How often it is looked for messages of which nobody here was told: another process may send, too.
const LOOK: Duration = Duration::from_secs(5);

/// What of a queue could be delivered now, up to a whole batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// Messages.
    pub(super) messages: u32,
    /// Bytes of their bodies.
    pub(super) bytes: u64,
    /// Since when the first of them could be; if there is none, when that will be.
    pub(super) first: Option<Timestamp>,
}

impl Due {
    /// How long to wait before there may be a batch; `None` if there may be one now.
    pub(super) fn wait(&self, wanted: Wanted, now: Timestamp) -> Option<Duration> {
        match self.first {
            None => Some(LOOK),
            Some(first) if self.messages == 0 => Some(between(now, first)),
            Some(_) if self.messages >= wanted.messages || self.bytes >= wanted.bytes => None,
            Some(first) => match wanted.wait.saturating_sub(between(first, now)) {
                Duration::ZERO => None,
                wait => Some(wait),
            },
        }
    }
}

/// Waits for so long, though not for longer than until something may be due sooner.
pub(super) async fn rest(wait: Duration, changes: &mut watch::Receiver<()>) {
    let mut timer = pin!(sleep(wait.min(LOOK)));
    tokio::select! {
        changed = changes.changed() => if changed.is_err() { timer.as_mut().await },
        () = timer.as_mut() => {}
    }
}

/// From one time to a later one; nothing where it is not later.
fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}
