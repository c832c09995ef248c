//! A message as Redis keeps it: what never changes of it stands in one field, its head.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::store::digest::Digest;
use crate::store::queue::model::{Message, MessageId, NewMessage};

/// The year 2200 begins: what is due then never is. Scores are exact up to 2^53 microseconds, 85 years later.
const NEVER: i64 = 7_258_118_400_000_000;

/// What never changes of a message, besides its bytes.
#[derive(Deserialize, Serialize)]
struct Head {
    id: String,
    /// In microseconds since 1970.
    sent: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    /// Of its bytes.
    digest: String,
}

/// A message as the scripts take it.
pub(super) type Sent<'a> = (String, i64, String, Vec<u8>, &'a [u8]);

/// A new message.
pub(super) fn sent<'a>(id: MessageId, message: &'a NewMessage, now: Timestamp) -> serde_json::Result<Sent<'a>> {
    let head = Head {
        id: id.to_string(),
        sent: now.as_microsecond(),
        content_type: message.content_type.clone(),
        trace: message.trace.clone(),
        digest: Digest::of(&message.body).to_string(),
    };
    // A key may be half as long as the message; what it is known by is not.
    let key = message.key.as_ref().map(|key| Digest::of(key.as_bytes()).to_string());
    let head = serde_json::to_vec(&head)?;
    Ok((id.to_string(), later(now, message.delay), key.unwrap_or_default(), head, &message.body))
}

/// A message as the scripts tell it: its member of the sorted sets, when it is due, head, body, deliveries, reason.
pub(super) type Told = (String, f64, Vec<u8>, Vec<u8>, u32, Option<String>);

/// A message as it was found.
pub(super) struct Found {
    /// Its member of the sorted sets.
    pub(super) member: String,
    /// `None` if its head cannot be read.
    pub(super) message: Option<Message>,
    /// Whether its bytes are what was written.
    pub(super) is_whole: bool,
}

pub(super) fn found((member, due, head, body, attempts, reason): Told) -> Found {
    let Some((id, sent, head)) = read(&head) else { return Found { member, message: None, is_whole: false } };
    let is_whole = Digest::of(&body).to_string() == head.digest;
    let Head { content_type, trace, .. } = head;
    // Scores are whole numbers, which fit.
    let due = Timestamp::from_microsecond(due as i64).unwrap_or(Timestamp::MAX);
    let message = Message { id, sent, body, content_type, trace, attempts, due, reason, lease: None };
    Found { member, message: Some(message), is_whole }
}

/// When a message was sent.
pub(super) fn sent_at(head: &[u8]) -> Option<Timestamp> {
    read(head).map(|(_, sent, _)| sent)
}

fn read(head: &[u8]) -> Option<(MessageId, Timestamp, Head)> {
    let head: Head = serde_json::from_slice(head).ok()?;
    Some((MessageId::parse(&head.id)?, Timestamp::from_microsecond(head.sent).ok()?, head))
}

/// In microseconds since 1970.
pub(super) fn later(now: Timestamp, by: Duration) -> i64 {
    let later = SignedDuration::try_from(by).ok().and_then(|by| now.checked_add(by).ok());
    later.map_or(NEVER, Timestamp::as_microsecond).min(NEVER)
}

/// In microseconds since 1970.
pub(super) fn ago(now: Timestamp, by: Duration) -> i64 {
    let ago = SignedDuration::try_from(by).ok().and_then(|by| now.checked_sub(by).ok());
    ago.map_or(0, Timestamp::as_microsecond).max(0)
}
