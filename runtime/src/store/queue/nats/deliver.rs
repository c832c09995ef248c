//! Messages that are out, and what became of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use futures_util::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use tokio::time::timeout;

use super::Nats;
use super::streams::{Part, time};
use super::wire::{self, Moved, Standing};
use crate::store::nats::ANSWER;
use crate::store::queue::model::{Delivery, Held, Lease, Message, QueueError, QueueName, Settled};

/// So many acknowledgements are on their way at a time.
const AT_ONCE: usize = 64;

/// A message that is out.
#[derive(Debug)]
pub(in crate::store::queue) struct Out {
    /// Where it is acknowledged; a message's deliveries have different ones.
    reply: String,
    stream: String,
    number: u64,
    delivered: u32,
    pub(super) came: Timestamp,
    /// For how long each word of it keeps it out.
    lease: Duration,
    until: Mutex<Instant>,
    is_settled: AtomicBool,
    message: Message,
}

impl PartialEq for Out {
    fn eq(&self, other: &Self) -> bool {
        self.reply == other.reply
    }
}

impl Eq for Out {}

impl Out {
    /// How its move is called, so that it is made once.
    pub(super) fn once(&self, what: &str) -> String {
        format!("{what}:{}:{}", self.stream, self.number)
    }

    /// How often it was given to anybody from its stream.
    pub(super) fn delivered(&self) -> u32 {
        self.delivered
    }

    fn until(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_out(&self) -> bool {
        !self.is_settled.load(Relaxed) && Instant::now() < *self.until()
    }
}

impl Nats {
    pub(super) async fn receive(&self, queue: &QueueName, delivery: Delivery) -> Result<Vec<Message>, QueueError> {
        let Delivery { messages, bytes, lease } = delivery;
        let mut out = self.pull(Part::Ready, queue, messages as usize, Some((bytes, lease))).await?;
        // A message that has more bytes than a batch is one by itself.
        if out.is_empty() {
            out = self.pull(Part::Ready, queue, 1, Some((u64::MAX, lease))).await?;
        }
        let leased = out.into_iter().map(|(message, out)| Message { lease: Some(Lease(Held::Nats(out))), ..message });
        Ok(leased.collect())
    }

    /// Takes what can be delivered now out of a stream, of so many bytes at most.
    pub(super) async fn pull(
        &self,
        part: Part,
        queue: &QueueName,
        most: usize,
        bounds: Option<(u64, Duration)>,
    ) -> Result<Vec<(Message, Arc<Out>)>, QueueError> {
        let (created, consumer) = self.streams.consumer(part, queue, bounds.map(|(_, lease)| lease)).await?;
        let lease = consumer.cached_info().config.ack_wait;
        let mut fetch = consumer.fetch().max_messages(most);
        if let Some((bytes, _)) = bounds.filter(|(bytes, _)| *bytes < u64::MAX) {
            fetch = fetch.max_bytes(usize::try_from(bytes).unwrap_or(usize::MAX));
        }
        let asked = Instant::now();
        let mut batch = match fetch.messages().await {
            Ok(batch) => batch,
            Err(error) => {
                self.streams.forget(part, queue);
                return Err(self.failed(error));
            }
        };
        let mut found = Vec::new();
        // What ends a batch before it is whole (the bytes, a consumer that has gone, a server that has) is seen by what comes next.
        while let Ok(Some(Ok(message))) = timeout(ANSWER, batch.next()).await {
            let (read, out) = self.read(created, (asked, lease), &message)?;
            found.push((read, Arc::new(out)));
        }
        Ok(found)
    }

    /// What a stream gave, asked at that time, for so long.
    pub(super) fn read(
        &self,
        created: i64,
        (asked, lease): (Instant, Duration),
        given: &jetstream::Message,
    ) -> Result<(Message, Out), QueueError> {
        let info = given.info().map_err(|error| self.failed(error))?;
        let delivered = u32::try_from(info.delivered).unwrap_or(u32::MAX);
        let (number, came) = (info.stream_sequence, time(info.published.unix_timestamp_nanos()));
        let standing = Standing { created, number, came, delivered };
        let message = wire::message(given.headers.as_ref(), &given.payload, standing);
        let out = Out {
            stream: info.stream.to_owned(),
            reply: given.reply.as_ref().map(ToString::to_string).unwrap_or_default(),
            number,
            delivered,
            came,
            lease,
            until: Mutex::new(asked + lease),
            is_settled: AtomicBool::new(false),
            message: message.clone(),
        };
        Ok((message, out))
    }

