//! Messages on a Redis server, which several nodes share: sorted sets of messages by when they are due, and scripts that change them.
//!
//! A stream of Redis would neither delay a message, nor give messages by when they are due, nor move one to another in the same step in
//! which it is acknowledged. A script does all that as a whole, so a message is always in one queue, and what is counted of a queue is
//! what it has.

mod link;
mod proof;
mod scripts;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use redis::{FromRedisValue, Script, ToRedisArgs};
use tokio::sync::watch;

use super::backend::Backend;
use super::changes::Changes;
use super::due::{self, Due};
use super::model::{
    Delivery, Held, Lease, Message, MessageId, NewMessage, QueueError, QueueLimits, QueueName, QueueStanding, Settled,
    Wanted,
};
use crate::config::Server;
use crate::store::error::StoreError;
use link::Link;
use scripts::{BURY, DUE, EXTEND, FORGET, PAUSE, PEEK, PURGE, RECEIVE, REDRIVE, SEND, SETTLE, STANDING};
use wire::{Found, Told, ago, later};

/// The workers that have queues.
const WORKERS: &str = "eyot:workers";

/// So many messages are moved or removed at a time: the server does nothing else meanwhile.
const AT_ONCE: u64 = 1000;

/// So long a key is remembered, in seconds.
const REMEMBERED: u64 = 24 * 60 * 60;

/// What a script is given that needs no more than to know whose queues it is about.
const NOTHING: &[&str] = &[];

/// Why a message is never delivered.
const BROKEN: &str = "its bytes are not what was written";

/// Queues on a server.
#[derive(Debug)]
pub(super) struct Redis {
    link: Link,
}

impl Redis {
    /// Connects, and hears from now on what other nodes send.
    pub(super) fn open(server: &Server, changes: Arc<Changes>) -> Result<Self, StoreError> {
        Ok(Self { link: Link::open(server, changes)? })
    }

    fn failed(&self, reason: impl std::fmt::Display) -> QueueError {
        self.link.failed(reason).into()
    }

    /// Runs a script on the queues of a worker.
    async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        worker: &str,
        given: impl ToRedisArgs,
    ) -> Result<T, QueueError> {
        let mut redis = self.link.ask()?.redis();
        let answer = script.key(place(worker)).arg(given).invoke_async(&mut redis).await;
        answer.map_err(|error| self.failed(error))
    }

    /// Sees to it that a worker is listed, before it has its first queue.
    async fn know(&self, worker: &Arc<str>) -> Result<(), QueueError> {
        self.link.ask()?.know(worker).await.map_err(|error| self.failed(error))
    }

    async fn standing_of(&self, worker: &str) -> Result<Vec<QueueStanding>, QueueError> {
        type Stands = (String, bool, u64, u64, Option<Vec<u8>>);
        let found: Vec<Stands> = self.run(&STANDING, worker, NOTHING).await?;
        let stands = found.into_iter().map(|(name, paused, messages, bytes, head)| QueueStanding {
            queue: QueueName { worker: worker.into(), name: name.into() },
            paused,
            messages,
            bytes,
            oldest: head.and_then(|head| wire::sent_at(&head)),
        });
        Ok(stands.collect())
    }

    /// Puts messages aside whose bytes are not what was written: they stay where they are, and hinder no other.
    async fn put_aside(&self, queue: &QueueName, broken: Vec<(Lease, Settled)>) -> Result<(), QueueError> {
        if !broken.is_empty() {
            tracing::error!(%queue, messages = broken.len(), "messages are kept and not delivered: {BROKEN}");
            self.settle(queue, broken).await?;
        }
        Ok(())
    }
}

/// The key that all of a worker's begin with. What stands in braces says to a cluster which of them are kept together.
fn place(worker: &str) -> String {
    format!("{{eyot:{worker}}}")
}

#[async_trait]
impl Backend for Redis {
    async fn send(
        &self,
        queue: &QueueName,
        messages: Vec<NewMessage>,
        limits: QueueLimits,
    ) -> Result<Vec<MessageId>, QueueError> {
        self.know(&queue.worker).await?;
        let now = now();
        let sent = messages.iter().map(|message| wire::sent(MessageId::fresh(), message, now));
        let sent = sent.collect::<Result<Vec<_>, _>>().map_err(|error| self.failed(error))?;
        let given = (&*queue.name, now.as_microsecond(), limits.messages, limits.bytes, REMEMBERED, sent);
        let (held, bytes, names): (u64, u64, Vec<String>) = self.run(&SEND, &queue.worker, given).await?;
        if names.len() < messages.len() {
            return Err(QueueError::Full { messages: held, bytes });
        }
        let named = |name: &String| MessageId::parse(name).ok_or_else(|| self.failed("a key names no message"));
        names.iter().map(named).collect()
    }

    async fn wait(
        &self,
        queue: &QueueName,
        wanted: Wanted,
        changes: &mut watch::Receiver<()>,
    ) -> Result<(), QueueError> {
        loop {
            changes.mark_unchanged();
            let given = (&*queue.name, now().as_microsecond(), wanted.messages);
            let (messages, bytes, first): (u32, u64, Option<f64>) = self.run(&DUE, &queue.worker, given).await?;
            // Scores are whole numbers, which fit.
            let first = first.and_then(|first| Timestamp::from_microsecond(first as i64).ok());
            let Some(wait) = (Due { messages, bytes, first }).wait(wanted, now()) else { return Ok(()) };
            due::rest(wait, changes).await;
        }
    }

