//! Queues of workers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The queues of a worker.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Queues {
    /// By name: those that it works off, and those that have or had messages, such as dead letters.
    pub queues: Vec<Queue>,
}

/// A queue.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Messages in it, those that wait to be tried again or are being worked off included.
    pub messages: u64,
    /// What they take of limit `queue_bytes`.
    pub bytes: u64,
    /// When the oldest of them was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub oldest: Option<Timestamp>,
    /// Nothing of it is delivered.
    pub paused: bool,
    /// Where its dead letters are; `None` where no version that serves works it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
}

/// Messages as they stand in a queue.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct QueueMessages {
    /// The oldest first.
    pub messages: Vec<QueueMessage>,
}

/// A message as it stands in a queue.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct QueueMessage {
    /// What its producer knows it by.
    pub id: String,
    /// When it was sent.
    #[schema(value_type = String, format = DateTime)]
    pub sent: Timestamp,
    /// From when on it may be delivered.
    #[schema(value_type = String, format = DateTime)]
    pub due: Timestamp,
    /// How often it was delivered.
    pub attempts: u32,
    /// What its last delivery came to, if that was not good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What its bytes are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Its bytes, in base64 (RFC 4648 §4).
    #[schema(content_encoding = "base64")]
    pub body: String,
}

/// Messages that are sent together.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewQueueMessages {
    /// All of them are sent, or none.
    #[schema(min_items = 1, max_items = 1000)]
    pub messages: Vec<NewQueueMessage>,
}

/// A message to send.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewQueueMessage {
    /// Its bytes, in base64 (RFC 4648 §4).
    #[schema(content_encoding = "base64", max_length = 1398104)]
    pub body: String,
    /// What they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub content_type: Option<String>,
    /// From when on it may be delivered. Without it: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due: Option<Timestamp>,
    /// Sent again under the same key within a day, it is sent once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 512)]
    pub idempotency_key: Option<String>,
}

/// What was sent.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct QueueSent {
    /// By these ids, in the order of the messages.
    pub ids: Vec<String>,
}

/// Whether messages are delivered.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueState {
    /// Nothing is delivered.
    pub paused: bool,
}

/// Which messages come back.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Redrive {
    /// Those of this queue of the same worker. Without it: the dead letters of the queue that they come into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// To how many messages something was done.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct QueueCount {
    /// So many.
    pub messages: u64,
}

/// How many.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct QueuePeek {
    /// So many at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
}
