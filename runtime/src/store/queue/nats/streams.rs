//! Two streams for each queue: what may be delivered, and what waits for its time. Each has one consumer, which all nodes share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Consumer, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType};
use jiff::Timestamp;
use serde_json::json;

use crate::store::error::StoreError;
use crate::store::nats::Link;
use crate::store::queue::model::{QueueLimits, QueueName};

/// The consumer of every stream.
const CONSUMER: &str = "eyot";

/// So long a key is remembered.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// How long what waits for its time is with a node that moves it, and the lease of a queue that nobody has worked off yet.
const MOVED: Duration = Duration::from_secs(30);

/// A consumer that is paused is so until then.
const FOREVER: &str = "2262-01-01T00:00:00Z";

/// Which of a queue's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// What may be delivered.
    Ready,
    /// What waits for its time.
    Later,
}

impl Part {
    const ALL: [Self; 2] = [Self::Ready, Self::Later];

    fn word(self) -> &'static str {
        match self {
            Self::Ready => "queue",
            Self::Later => "later",
        }
    }

    /// Names have no underscores, and subjects' words no full stops, so these are nobody else's.
    pub(super) fn stream(self, queue: &QueueName) -> String {
        format!("eyot-{}_{}_{}", self.word(), queue.worker, queue.name)
    }

    pub(super) fn subject(self, queue: &QueueName) -> String {
        format!("eyot.{}.{}.{}", self.word(), queue.worker, queue.name)
    }

    /// Whose a stream is, if it is one of these.
    pub(super) fn queue_of(stream: &str) -> Option<(Self, QueueName)> {
        Self::ALL.into_iter().find_map(|part| {
            let rest = stream.strip_prefix("eyot-")?.strip_prefix(part.word())?.strip_prefix('_')?;
            let (worker, name) = rest.split_once('_')?;
            Some((part, QueueName { worker: worker.into(), name: name.into() }))
        })
    }
}

/// What is known of a stream.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// When it was made, in microseconds since 1970: numbers of messages are one stream's.
    pub(super) created: i64,
    /// What it was last told that it holds.
    limits: Option<QueueLimits>,
    /// Its consumer, and for how long what that gives is nobody else's.
    consumer: Option<(Duration, Consumer<pull::Config>)>,
    generation: u64,
}

/// The streams, as far as they are known.
#[derive(Debug)]
pub(super) struct Streams {
    link: Arc<Link>,
    replicas: usize,
    known: Mutex<HashMap<(Part, QueueName), Known>>,
}

impl Streams {
    pub(super) fn new(link: Arc<Link>, replicas: usize) -> Self {
        Self { link, replicas, known: Mutex::default() }
    }

    /// Sees to it that there is a stream, which holds no more than this; without limits it is as it is.
    pub(super) async fn make(
        &self,
        part: Part,
        queue: &QueueName,
        limits: Option<QueueLimits>,
    ) -> Result<Known, StoreError> {
        if let Some(known) = self.known(part, queue).filter(|known| limits.is_none() || known.limits == limits) {
            return Ok(known);
        }
        let wanted = self.config(part, queue, limits);
        let info = self.link.make_stream(wanted.clone()).await?;
        let holds = |config: &Config| (config.max_messages, config.max_bytes);
        if limits.is_some() && holds(&info.config) != holds(&wanted) {
            let (max_messages, max_bytes) = holds(&wanted);
            let changed = Config { max_messages, max_bytes, ..info.config.clone() };
            self.link.ask()?.update_stream(changed).await.map_err(|error| self.link.failed(error))?;
        }
        let before = self.known(part, queue);
        let known = Known {
            created: micros(info.created.unix_timestamp_nanos()),
            limits: limits.or(before.as_ref().and_then(|known| known.limits)),
            consumer: before.and_then(|known| known.consumer),
            generation: self.link.generation(),
        };
        self.note(part, queue, known.clone());
        Ok(known)
    }

