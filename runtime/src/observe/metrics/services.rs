//! What is counted of calls between workers.

use prometheus::{IntCounter, Registry};

use super::labels::Counters;

/// Handles to what is counted of all calls.
#[derive(Clone)]
pub struct ServiceMetrics(Counters<3>);

/// What a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// To an answer with a status under 500.
    Answered,
    /// To an answer with a status from 500 on.
    Failed,
    /// It failed, and another is made in its place.
    Retried,
    /// The breaker is open: it was not made.
    Rejected,
    /// Whoever made it has ended before.
    Abandoned,
    /// It may not be made: there is no such worker, or it does not list the caller, or too many call one another.
    Denied,
}

impl Called {
    /// As they are declared.
    const ALL: [Self; 6] = [Self::Answered, Self::Failed, Self::Retried, Self::Rejected, Self::Abandoned, Self::Denied];

    fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Retried => "retried",
            Self::Rejected => "rejected",
            Self::Abandoned => "abandoned",
            Self::Denied => "denied",
        }
    }
}

impl ServiceMetrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let calls = "Calls of a worker's services, by what they came to.";
        Ok(Self(Counters::register(registry, "eyot_service_calls_total", calls, ["worker", "service", "outcome"])?))
    }

    /// Of the calls that one worker makes of another: asked for when it is activated, kept with it.
    #[must_use]
    pub fn of(&self, worker: &str, service: &str) -> CallMetrics {
        CallMetrics(Called::ALL.map(|to| self.0.of([worker, service, to.as_str()])))
    }
}

/// Handles to what is counted of one worker's calls of another.
pub struct CallMetrics([IntCounter; Called::ALL.len()]);

impl CallMetrics {
    /// There was a call.
    pub fn called(&self, to: Called) {
        self.0[to as usize].inc();
    }
}
