//! Messages on a NATS server, which several nodes share: streams of JetStream, from which a message is gone when it is done.
//!
//! What waits for its time has a stream of its own, and goes from there to the other when the time has come (`later`). A move is a copy
//! and then an acknowledgement, and the copy is made once however often it is tried: so a node that dies between the two loses nothing.

mod deliver;
mod later;
mod send;
mod streams;
#[cfg(test)]
mod tests;
mod wire;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use async_nats::jetstream::{ErrorCode, message::StreamMessage};
use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::sleep;

use super::backend::Backend;
use super::changes::Changes;
use super::model::{
    Delivery, Lease, Message, MessageId, NewMessage, QueueError, QueueLimits, QueueName, QueueStanding, Settled, Wanted,
};
use crate::config::Server;
use crate::store::error::StoreError;
use crate::store::nats::Link;
use later::Movers;
use streams::{Part, Streams, time};
use wire::Standing;

pub(super) use deliver::Out;

/// How often it is looked for messages of which nothing was heard: who sends tells all nodes, and that may be lost.
const LOOK: Duration = Duration::from_secs(5);

/// How often while somebody has messages out, whose leases may end.
const LEASES: Duration = Duration::from_secs(1);

/// So many messages are moved at a time.
const AT_ONCE: usize = 100;

/// Queues on a server.
#[derive(Debug)]
pub(super) struct Nats {
    link: Arc<Link>,
    streams: Streams,
    movers: Movers,
    changes: Arc<Changes>,
}

impl Nats {
    /// Connects, and hears from now on what other nodes send.
    pub(super) fn open(server: &Server, changes: Arc<Changes>) -> Result<Arc<Self>, StoreError> {
        let link = Link::open(server)?;
        let streams = Streams::new(Arc::clone(&link), server.replicas);
        let bells = Arc::clone(&changes);
        let client = link.client().clone();
        link.spawn("bells", async move {
            let Ok(mut heard) = client.subscribe("eyot.bell.*.*").await else { return };
            while let Some(bell) = heard.next().await {
                let mut words = bell.subject.as_str().split('.').skip(2);
                if let (Some(worker), Some(name)) = (words.next(), words.next()) {
                    bells.tell(&QueueName { worker: worker.into(), name: name.into() });
                }
            }
        });
        Ok(Arc::new(Self { link, streams, movers: Movers::default(), changes }))
    }

    /// Whoever waits for a queue, on any node, looks at it.
    async fn ring(&self, queue: &QueueName) {
        let bell = format!("eyot.bell.{}.{}", queue.worker, queue.name);
        // If it is not heard, it is looked for anyway.
        _ = self.link.client().publish(bell, Vec::new().into()).await;
    }

    fn failed(&self, reason: impl std::fmt::Display) -> QueueError {
        self.link.failed(reason).into()
    }

    async fn stream(&self, part: Part, queue: &QueueName) -> Result<Stream<()>, StoreError> {
        let stream = self.link.ask()?.get_stream_no_info(Part::stream(part, queue)).await;
        stream.map_err(|error| self.link.failed(error))
    }

    /// The first message of a stream from this number on, as it stands there.
    async fn first(
        &self,
        stream: &Stream<()>,
        (part, queue): (Part, &QueueName),
        from: u64,
    ) -> Result<Option<StreamMessage>, QueueError> {
        let subject = Part::subject(part, queue);
        match stream.raw_message_builder().sequence(from).next_by_subject(subject).send().await {
            Ok(message) => Ok(Some(message)),
            Err(error) => match error.kind() {
                RawMessageErrorKind::NoMessageFound => Ok(None),
                RawMessageErrorKind::JetStream(told) if told.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
                _ => Err(self.failed(error)),
            },
        }
    }

