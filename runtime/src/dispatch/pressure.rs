//! How much memory the process has: past its limit no further isolate begins, so that the node refuses work before the kernel ends
//! it with all that it does.
//!
//! The limits of isolates bound what guests take; connections, buffers and the allocator's own reserve come on top, and only the
//! kernel knows their sum.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::bindings::NodeMemory;

/// Between two looks: guests cannot take more meanwhile than limit `node_memory` leaves to them.
const INTERVAL: Duration = Duration::from_millis(50);

/// Looks from time to time, in a thread of its own, for as long as the node is there, and notes what it sees.
///
/// # Errors
/// When there can be no such thread.
pub fn watch_process(memory: &Arc<NodeMemory>, limit: u64) -> io::Result<()> {
    let memory = Arc::downgrade(memory);
    std::thread::Builder::new().name("eyot-memory".to_owned()).spawn(move || look(&memory, limit))?;
    Ok(())
}

fn look(memory: &Weak<NodeMemory>, limit: u64) {
    while let Some(memory) = memory.upgrade() {
        let used = private_memory();
        let has_too_much = used.is_some_and(|used| used > limit);
        if memory.note_process(has_too_much) != has_too_much {
            match has_too_much {
                true => tracing::warn!(used, limit, "short of memory: no isolate begins until there is some again"),
                false => tracing::info!(used, limit, "there is memory again"),
            }
        }
        drop(memory);
        std::thread::park_timeout(INTERVAL);
    }
}

/// What the process has in memory and shares with no file, in bytes: code that is mapped can be read again, and does not count
/// (proc(5), `/proc/self/statm`).
fn private_memory() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = statm.split(' ').skip(1).map_while(|field| field.parse::<u64>().ok());
    let (resident, shared) = (pages.next()?, pages.next()?);
    Some(resident.saturating_sub(shared).saturating_mul(rustix::param::page_size() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_written_to_counts() {
        // Other tests of this process give memory back meanwhile, but not each time.
        let counts = || {
            let before = private_memory().unwrap();
            let taken = vec![1u8; 64 << 20];
            let after = private_memory().unwrap();
            after >= before + (48 << 20) && !taken.is_empty()
        };
        assert!((0..20).any(|_| counts()));
    }
}
