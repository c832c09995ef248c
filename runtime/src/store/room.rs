//! Memory for what is on its way between guests and the disk, so that however many ask at once, the node has what they need.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory is given out in pieces of this size.
const PIECE: u64 = 4 << 10;

/// So much memory, of which each has a part for a while.
#[derive(Debug)]
pub(super) struct Rooms {
    pieces: Arc<Semaphore>,
    most: u64,
}

/// Memory for a question and its answer, given back when this is dropped.
#[derive(Debug)]
#[must_use = "it is given back when it is dropped"]
pub struct Room {
    _pieces: Option<OwnedSemaphorePermit>,
}

impl Rooms {
    /// So many bytes.
    pub(super) fn of(bytes: u64) -> Self {
        let most = bytes / PIECE;
        Self { pieces: Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS))), most }
    }

    /// Waits for so much of it, and for all of it where that is less: whoever asks for much waits for all that was asked before.
    pub(super) async fn take(&self, bytes: u64) -> Room {
        let pieces = u32::try_from(bytes.div_ceil(PIECE).clamp(1, self.most)).unwrap_or(1);
        // It is never closed.
        Room { _pieces: Arc::clone(&self.pieces).acquire_many_owned(pieces).await.ok() }
    }
}