    pub(super) async fn settle(&self, queue: &QueueName, settled: Vec<(Lease, Settled)>) -> Result<usize, QueueError> {
        let all = settled.into_iter().map(|(lease, settled)| async move {
            match lease {
                Lease(Held::Nats(out)) if out.is_out() => {
                    self.settle_one(queue, &out, settled).await?;
                    out.is_settled.store(true, Relaxed);
                    Ok(true)
                }
                // What was settled before an error of another's is so.
                Lease(Held::Nats(out)) => Ok(out.is_settled.load(Relaxed)),
                Lease(_) => Ok(false),
            }
        });
        let done: Vec<Result<bool, QueueError>> = stream::iter(all).buffer_unordered(AT_ONCE).collect().await;
        let mut late = 0;
        for done in done {
            late += usize::from(!done?);
        }
        Ok(late)
    }

    async fn settle_one(&self, queue: &QueueName, out: &Out, settled: Settled) -> Result<(), QueueError> {
        let message = &out.message;
        match settled {
            Settled::Done => self.acknowledge(out).await,
            Settled::Again(after, reason) => {
                let due =
                    SignedDuration::try_from(after).ok().and_then(|after| Timestamp::now().checked_add(after).ok());
                let moved = Moved {
                    message,
                    attempts: message.attempts,
                    due: Some(due.unwrap_or(Timestamp::MAX)),
                    reason: Some(&reason),
                    once: format!("{}:{}", out.once("again"), out.delivered),
                };
                self.streams.make(Part::Later, queue, None).await?;
                match self.transfer(&moved, Part::Later, queue).await {
                    Ok(()) => self.acknowledge(out).await,
                    // It stays where it is, without the reason.
                    Err(QueueError::Full { .. }) => self.put_off(out, after).await,
                    Err(error) => Err(error),
                }
            }
            Settled::Dead(into, reason) => self.bury_one(message, out, &queue.beside(&into), &reason).await,
        }
    }

    /// Makes a dead letter of a message: it is in both queues for a moment.
    pub(super) async fn bury_one(
        &self,
        message: &Message,
        out: &Out,
        dead: &QueueName,
        reason: &str,
    ) -> Result<(), QueueError> {
        let moved = Moved { message, attempts: 0, due: None, reason: Some(reason), once: out.once("dead") };
        self.streams.make(Part::Ready, dead, None).await?;
        self.transfer(&moved, Part::Ready, dead).await?;
        self.acknowledge(out).await?;
        self.ring(dead).await;
        Ok(())
    }

    /// It is gone, and the server has said so.
    pub(super) async fn acknowledge(&self, out: &Out) -> Result<(), QueueError> {
        self.say(out, "+ACK").await
    }

    /// Whoever asks next has it.
    pub(super) async fn give_back(&self, out: &Out) -> Result<(), QueueError> {
        self.say(out, "-NAK").await
    }

    /// It comes again after so long.
    pub(super) async fn put_off(&self, out: &Out, by: Duration) -> Result<(), QueueError> {
        self.say(out, &format!("-NAK {{\"delay\": {}}}", by.as_nanos())).await
    }

    async fn say(&self, out: &Out, word: &str) -> Result<(), QueueError> {
        self.link.ask()?;
        let word = word.to_owned().into();
        self.link.client().request(out.reply.clone(), word).await.map_err(|error| self.failed(error))?;
        Ok(())
    }

    /// A lease of JetStream's goes on for its own length with each word; so words are said until it has gone on for long enough.
    pub(super) async fn extend(self: &Arc<Self>, lease: Lease, by: Duration) -> Result<bool, QueueError> {
        let Lease(Held::Nats(out)) = lease else { return Ok(false) };
        if !out.is_out() {
            return Ok(false);
        }
        self.say(&out, "+WPI").await?;
        let until = Instant::now() + by;
        let before = std::mem::replace(&mut *out.until(), until);
        *out.until() = until.max(before);
        if by > out.lease {
            let (nats, every) = (Arc::clone(self), out.lease / 3);
            self.link.spawn("lease", async move {
                while out.is_out() && Instant::now() < until {
                    tokio::time::sleep(every).await;
                    // If it cannot be said, the lease ends.
                    _ = nats.say(&out, "+WPI").await;
                }
            });
        }
        Ok(true)
    }
}
