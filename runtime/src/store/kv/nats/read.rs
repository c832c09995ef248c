//! What stands in a stream.
//!
//! Where a stream stands on one server, it is asked directly. Of several, any would answer a direct question, also one that has not heard of
//! the last write yet: so the one that leads is asked, for one message after the other.

use std::collections::HashMap;

use async_nats::header::{HeaderValue, NATS_SEQUENCE, NATS_SUBJECT};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{RawMessageError, RawMessageErrorKind, Stream};
use async_nats::{HeaderMap, Message, StatusCode};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Nats, names, wire};
use crate::store::error::StoreError;
use crate::store::kv::model::{Entry, Namespace};

/// So many bytes the server sends for one question, and so many questions it answers at a time: it ends a connection that has not taken
/// 64 MiB yet.
const PIECE: u64 = 4 << 20;
pub(super) const PIECES: usize = 4;

/// So many names stand in one question, for the server answers no more than 1,024, and so many bytes of them: it is a message, too.
const NAMES: usize = 1000;
const NAME_BYTES: usize = 512 << 10;

/// So often it is asked again for what was in flux.
const TRIES: u32 = 8;

/// So many questions are on their way to the server that leads.
const AT_ONCE: usize = 16;

/// A message as it stands there.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) subject: String,
    pub(super) number: u64,
    pub(super) headers: HeaderMap,
    pub(super) value: Bytes,
}

/// What stands last at subjects.
pub(super) type Last = HashMap<String, Found>;

impl Found {
    fn bytes(&self) -> u64 {
        self.value.len() as u64
    }
}

impl Nats {
    /// What a message says that stands there, if anything does.
    pub(super) fn entry_of(&self, found: &Found) -> Result<Option<Entry>, StoreError> {
        self.entry_with(found, &found.value)
    }

    /// The same without its value.
    pub(super) fn head_of(&self, found: &Found) -> Result<Option<Entry>, StoreError> {
        self.entry_with(found, &[])
    }

    fn entry_with(&self, found: &Found, value: &[u8]) -> Result<Option<Entry>, StoreError> {
        let entry = wire::entry(&found.headers, value, found.number, Timestamp::now());
        entry.map_err(|why| self.link.failed(format!("message {} of {}: {why}", found.number, found.subject)))
    }

    /// What stands last at a subject.
    pub(super) async fn last(&self, worker: &str, subject: &str) -> Result<Option<Found>, StoreError> {
        if self.asks_leader {
            return self.last_by_leader(&self.stream(worker).await?, subject).await;
        }
        let question = format!("$JS.API.DIRECT.GET.{}.{subject}", names::stream(worker));
        let Some(answer) = self.link.request(question, HeaderMap::new(), Bytes::new()).await? else {
            return self.streams.is_missing(worker).await.map(|()| None);
        };
        match answer.status {
            None => self.found(answer).map(Some),
            Some(StatusCode::NOT_FOUND) => Ok(None),
            Some(_) => Err(self.unclear(&answer)),
        }
    }

    /// What stands last at some subjects, at one moment where their names fit into one question; or more bytes of that than so many, and how
    /// many those are.
    pub(super) async fn last_of(
        &self,
        worker: &str,
        subjects: &[String],
        most: u64,
    ) -> Result<Result<Last, u64>, StoreError> {
        let (mut last, mut rest) = (Last::new(), subjects);
        while !rest.is_empty() {
            let mut bytes = 0;
            let fit = rest.iter().take(NAMES).take_while(|subject| {
                bytes += subject.len() + 4;
                bytes <= NAME_BYTES
            });
            let (some, behind) = rest.split_at(fit.count());
            rest = behind;
            let left = most.saturating_sub(bytes_of(&last));
            last.extend(match self.asks_leader {
                true => self.each_by_leader(worker, some, left).await?,
                false => self.at_one_moment(worker, some, left).await?,
            });
            if bytes_of(&last) > most {
                return Ok(Err(bytes_of(&last)));
            }
        }
        Ok(Ok(last))
    }

    async fn at_one_moment(&self, worker: &str, subjects: &[String], most: u64) -> Result<Last, StoreError> {
        for _ in 0..TRIES {
            if let Some(found) = self.piece_by_piece(worker, subjects, most).await? {
                return Ok(found);
            }
        }
        Err(self.link.failed("what is asked for changes all the time"))
    }

    /// What stands there, piece by piece, until there is more than so many bytes; `None` where something was overwritten between two
    /// pieces.
    async fn piece_by_piece(&self, worker: &str, subjects: &[String], most: u64) -> Result<Option<Last>, StoreError> {
        let question = format!("$JS.API.DIRECT.GET.{}", names::stream(worker));
        let (mut found, mut bytes, mut from, mut up_to) = (Last::new(), 0, 0, 0);
        let mut pending = None;
        loop {
            let asked = json!({ "multi_last": subjects, "max_bytes": PIECE, "seq": from, "up_to_seq": up_to });
            let Some((messages, end)) = self.gather(question.clone(), &asked).await? else {
                return self.streams.is_missing(worker).await.map(|()| Some(found));
            };
            let says = |name: &str| end.headers.as_ref()?.get(name)?.as_str().parse::<u64>().ok();
            let behind = match (end.status.as_ref().map(StatusCode::as_u16), end.description.as_deref()) {
                (Some(204), _) => says("Nats-Num-Pending").unwrap_or(0),
                (Some(404), Some("No Results")) => 0,
                // It has expired in this moment.
                (Some(404), _) => return Ok(None),
                _ => return Err(self.unclear(&end)),
            };
            if pending.is_some_and(|pending| pending != messages.len() as u64 + behind) {
                return Ok(None);
            }
            for message in messages {
                let message = self.found(message)?;
                bytes += message.bytes();
                from = message.number + 1;
                found.insert(message.subject.clone(), message);
            }
            if behind == 0 || bytes > most {
                return Ok(Some(found));
            }
            (pending, up_to) = (Some(behind), says("Nats-UpTo-Sequence").unwrap_or(up_to));
        }
    }