    /// How a stream stands; `None` where there is none.
    pub(super) async fn info(&self, part: Part, queue: &QueueName) -> Result<Option<Info>, StoreError> {
        self.link.stream(Part::stream(part, queue)).await
    }

    /// The consumer of a stream, which gives messages for so long, or for as long as it did; and when the stream was made.
    pub(super) async fn consumer(
        &self,
        part: Part,
        queue: &QueueName,
        lease: Option<Duration>,
    ) -> Result<(i64, Consumer<pull::Config>), StoreError> {
        let known = self.make(part, queue, None).await?;
        if let Some((now, consumer)) = &known.consumer
            && lease.is_none_or(|lease| lease == *now)
        {
            return Ok((known.created, consumer.clone()));
        }
        let stream = self.link.ask()?.get_stream_no_info(Part::stream(part, queue)).await;
        let stream = stream.map_err(|error| self.link.failed(error))?;
        let config = pull::Config {
            durable_name: Some(CONSUMER.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: lease.unwrap_or(MOVED),
            max_deliver: -1,
            max_ack_pending: -1,
            filter_subject: Part::subject(part, queue),
            ..pull::Config::default()
        };
        let consumer = stream.get_or_create_consumer(CONSUMER, config.clone()).await;
        let mut consumer: Consumer<pull::Config> = consumer.map_err(|error| self.link.failed(error))?;
        let found = consumer.cached_info().config.clone();
        let now = lease.unwrap_or(found.ack_wait);
        if now != found.ack_wait {
            // One that is paused stays so.
            let config = pull::Config { pause_until: found.pause_until, ..config };
            consumer = stream.create_consumer(config).await.map_err(|error| self.link.failed(error))?;
        }
        let created = known.created;
        self.note(part, queue, Known { consumer: Some((now, consumer.clone())), ..known });
        Ok((created, consumer))
    }

    /// A stream may be gone: it is looked for again.
    pub(super) fn forget(&self, part: Part, queue: &QueueName) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&(part, queue.clone()));
    }

    /// From now on the consumer of what may be delivered gives nothing, or something again.
    pub(super) async fn pause(&self, queue: &QueueName, paused: bool) -> Result<(), StoreError> {
        self.consumer(Part::Ready, queue, None).await?;
        let subject = format!("CONSUMER.PAUSE.{}.{CONSUMER}", Part::stream(Part::Ready, queue));
        let until = if paused { json!({ "pause_until": FOREVER }) } else { json!({}) };
        let answer: serde_json::Value =
            self.link.ask()?.request(subject, &until).await.map_err(|error| self.link.failed(error))?;
        match answer.pointer("/error/description").and_then(serde_json::Value::as_str) {
            Some(error) => Err(self.link.failed(error)),
            None => Ok(()),
        }
    }

    fn config(&self, part: Part, queue: &QueueName, limits: Option<QueueLimits>) -> Config {
        let bound = |most: u64| i64::try_from(most).unwrap_or(i64::MAX);
        Config {
            name: Part::stream(part, queue),
            subjects: vec![Part::subject(part, queue)],
            retention: RetentionPolicy::WorkQueue,
            discard: DiscardPolicy::New,
            storage: StorageType::File,
            num_replicas: self.replicas,
            max_messages: limits.map_or(-1, |limits| bound(limits.messages)),
            max_bytes: limits.map_or(-1, |limits| bound(limits.bytes)),
            duplicate_window: REMEMBERED,
            allow_atomic_publish: true,
            allow_direct: true,
            ..Config::default()
        }
    }

    fn known(&self, part: Part, queue: &QueueName) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.link.generation();
        known.get(&(part, queue.clone())).cloned().filter(|known| known.generation == generation)
    }

    fn note(&self, part: Part, queue: &QueueName, known: Known) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert((part, queue.clone()), known);
    }
}

/// Microseconds of what the client says in nanoseconds.
pub(super) fn micros(nanoseconds: i128) -> i64 {
    i64::try_from(nanoseconds / 1000).unwrap_or_default()
}

/// The same as a time.
pub(super) fn time(nanoseconds: i128) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}
