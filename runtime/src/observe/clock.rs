//! The CPU clock of the process, for its metrics. The meter of a guest reads its thread's (`bindings/meter.rs`).

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time that all threads of this process have used.
#[must_use]
pub fn process_cpu() -> Duration {
    // It is never negative; if it were, it would read as zero.
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_counts_work() {
        let before = process_cpu();
        let mut sum = 0u64;
        while process_cpu() - before < Duration::from_millis(1) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }
}