    async fn each_by_leader(&self, worker: &str, subjects: &[String], most: u64) -> Result<Last, StoreError> {
        let stream = &self.stream(worker).await?;
        let ask = |subject: &String| {
            let subject = subject.clone();
            async move { self.last_by_leader(stream, &subject).await }
        };
        let mut answers = stream::iter(subjects.iter().map(ask)).buffer_unordered(AT_ONCE);
        let (mut last, mut bytes) = (Last::new(), 0);
        while let Some(found) = answers.try_next().await? {
            let Some(found) = found else { continue };
            bytes += found.bytes();
            last.insert(found.subject.clone(), found);
            if bytes > most {
                break;
            }
        }
        Ok(last)
    }

    /// The messages of a namespace from a number on, so many at most and of not much more than [`PIECE`] together; and whether there are
    /// more.
    pub(super) async fn next(
        &self,
        namespace: &Namespace,
        from: u64,
        most: usize,
    ) -> Result<(Vec<Found>, bool), StoreError> {
        let filter = names::of_namespace(namespace);
        if self.asks_leader {
            return self.next_by_leader(&namespace.worker, &filter, from, most).await;
        }
        let asked = json!({ "seq": from, "next_by_subj": filter, "batch": most, "max_bytes": PIECE });
        let question = format!("$JS.API.DIRECT.GET.{}", names::stream(&namespace.worker));
        let Some((messages, end)) = self.gather(question, &asked).await? else {
            return self.streams.is_missing(&namespace.worker).await.map(|()| (Vec::new(), false));
        };
        let pending = end.headers.as_ref().and_then(|headers| headers.get("Nats-Num-Pending"));
        let is_more = match end.status.as_ref().map(StatusCode::as_u16) {
            Some(204) => pending.is_some_and(|pending| pending.as_str() != "0"),
            Some(404) => false,
            _ => return Err(self.unclear(&end)),
        };
        let found: Result<Vec<_>, _> = messages.into_iter().map(|message| self.found(message)).collect();
        Ok((found?, is_more))
    }

    async fn next_by_leader(
        &self,
        worker: &str,
        filter: &str,
        mut from: u64,
        most: usize,
    ) -> Result<(Vec<Found>, bool), StoreError> {
        let (stream, mut found, mut bytes) = (self.stream(worker).await?, Vec::new(), 0);
        while found.len() < most && bytes < PIECE {
            let asked = stream.raw_message_builder().sequence(from).next_by_subject(filter).send().await;
            let Some(message) = self.raw(asked)? else { return Ok((found, false)) };
            bytes += message.bytes();
            from = message.number + 1;
            found.push(message);
        }
        Ok((found, true))
    }

    async fn last_by_leader(&self, stream: &Stream<()>, subject: &str) -> Result<Option<Found>, StoreError> {
        self.raw(stream.raw_message_builder().last_by_subject(subject).send().await)
    }

    async fn gather(&self, question: String, asked: &Value) -> Result<Option<(Vec<Message>, Message)>, StoreError> {
        // It is never closed.
        let _turn = self.pieces.acquire().await;
        self.link.gather(question, asked.to_string().into()).await
    }

    async fn stream(&self, worker: &str) -> Result<Stream<()>, StoreError> {
        let stream = self.link.ask()?.get_stream_no_info(names::stream(worker)).await;
        stream.map_err(|error| self.link.failed(error))
    }

    fn raw(&self, answer: Result<StreamMessage, RawMessageError>) -> Result<Option<Found>, StoreError> {
        match answer {
            Ok(StreamMessage { subject, sequence, headers, payload, .. }) => {
                Ok(Some(Found { subject: subject.to_string(), number: sequence, headers, value: payload }))
            }
            Err(error) => match error.kind() {
                RawMessageErrorKind::NoMessageFound => Ok(None),
                RawMessageErrorKind::JetStream(told) if told.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
                _ => Err(self.link.failed(error)),
            },
        }
    }

    fn found(&self, Message { headers, payload, .. }: Message) -> Result<Found, StoreError> {
        let headers = headers.unwrap_or_default();
        // What the server adds stands behind what was written.
        let subject = headers.get_last(NATS_SUBJECT).map(ToString::to_string);
        let number = headers.get_last(NATS_SEQUENCE).map(HeaderValue::as_str).and_then(|number| number.parse().ok());
        match (subject, number) {
            (Some(subject), Some(number)) => Ok(Found { subject, number, headers, value: payload }),
            _ => Err(self.link.failed("a message has neither subject nor number")),
        }
    }

    fn unclear(&self, answer: &Message) -> StoreError {
        self.link.failed(answer.description.as_deref().unwrap_or("its answer is not clear"))
    }
}

fn bytes_of(last: &Last) -> u64 {
    last.values().map(Found::bytes).sum()
}
