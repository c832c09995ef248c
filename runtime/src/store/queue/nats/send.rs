//! Messages on their way to the server.

use async_nats::jetstream::ErrorCode;
use async_nats::{HeaderMap, RequestErrorKind};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use super::Nats;
use super::streams::Part;
use super::wire::{self, Moved};
use crate::store::queue::model::{MessageId, NewMessage, QueueError, QueueLimits, QueueName};

/// The most messages that the server writes as a whole.
const LARGEST_BATCH: usize = 1000;

/// What the fields of a message take at most, besides its body.
const FIELDS: usize = 2048;

/// What the server says of what was published (its `pub ack`).
#[derive(Debug, Deserialize)]
struct Published {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    count: u64,
    error: Option<Refused>,
}

#[derive(Debug, Deserialize)]
struct Refused {
    err_code: ErrorCode,
    description: String,
}

/// Where and what.
type New = (HeaderMap, Bytes);

impl Nats {
    /// Puts messages into a queue and says how they are called; those that wait for their time, and the others, each as a whole.
    pub(super) async fn send(
        &self,
        queue: &QueueName,
        messages: Vec<NewMessage>,
        limits: QueueLimits,
    ) -> Result<Vec<MessageId>, QueueError> {
        let most = self.link.client().max_payload().saturating_sub(FIELDS);
        if let Some(large) = messages.iter().find(|message| message.body.len() > most) {
            let why =
                format!("a message has {} bytes, and the server takes {most} (its max_payload)", large.body.len());
            return Err(QueueError::TooLarge(why));
        }
        let now = Timestamp::now();
        let part = |message: &NewMessage| if message.delay.is_zero() { Part::Ready } else { Part::Later };
        let parts: Vec<_> = messages.iter().map(part).collect();
        let (mut ready, mut later) = (Vec::new(), Vec::new());
        for message in messages {
            let new = (wire::new(&message, now), Bytes::from(message.body));
            if message.delay.is_zero() { ready.push(new) } else { later.push(new) }
        }
        let mut later = self.put(Part::Later, queue, later, limits).await?.into_iter();
        let mut ready = self.put(Part::Ready, queue, ready, limits).await?.into_iter();
        let names = parts.into_iter().filter_map(|part| match part {
            Part::Ready => ready.next(),
            Part::Later => later.next(),
        });
        Ok(names.collect())
    }

    /// Puts messages into one stream.
    async fn put(
        &self,
        part: Part,
        queue: &QueueName,
        new: Vec<New>,
        limits: QueueLimits,
    ) -> Result<Vec<MessageId>, QueueError> {
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let known = self.streams.make(part, queue, Some(limits)).await?;
        let numbers = self.numbered((part, queue), new).await;
        if numbers.is_err() {
            // It may be gone: it is looked for before the next one.
            self.streams.forget(part, queue);
        }
        Ok(numbers?.into_iter().map(|number| wire::id(known.created, number)).collect())
    }

    /// The same; their numbers in the stream.
    async fn numbered(&self, (part, queue): (Part, &QueueName), new: Vec<New>) -> Result<Vec<u64>, QueueError> {
        let subject = Part::subject(part, queue);
        match new.len() {
            2..=LARGEST_BATCH => match self.batch(&subject, &new).await? {
                Ok(numbers) => Ok(numbers),
                // A key was sent before, or is there twice.
                Err(refused) if refused.err_code == ErrorCode::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE => {
                    self.one_by_one((part, queue), &subject, new).await
                }
                Err(refused) => Err(self.refused(refused, (part, queue)).await),
            },
            _ => self.one_by_one((part, queue), &subject, new).await,
        }
    }

    async fn one_by_one(
        &self,
        place: (Part, &QueueName),
        subject: &str,
        new: Vec<New>,
    ) -> Result<Vec<u64>, QueueError> {
        let mut numbers = Vec::with_capacity(new.len());
        for (headers, body) in new {
            let published = self.publish(subject, headers, body).await?;
            match published.error {
                None => numbers.push(published.seq),
                Some(refused) => return Err(self.refused(refused, place).await),
            }
        }
        Ok(numbers)
    }

    /// All of them or none, and which numbers they have.
    async fn batch(&self, subject: &str, new: &[New]) -> Result<Result<Vec<u64>, Refused>, QueueError> {
        // It is never closed.
        let _turn = self.batches.acquire().await;
        let (client, id) = (self.link.client(), Uuid::now_v7().to_string());
        let mut all = new.iter().enumerate().map(|(index, (headers, body))| {
            let mut headers = headers.clone();
            headers.insert("Nats-Batch-Id", id.as_str());
            headers.insert("Nats-Batch-Sequence", (index + 1).to_string());
            (headers, body.clone())
        });
        let last = all.next_back();
        for (headers, body) in all {
            let sent = client.publish_with_headers(subject.to_owned(), headers, body).await;
            sent.map_err(|error| self.failed(error))?;
        }
        let Some((mut headers, body)) = last else { return Ok(Ok(Vec::new())) };
        headers.insert("Nats-Batch-Commit", "1");
        let Published { seq, count, error } = self.publish(subject, headers, body).await?;
        match error {
            Some(refused) => Ok(Err(refused)),
            None if count == new.len() as u64 => Ok(Ok((seq + 1 - count..=seq).collect())),
            None => Err(self.failed(format!("it has written {count} of {} messages", new.len()))),
        }
    }

    /// Publishes one, and waits until it is written.
    async fn publish(&self, subject: &str, headers: HeaderMap, body: Bytes) -> Result<Published, QueueError> {
        self.link.ask()?;
        let answer = self.link.client().request_with_headers(subject.to_owned(), headers, body).await;
        let answer = answer.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => self.failed("the stream of the queue is gone"),
            _ => self.failed(error),
        })?;
        serde_json::from_slice(&answer.payload).map_err(|error| self.failed(error))
    }

    /// Why the server does not take a message.
    async fn refused(&self, refused: Refused, (part, queue): (Part, &QueueName)) -> QueueError {
        let full = [ErrorCode::STREAM_STORE_FAILED, ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM];
        let is_full = refused.description.starts_with("maximum ") && full.contains(&refused.err_code);
        match self.streams.info(part, queue).await {
            Ok(Some(info)) if is_full => QueueError::Full { messages: info.state.messages, bytes: info.state.bytes },
            Ok(_) => self.failed(refused.description),
            Err(error) => error.into(),
        }
    }

    /// Copies a message into a stream, once.
    pub(super) async fn transfer(&self, moved: &Moved<'_>, part: Part, into: &QueueName) -> Result<(), QueueError> {
        let body = Bytes::copy_from_slice(&moved.message.body);
        let published = self.publish(&Part::subject(part, into), moved.headers(), body).await?;
        match published.error {
            None => Ok(()),
            Some(refused) => Err(self.refused(refused, (part, into)).await),
        }
    }
}
