//! What is counted of queues, each by the worker that works it off and its name.

use std::time::Duration;

use prometheus::{GaugeVec, IntGaugeVec, Opts, Registry};

use super::labels::Counters;
use super::{gauges, register};

/// Handles to what is counted of all queues.
#[derive(Clone)]
pub struct QueueMetrics {
    sent: Counters<2>,
    settled: Counters<3>,
    messages: IntGaugeVec,
    bytes: IntGaugeVec,
    age: GaugeVec,
}

/// What a delivery came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// The message is done.
    Done,
    /// It is to be delivered again.
    Again,
    /// It is a dead letter.
    Dead,
    /// Its lease was over before: it is delivered again whatever was said of it.
    Late,
}

impl Delivered {
    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Again => "retried",
            Self::Dead => "dead_lettered",
            Self::Late => "late",
        }
    }
}

impl QueueMetrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let labels = ["worker", "queue"];
        let sent = "Messages that were sent to a queue.";
        let settled = "Deliveries of messages, by what they came to.";
        let age = Opts::new("eyot_queue_oldest_seconds", "How long ago the oldest message of a queue was sent.");
        Ok(Self {
            sent: Counters::register(registry, "eyot_queue_sent_total", sent, labels)?,
            settled: Counters::register(
                registry,
                "eyot_queue_deliveries_total",
                settled,
                ["worker", "queue", "outcome"],
            )?,
            messages: gauges(registry, "eyot_queue_messages", "Messages in a queue.", &labels)?,
            bytes: gauges(registry, "eyot_queue_bytes", "What the messages of a queue take of its limit.", &labels)?,
            age: register(registry, GaugeVec::new(age, &labels)?)?,
        })
    }

    /// So many messages were sent.
    pub fn sent(&self, worker: &str, queue: &str, messages: u64) {
        self.sent.of([worker, queue]).inc_by(messages);
    }

    /// So many deliveries came to this.
    pub fn settled(&self, worker: &str, queue: &str, to: Delivered, messages: u64) {
        if messages > 0 {
            self.settled.of([worker, queue, to.as_str()]).inc_by(messages);
        }
    }

    /// How a queue stands.
    pub fn stands(&self, worker: &str, queue: &str, messages: u64, bytes: u64, oldest: Option<Duration>) {
        let labels = [worker, queue];
        self.messages.with_label_values(&labels).set(i64::try_from(messages).unwrap_or(i64::MAX));
        self.bytes.with_label_values(&labels).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.age.with_label_values(&labels).set(oldest.unwrap_or_default().as_secs_f64());
    }
}
