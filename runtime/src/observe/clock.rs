//! The CPU clocks. A wall clock charges a guest for what its neighbours do; these do not.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time that the calling thread has used (about 170 ns to read): what decides before a guest is ended, and for usage.
#[must_use]
pub fn thread_cpu() -> Duration {
    read(ClockId::ThreadCPUTime)
}

/// CPU time that all threads of this process have used.
#[must_use]
pub fn process_cpu() -> Duration {
    read(ClockId::ProcessCPUTime)
}

fn read(clock: ClockId) -> Duration {
    // Neither clock is ever negative; if one were, it would read as zero.
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_clock_counts_work_and_not_waiting() {
        let before = thread_cpu();
        std::thread::park_timeout(Duration::from_millis(50));
        assert!(thread_cpu() - before < Duration::from_millis(40), "waiting cost CPU time");
        let mut sum = 0u64;
        while thread_cpu() - before < Duration::from_millis(1) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(process_cpu() >= Duration::from_millis(1));
    }
}