    /// Adds messages as they stand in a stream, until there are so many.
    async fn look(
        &self,
        (part, queue): (Part, &QueueName),
        found: &mut Vec<Message>,
        most: usize,
    ) -> Result<(), QueueError> {
        let Some(info) = self.streams.info(part, queue).await? else { return Ok(()) };
        let created = streams::micros(info.created.unix_timestamp_nanos());
        let stream = self.stream(part, queue).await?;
        let mut from = info.state.first_sequence;
        while found.len() < most {
            let Some(message) = self.first(&stream, (part, queue), from).await? else { break };
            let came = time(message.time.unix_timestamp_nanos());
            let standing = Standing { created, number: message.sequence, came, delivered: 0 };
            found.push(wire::message(Some(&message.headers), &message.payload, standing));
            from = message.sequence + 1;
        }
        Ok(())
    }

    /// Empties one of a queue's streams.
    async fn empty(&self, part: Part, queue: &QueueName) -> Result<u64, QueueError> {
        if self.streams.info(part, queue).await?.is_none() {
            return Ok(0);
        }
        let purged = self.stream(part, queue).await?.purge().await.map_err(|error| self.failed(error))?;
        Ok(purged.purged)
    }
}

#[async_trait]
impl Backend for Arc<Nats> {
    async fn send(
        &self,
        queue: &QueueName,
        messages: Vec<NewMessage>,
        limits: QueueLimits,
    ) -> Result<Vec<MessageId>, QueueError> {
        let sent = Nats::send(self, queue, messages, limits).await?;
        self.ring(queue).await;
        Ok(sent)
    }