    async fn receive(&self, queue: &QueueName, delivery: Delivery) -> Result<Vec<Message>, QueueError> {
        loop {
            let now = now();
            let over = later(now, delivery.lease);
            let given = (&*queue.name, now.as_microsecond(), delivery.messages, delivery.bytes, over);
            let (number, gone, told): (u64, u64, Vec<Told>) = self.run(&RECEIVE, &queue.worker, given).await?;
            if gone > 0 {
                tracing::error!(%queue, gone, "messages are gone that nobody was done with: somebody else removes keys");
            }
            let (mut whole, mut broken) = (Vec::with_capacity(told.len()), Vec::new());
            for Found { member, message, is_whole } in told.into_iter().map(wire::found) {
                let lease = Lease(Held::Redis { message: member.into(), number });
                match message.filter(|_| is_whole) {
                    Some(message) => whole.push(Message { lease: Some(lease), ..message }),
                    None => broken.push((lease, Settled::Again(Duration::MAX, BROKEN.to_owned()))),
                }
            }
            let is_all_broken = whole.is_empty() && !broken.is_empty();
            self.put_aside(queue, broken).await?;
            if !is_all_broken {
                return Ok(whole);
            }
        }
    }

    async fn settle(&self, queue: &QueueName, settled: Vec<(Lease, Settled)>) -> Result<usize, QueueError> {
        let now = now();
        let (mut of_others, mut given) = (0, Vec::with_capacity(settled.len()));
        for (lease, settled) in &settled {
            let Lease(Held::Redis { message, number }) = lease else {
                of_others += 1;
                continue;
            };
            let (what, into, reason) = match settled {
                Settled::Done => ("done", String::new(), ""),
                Settled::Again(after, reason) => ("again", later(now, *after).to_string(), &**reason),
                Settled::Dead(into, reason) => ("dead", into.to_string(), &**reason),
            };
            given.push((&**message, *number, what, into, reason));
        }
        let given = (&*queue.name, now.as_microsecond(), given);
        let late: usize = self.run(&SETTLE, &queue.worker, given).await?;
        Ok(late + of_others)
    }

    async fn extend(&self, queue: &QueueName, lease: Lease, by: Duration) -> Result<bool, QueueError> {
        let Lease(Held::Redis { message, number }) = lease else { return Ok(false) };
        let given = (&*queue.name, &*message, number, later(now(), by));
        self.run(&EXTEND, &queue.worker, given).await
    }

    async fn peek(&self, queue: &QueueName, most: u32) -> Result<Vec<Message>, QueueError> {
        let told: Vec<Told> = self.run(&PEEK, &queue.worker, (&*queue.name, most)).await?;
        Ok(told.into_iter().filter_map(|told| wire::found(told).message).collect())
    }

    async fn standing(&self, worker: Option<&str>) -> Result<Vec<QueueStanding>, QueueError> {
        let workers = match worker {
            Some(worker) => vec![worker.to_owned()],
            None => {
                let mut redis = self.link.ask()?.redis();
                let workers = redis::cmd("SMEMBERS").arg(WORKERS).query_async(&mut redis).await;
                workers.map_err(|error| self.failed(error))?
            }
        };
        let all = try_join_all(workers.iter().map(|worker| self.standing_of(worker))).await?;
        let mut all = all.concat();
        all.sort_by(|one, other| one.queue.cmp(&other.queue));
        Ok(all)
    }

    async fn redrive(&self, from: &QueueName, into: &QueueName) -> Result<u64, QueueError> {
        let mut all = 0;
        loop {
            let given = (&*from.name, &*into.name, now().as_microsecond(), AT_ONCE);
            let some: u64 = self.run(&REDRIVE, &from.worker, given).await?;
            all += some;
            if some < AT_ONCE {
                return Ok(all);
            }
        }
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64, QueueError> {
        let mut all = 0;
        loop {
            let some: u64 = self.run(&PURGE, &queue.worker, (&*queue.name, AT_ONCE)).await?;
            all += some;
            if some < AT_ONCE {
                return Ok(all);
            }
        }
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<(), QueueError> {
        self.know(&queue.worker).await?;
        self.run(&PAUSE, &queue.worker, (&*queue.name, u8::from(paused))).await
    }

    async fn bury(&self, queue: &QueueName, dead: &QueueName, retention: Duration) -> Result<u64, QueueError> {
        let (before, mut passed_over, mut all) = (ago(now(), retention), 0, 0);
        loop {
            let (from, into, now) = (&*queue.name, &*dead.name, now().as_microsecond());
            let given = (from, into, now, before, "nobody was done with it in time", passed_over, AT_ONCE);
            let (looked_at, buried): (u64, u64) = self.run(&BURY, &queue.worker, given).await?;
            passed_over += looked_at - buried;
            all += buried;
            if looked_at < AT_ONCE {
                return Ok(all);
            }
        }
    }

    async fn forget(&self, dead: &QueueName, retention: Duration) -> Result<u64, QueueError> {
        let (before, mut all) = (ago(now(), retention), 0);
        loop {
            let some: u64 = self.run(&FORGET, &dead.worker, (&*dead.name, before, AT_ONCE)).await?;
            all += some;
            if some < AT_ONCE {
                return Ok(all);
            }
        }
    }

    async fn forget_keys(&self) -> Result<u64, QueueError> {
        // They expire.
        Ok(0)
    }
}

fn now() -> Timestamp {
    Timestamp::now()
}
