//! What is counted of schedules, each by its worker and its name.

use prometheus::Registry;

use super::labels::Counters;

/// Handles to what is counted of all schedules.
#[derive(Clone)]
pub struct ScheduleMetrics {
    runs: Counters<3>,
}

impl ScheduleMetrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let labels = ["worker", "schedule", "outcome"];
        let help = "Times at which schedules were due, by what they came to.";
        Ok(Self { runs: Counters::register(registry, "eyot_schedule_runs_total", help, labels)? })
    }

    /// A run came to this, a word of our own.
    pub fn ran(&self, worker: &str, schedule: &str, outcome: &'static str) {
        self.runs.of([worker, schedule, outcome]).inc();
    }
}