    async fn wait(
        &self,
        queue: &QueueName,
        wanted: Wanted,
        changes: &mut watch::Receiver<()>,
    ) -> Result<(), QueueError> {
        later::move_for(self, queue);
        let mut since = None;
        loop {
            changes.mark_unchanged();
            let (_, mut consumer) = self.streams.consumer(Part::Ready, queue, None).await?;
            let info = consumer.info().await.map_err(|error| self.failed(error))?;
            let (pending, is_paused, out) = (info.num_pending, info.paused, info.num_ack_pending);
            let wait = match pending {
                _ if is_paused => LOOK,
                0 => {
                    since = None;
                    if out > 0 { LEASES } else { LOOK }
                }
                pending if pending >= u64::from(wanted.messages) => return Ok(()),
                _ => match wanted.wait.saturating_sub(since.get_or_insert_with(Instant::now).elapsed()) {
                    Duration::ZERO => return Ok(()),
                    wait => wait,
                },
            };
            let mut timer = pin!(sleep(wait.min(LOOK)));
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { timer.as_mut().await },
                // A lease that is over is seen by asking for what it was for.
                () = timer.as_mut() => if pending == 0 && out > 0 && !is_paused { return Ok(()) },
            }
        }
    }

    async fn receive(&self, queue: &QueueName, delivery: Delivery) -> Result<Vec<Message>, QueueError> {
        Nats::receive(self, queue, delivery).await
    }

    async fn settle(&self, queue: &QueueName, settled: Vec<(Lease, Settled)>) -> Result<usize, QueueError> {
        Nats::settle(self, queue, settled).await
    }

    async fn extend(&self, _: &QueueName, lease: Lease, by: Duration) -> Result<bool, QueueError> {
        Nats::extend(self, lease, by).await
    }

    async fn peek(&self, queue: &QueueName, most: u32) -> Result<Vec<Message>, QueueError> {
        let mut found = Vec::new();
        self.look((Part::Ready, queue), &mut found, most as usize).await?;
        self.look((Part::Later, queue), &mut found, most as usize).await?;
        Ok(found)
    }

    async fn standing(&self, worker: Option<&str>) -> Result<Vec<QueueStanding>, QueueError> {
        let mut streams = self.link.ask()?.streams();
        let mut found = std::collections::BTreeMap::<QueueName, QueueStanding>::new();
        while let Some(info) = streams.try_next().await.map_err(|error| self.failed(error))? {
            let Some((part, queue)) = Part::queue_of(&info.config.name) else { continue };
            if worker.is_some_and(|worker| *worker != *queue.worker) {
                continue;
            }
            let standing = found.entry(queue.clone()).or_insert(QueueStanding {
                queue,
                paused: false,
                messages: 0,
                bytes: 0,
                oldest: None,
            });
            standing.messages += info.state.messages;
            standing.bytes += info.state.bytes;
            if part == Part::Ready && info.state.messages > 0 {
                standing.oldest = Some(time(info.state.first_timestamp.unix_timestamp_nanos()));
            }
        }
        for standing in found.values_mut() {
            if self.streams.info(Part::Ready, &standing.queue).await?.is_some_and(|info| info.state.consumer_count > 0)
            {
                let (_, mut consumer) = self.streams.consumer(Part::Ready, &standing.queue, None).await?;
                standing.paused = consumer.info().await.map_err(|error| self.failed(error))?.paused;
            }
        }
        Ok(found.into_values().collect())
    }

    async fn redrive(&self, from: &QueueName, into: &QueueName) -> Result<u64, QueueError> {
        if self.streams.info(Part::Ready, from).await?.is_none() {
            return Ok(0);
        }
        self.streams.make(Part::Ready, into, None).await?;
        let mut moved = 0;
        loop {
            let out = self.pull(Part::Ready, from, AT_ONCE, None).await?;
            let count = out.len();
            for (message, out) in out {
                let what =
                    wire::Moved { message: &message, attempts: 0, due: None, reason: None, once: out.once("redriven") };
                self.transfer(&what, Part::Ready, into).await?;
                self.acknowledge(&out).await?;
                moved += 1;
            }
            if count < AT_ONCE {
                break;
            }
        }
        self.ring(into).await;
        Ok(moved)
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64, QueueError> {
        Ok(self.empty(Part::Ready, queue).await? + self.empty(Part::Later, queue).await?)
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<(), QueueError> {
        self.streams.pause(queue, paused).await?;
        self.ring(queue).await;
        Ok(())
    }

    async fn bury(&self, queue: &QueueName, dead: &QueueName, retention: Duration) -> Result<u64, QueueError> {
        let before = ago(retention);
        let mut buried = 0;
        loop {
            // Which messages are out is not told: as long as any is, the oldest may be it.
            let Some(info) = self.streams.info(Part::Ready, queue).await? else { return Ok(buried) };
            let is_old = time(info.state.first_timestamp.unix_timestamp_nanos()) < before;
            if info.state.messages == 0 || !is_old {
                return Ok(buried);
            }
            let (_, mut consumer) = self.streams.consumer(Part::Ready, queue, None).await?;
            if consumer.info().await.map_err(|error| self.failed(error))?.num_ack_pending > 0 {
                return Ok(buried);
            }
            let Some((message, out)) = self.pull(Part::Ready, queue, 1, None).await?.pop() else { return Ok(buried) };
            if out.came >= before {
                self.give_back(&out).await?;
                return Ok(buried);
            }
            self.bury_one(&message, &out, dead, "nobody was done with it in time").await?;
            buried += 1;
        }
    }

    async fn forget(&self, dead: &QueueName, retention: Duration) -> Result<u64, QueueError> {
        let Some(info) = self.streams.info(Part::Ready, dead).await? else { return Ok(0) };
        let (stream, before) = (self.stream(Part::Ready, dead).await?, ago(retention));
        let (mut from, mut gone) = (info.state.first_sequence, 0);
        while let Some(message) = self.first(&stream, (Part::Ready, dead), from).await? {
            if time(message.time.unix_timestamp_nanos()) >= before {
                break;
            }
            let deleted = stream.delete_message(message.sequence).await.map_err(|error| self.failed(error))?;
            gone += u64::from(deleted);
            from = message.sequence + 1;
        }
        Ok(gone)
    }

    async fn forget_keys(&self) -> Result<u64, QueueError> {
        Ok(0)
    }
}

fn ago(time: Duration) -> Timestamp {
    let ago = SignedDuration::try_from(time).ok().and_then(|time| Timestamp::now().checked_sub(time).ok());
    ago.unwrap_or(Timestamp::MIN)
}
