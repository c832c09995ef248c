//! What is sent to queues, and what comes out of them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::config::WorkerLimits;
use crate::store::error::StoreError;

/// A worker's queue. Two workers that give one the same name have two.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueName {
    /// Whose it is: who works it off.
    pub worker: Arc<str>,
    /// How its worker calls it.
    pub name: Arc<str>,
}

impl QueueName {
    /// Another queue of the same worker.
    #[must_use]
    pub fn beside(&self, name: &str) -> Self {
        Self { worker: Arc::clone(&self.worker), name: name.into() }
    }
}

impl std::fmt::Display for QueueName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.worker, self.name)
    }
}

/// What a queue holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Messages.
    pub messages: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

impl QueueLimits {
    /// What a message counts besides its body, in bytes.
    pub const MESSAGE: u64 = 256;

    /// Those of the worker that works it off.
    #[must_use]
    pub fn of(limits: &WorkerLimits) -> Self {
        Self { messages: limits.queue_messages, bytes: limits.queue_bytes }
    }
}

// It stands in SQLite's `rows` and `upkeep`, and in the scripts of Redis, too.
const _: () = assert!(QueueLimits::MESSAGE == 256);

/// Who may send to a queue, and how much it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRule {
    /// Other workers that may. Its own may anyhow.
    pub producers: Vec<String>,
    /// What it holds.
    pub limits: QueueLimits,
}

/// Messages that are delivered together: so many, and of so many bytes, at most, but one in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Messages.
    pub messages: u32,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// How long they are nobody else's.
    pub lease: Duration,
}

/// The batch that a consumer waits for: so many messages, or so many bytes, or what has come in so long a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Messages.
    pub messages: u32,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// How long its first message waits for others.
    pub wait: Duration,
}

/// A message that is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Its bytes.
    pub body: Vec<u8>,
    /// What they are: a media type.
    pub content_type: Option<String>,
    /// How long it waits before it is delivered.
    pub delay: Duration,
    /// Sent again under the same key, it is sent once.
    pub key: Option<String>,
    /// The trace that it belongs to: a `traceparent`.
    pub trace: Option<String>,
}

impl NewMessage {
    /// The longest media type and the longest key, in bytes.
    const CONTENT_TYPE: usize = 255;
    const KEY: usize = 512;

    /// The longest that a message waits, or is nobody else's.
    pub const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);

    /// A message, if none of it is larger than it may be; `most` bytes its body may have, by limit `queue_message`.
    ///
    /// # Errors
    /// [`QueueError::TooLarge`].
    pub fn checked(self, most: u64) -> Result<Self, QueueError> {
        let longer = |text: &Option<String>, most| text.as_ref().is_some_and(|text| text.len() > most);
        let why = match () {
            () if self.body.len() as u64 > most => {
                format!("a message has {} bytes, and may have {most} (limit queue_message)", self.body.len())
            }
            () if longer(&self.content_type, Self::CONTENT_TYPE) => "a content type has 255 bytes at most".to_owned(),
            () if self.content_type.as_ref().is_some_and(|text| text.contains(char::is_control)) => {
                "a content type has no control characters".to_owned()
            }
            () if longer(&self.key, Self::KEY) => "an idempotency key has 512 bytes at most".to_owned(),
            () if self.delay > Self::LONGEST => "a message waits 12 hours at most".to_owned(),
            () => return Ok(self),
        };
        Err(QueueError::TooLarge(why))
    }
}

/// A message by which its producer and its log lines know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub(super) Uuid);

impl MessageId {
    pub(super) fn fresh() -> Self {
        Self(Uuid::now_v7())
    }

    /// From what it is displayed as.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }
}

impl std::fmt::Display for MessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

/// A message that is out, or is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Which.
    pub id: MessageId,
    /// When it was sent.
    pub sent: Timestamp,
    /// Its bytes.
    pub body: Vec<u8>,
    /// What they are.
    pub content_type: Option<String>,
    /// The trace that it belongs to.
    pub trace: Option<String>,
    /// How often it was delivered, this time included.
    pub attempts: u32,
    /// From when on it may be delivered.
    pub due: Timestamp,
    /// What its last delivery came to.
    pub reason: Option<String>,
    /// What whoever has it shows for it; `None` for who only looks.
    pub(super) lease: Option<Lease>,
}

/// A message that is out, for as long as its lease goes: what its backend knows it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease(pub(super) Held);

/// As each backend calls what is out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// A row, and the number of its delivery.
    Row { message: i64, number: i64 },
    /// What a stream of NATS has given.
    Nats(Arc<super::nats::Out>),
    /// A message in the sorted sets of Redis, and the number of its delivery.
    Redis { message: Arc<str>, number: u64 },
}

impl Message {
    /// What whoever has it shows for it.
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        self.lease.clone()
    }
}

/// What became of a message that was out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is done.
    Done,
    /// It is to be delivered again after so long, and this is why.
    Again(Duration, String),
    /// It goes to another queue of its worker, and this is why.
    Dead(Arc<str>, String),
}

/// How a queue stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueStanding {
    /// Which.
    pub queue: QueueName,
    /// Nothing is delivered.
    pub paused: bool,
    /// Messages in it, those that wait or are out included.
    pub messages: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// When the first in line was sent.
    pub oldest: Option<Timestamp>,
}

/// Why something is not sent or not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// No worker that serves works it off.
    #[error("no worker that serves here has [[queue]] {0}")]
    NoSuchQueue(QueueName),
    /// Its worker does not list the producer.
    #[error("{0} takes no messages from this worker: its eyot.toml does not list it in `producers`")]
    NotAProducer(QueueName),
    /// The producer is at fault.
    #[error("{0}")]
    TooLarge(String),
    /// Its consumer does not keep up: the producer has to wait, or to tell whoever asked.
    #[error("the queue is full: it has {messages} messages of {bytes} bytes (limits queue_messages, queue_bytes)")]
    Full {
        /// So many it has.
        messages: u64,
        /// So many bytes.
        bytes: u64,
    },
    /// The operator is at fault, or the machine.
    #[error(transparent)]
    Store(#[from] StoreError),
}
