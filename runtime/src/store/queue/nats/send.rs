//! Messages on their way to the server.

use async_nats::jetstream::ErrorCode;
use bytes::Bytes;
use jiff::Timestamp;

use super::Nats;
use super::streams::Part;
use super::wire::{self, Moved};
use crate::store::nats::{LARGEST_BATCH, New, Refused};
use crate::store::queue::model::{MessageId, NewMessage, QueueError, QueueLimits, QueueName};

/// What the fields of a message take at most, besides its body.
const FIELDS: usize = 2048;

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
            let subject = Part::subject(part(&message), queue);
            let new = New { subject, headers: wire::new(&message, now), body: Bytes::from(message.body) };
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
        match new.len() {
            2..=LARGEST_BATCH => match self.link.publish_all(new.clone()).await? {
                Ok(numbers) => Ok(numbers),
                // A key was sent before, or is there twice.
                Err(refused) if refused.err_code == ErrorCode::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE => {
                    self.one_by_one((part, queue), new).await
                }
                Err(refused) => Err(self.refused(refused, (part, queue)).await),
            },
            _ => self.one_by_one((part, queue), new).await,
        }
    }

    async fn one_by_one(&self, place: (Part, &QueueName), new: Vec<New>) -> Result<Vec<u64>, QueueError> {
        let mut numbers = Vec::with_capacity(new.len());
        for new in new {
            match self.link.publish(new).await? {
                Ok(number) => numbers.push(number),
                Err(refused) => return Err(self.refused(refused, place).await),
            }
        }
        Ok(numbers)
    }

    /// Why the server does not take a message.
    async fn refused(&self, refused: Refused, (part, queue): (Part, &QueueName)) -> QueueError {
        match self.streams.info(part, queue).await {
            Ok(Some(info)) if refused.is_full() => {
                QueueError::Full { messages: info.state.messages, bytes: info.state.bytes }
            }
            Ok(_) => self.failed(refused.description),
            Err(error) => error.into(),
        }
    }

    /// Copies a message into a stream, once.
    pub(super) async fn transfer(&self, moved: &Moved<'_>, part: Part, into: &QueueName) -> Result<(), QueueError> {
        let body = Bytes::copy_from_slice(&moved.message.body);
        let copy = New { subject: Part::subject(part, into), headers: moved.headers(), body };
        match self.link.publish(copy).await? {
            Ok(_) => Ok(()),
            Err(refused) => Err(self.refused(refused, (part, into)).await),
        }
    }
}
