//! `[[queue]]` of eyot.toml: a queue that a worker works off; and `sends`, the queues that it sends to.

use std::time::Duration;

use toml::Spanned;

use super::form;
use super::reader::{Key, Table, Wrong, key};
use super::units;

/// A queue whose messages a worker works off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// How the worker calls it.
    pub name: String,
    /// Other workers that may send to it. Its own worker always may.
    pub producers: Vec<String>,
    /// So many messages are delivered together at most.
    pub batch: u32,
    /// So many bytes of bodies, unless one message has more.
    pub batch_bytes: u64,
    /// So long a batch waits until it is full, from when its first message could be delivered.
    pub batch_wait: Duration,
    /// So many batches are worked off at once.
    pub concurrency: u32,
    /// So often a message is delivered before it is a dead letter.
    pub attempts: u32,
    /// How long a message waits after its first failed delivery; twice as long after each further one.
    pub retry: Duration,
    /// How long it waits at most.
    pub retry_max: Duration,
    /// How long a message that was delivered is nobody else's.
    pub lease: Duration,
    /// So long a message waits to be done before it is a dead letter, and so long a dead letter stays.
    pub retention: Duration,
    /// The queue of its dead letters.
    pub dead_letter: String,
}

/// A queue that a worker sends to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueAddress {
    /// The worker that works it off.
    pub worker: String,
    /// How that worker calls it.
    pub queue: String,
}

const NAME: Key = key("name", "a name", "\"mail\"");
const PRODUCERS: Key = key("producers", "a list of names of workers", "[\"shop\"]");
const BATCH: Key = key("batch", "a number of messages", "10");
const BATCH_BYTES: Key = key("batch_bytes", "a size", "\"1MiB\"");
const BATCH_WAIT: Key = key("batch_wait", "a time", "\"1s\"");
const CONCURRENCY: Key = key("concurrency", "a number of batches", "1");
const ATTEMPTS: Key = key("attempts", "a number of deliveries", "5");
const RETRY: Key = key("retry", "a time", "\"1s\"");
const RETRY_MAX: Key = key("retry_max", "a time", "\"15m\"");
const LEASE: Key = key("lease", "a time", "\"60s\"");
const RETENTION: Key = key("retention", "a time", "\"4d\"");
const DEAD_LETTER: Key = key("dead_letter", "a name", "\"mail-dead\"");
const SENDS: Key = key("sends", "a list of queues", "[\"mailer/mail\"]");

/// A batch is in memory as a whole.
const LARGEST_BATCH: (u32, u64) = (1000, 16 << 20);
const MOST_BATCHES: u32 = 64;
const MOST_ATTEMPTS: u32 = 1000;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Queue {
    /// One of this name that says nothing else.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            producers: Vec::new(),
            batch: 10,
            batch_bytes: 1 << 20,
            batch_wait: Duration::ZERO,
            concurrency: 1,
            attempts: 5,
            retry: SECOND,
            retry_max: HOUR / 4,
            lease: 60 * SECOND,
            retention: 4 * DAY,
            dead_letter: format!("{name}-dead"),
            name,
        }
    }
}

/// All queues that a worker works off, each name once.
pub(super) fn read_queues(root: &Table<'_>) -> Vec<Queue> {
    let mut queues: Vec<Queue> = Vec::new();
    for table in root.tables("queue") {
        let Some((name, queue)) = read_queue(&table) else { continue };
        match queues.iter().any(|other| other.name == queue.name) {
            true => {
                let message = format!("there are two [[queue]] with the name `{}`", queue.name);
                table.source.fault(name, message, "give one of them another name");
            }
            false => queues.push(queue),
        }
    }
    queues
}

fn read_queue(table: &Table<'_>) -> Option<(std::ops::Range<usize>, Queue)> {
    let name = table.required_with(NAME, form::name);
    let producers = table.list_with(PRODUCERS, form::name).unwrap_or_default();
    let batch = table.count(BATCH, 1..=LARGEST_BATCH.0);
    let bytes = table.optional_with(BATCH_BYTES, |text| match units::bytes(text)? {
        bytes if (1..=LARGEST_BATCH.1).contains(&bytes) => Ok(bytes),
        _ => Err(Wrong::new("a batch has 1 byte to 16 MiB", "write, for example, \"1MiB\"")),
    });
    let wait = table.optional_with(BATCH_WAIT, within(Duration::ZERO, HOUR));
    let concurrency = table.count(CONCURRENCY, 1..=MOST_BATCHES);
    let attempts = table.count(ATTEMPTS, 1..=MOST_ATTEMPTS);
    let retry = table.optional_with(RETRY, within(Duration::from_millis(1), DAY));
    let retry_max = table.optional_with(RETRY_MAX, within(Duration::from_millis(1), DAY));
    let lease = table.optional_with(LEASE, within(SECOND, 12 * HOUR));
    let retention = table.optional_with(RETENTION, within(SECOND, 366 * DAY));
    let dead_letter = table.optional_with(DEAD_LETTER, form::name);
    let name = name?;
    let default = Queue::named(name.get_ref().clone());
    if let Some(dead) = &dead_letter
        && dead.get_ref() == name.get_ref()
    {
        let help = "give its dead letters a queue of their own, or leave `dead_letter` out";
        table.source.fault(dead.span(), "a queue cannot be that of its own dead letters", help);
    }
    let retry = retry.map_or(default.retry, Spanned::into_inner);
    if let Some(most) = &retry_max
        && *most.get_ref() < retry
    {
        let message = format!("`retry_max` is less than `retry`, {}", units::show_time(retry));
        table.source.fault(most.span(), message, "the first wait is the shortest: raise `retry_max`, or lower `retry`");
    }
    let queue = Queue {
        producers: producers.into_iter().map(Spanned::into_inner).collect(),
        batch: batch.unwrap_or(default.batch),
        batch_bytes: bytes.map_or(default.batch_bytes, Spanned::into_inner),
        batch_wait: wait.map_or(default.batch_wait, Spanned::into_inner),
        concurrency: concurrency.unwrap_or(default.concurrency),
        attempts: attempts.unwrap_or(default.attempts),
        retry,
        retry_max: retry_max.map_or(default.retry_max.max(retry), Spanned::into_inner),
        lease: lease.map_or(default.lease, Spanned::into_inner),
        retention: retention.map_or(default.retention, Spanned::into_inner),
        dead_letter: dead_letter.map_or(default.dead_letter, Spanned::into_inner),
        name: default.name,
    };
    Some((name.span(), queue))
}

/// Each queue that the worker sends to, once.
pub(super) fn read_sends(root: &Table<'_>) -> Vec<QueueAddress> {
    root.list_once(SENDS, address)
}

fn address(text: &str) -> Result<QueueAddress, Wrong> {
    let help = "write the worker that works it off and its name, \"mailer/mail\"";
    let (worker, queue) = text.split_once('/').ok_or_else(|| Wrong::new("it names no worker", help))?;
    Ok(QueueAddress { worker: form::name(worker)?, queue: form::name(queue)? })
}

fn within(least: Duration, most: Duration) -> impl Fn(&str) -> Result<Duration, Wrong> {
    move |text| match units::time(text)? {
        time if (least..=most).contains(&time) => Ok(time),
        _ => {
            let why = format!("it is from {} to {}", units::show_time(least), units::show_time(most));
            Err(Wrong::new(why, "write a time within that, such as \"30s\""))
        }
    }
}
