//! Messages on their way to a stream.

use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode;
use bytes::Bytes;
use serde::Deserialize;
use uuid::Uuid;

use super::Link;
use crate::store::error::StoreError;

/// The most messages that the server writes as a whole.
pub(in crate::store) const LARGEST_BATCH: usize = 1000;

/// A message that is published.
#[derive(Clone, Debug)]
pub(in crate::store) struct New {
    pub(in crate::store) subject: String,
    pub(in crate::store) headers: HeaderMap,
    pub(in crate::store) body: Bytes,
}

impl New {
    /// It is published only where what stands last at its subject has this number, or where nothing does (0).
    pub(in crate::store) fn replacing(mut self, number: u64) -> Self {
        self.headers.insert("Nats-Expected-Last-Subject-Sequence", number.to_string());
        self
    }

    /// It is gone by itself after so many seconds.
    pub(in crate::store) fn for_seconds(mut self, seconds: u64) -> Self {
        self.headers.insert("Nats-TTL", format!("{seconds}s"));
        self
    }

    /// It takes the place of what was there, and the server writes down that this is gone. What goes by `max_msgs_per_subject` is not written
    /// down: after a crash the server finds it on its disk and, where what came later has expired or was deleted since, takes it for what
    /// stands there.
    pub(in crate::store) fn alone(mut self) -> Self {
        self.headers.insert("Nats-Rollup", "sub");
        self
    }
}

/// What the server says of what was published (its `pub ack`).
#[derive(Debug, Deserialize)]
struct Published {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    count: u64,
    error: Option<Refused>,
}

/// Why the server does not do something.
#[derive(Debug, Deserialize)]
pub(in crate::store) struct Refused {
    pub(in crate::store) err_code: ErrorCode,
    pub(in crate::store) description: String,
}

impl Refused {
    /// Nobody takes messages of this subject: the stream may be gone, or have nobody who leads it now.
    fn unanswered() -> Self {
        Self { err_code: ErrorCode::STREAM_NOT_FOUND, description: "no stream takes it".to_owned() }
    }

    /// There is no such stream, or it does not answer.
    pub(in crate::store) fn is_unanswered(&self) -> bool {
        self.err_code == ErrorCode::STREAM_NOT_FOUND
    }

    /// The stream has as much as it may have.
    pub(in crate::store) fn is_full(&self) -> bool {
        let full = [ErrorCode::STREAM_STORE_FAILED, ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM];
        self.description.starts_with("maximum ") && full.contains(&self.err_code)
    }

    /// Another message stands last at the subject than was expected.
    pub(in crate::store) fn is_overtaken(&self) -> bool {
        [ErrorCode::STREAM_WRONG_LAST_SEQUENCE, ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT].contains(&self.err_code)
    }
}

impl Link {
    /// Publishes one, waits until it is written, and says which number it has.
    pub(in crate::store) async fn publish(&self, new: New) -> Result<Result<u64, Refused>, StoreError> {
        let Published { seq, error, .. } = self.publish_and_hear(new).await?;
        Ok(error.map_or(Ok(seq), Err))
    }

    /// Publishes all of them or none, and says which numbers they have. There are two at least, and [`LARGEST_BATCH`] at most.
    pub(in crate::store) async fn publish_all(&self, new: Vec<New>) -> Result<Result<Vec<u64>, Refused>, StoreError> {
        // It is never closed.
        let _turn = self.batches.acquire().await;
        self.ask()?;
        let (all, id) = (new.len() as u64, Uuid::now_v7().to_string());
        let mut numbered = new.into_iter().enumerate().map(|(index, mut new)| {
            new.headers.insert("Nats-Batch-Id", id.as_str());
            new.headers.insert("Nats-Batch-Sequence", (index + 1).to_string());
            new
        });
        let last = numbered.next_back();
        for New { subject, headers, body } in numbered {
            let sent = self.client.publish_with_headers(subject, headers, body).await;
            sent.map_err(|error| self.failed(error))?;
        }
        let Some(mut last) = last else { return Ok(Ok(Vec::new())) };
        last.headers.insert("Nats-Batch-Commit", "1");
        let Published { seq, count, error } = self.publish_and_hear(last).await?;
        match error {
            Some(refused) => Ok(Err(refused)),
            None if count == all => Ok(Ok((seq + 1 - count..=seq).collect())),
            None => Err(self.failed(format!("it has written {count} of {all} messages"))),
        }
    }

    async fn publish_and_hear(&self, New { subject, headers, body }: New) -> Result<Published, StoreError> {
        match self.request(subject, headers, body).await? {
            Some(answer) => serde_json::from_slice(&answer.payload).map_err(|error| self.failed(error)),
            None => Ok(Published { seq: 0, count: 0, error: Some(Refused::unanswered()) }),
        }
    }
}
