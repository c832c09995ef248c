//! A message as NATS carries it: its body, and the rest in header fields.

use async_nats::HeaderMap;
use async_nats::header::{HeaderValue, NATS_MESSAGE_ID};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::store::digest::Digest;
use crate::store::queue::model::{Message, MessageId, NewMessage};

const CONTENT_TYPE: &str = "Content-Type";
const TRACE: &str = "traceparent";
/// Of a message that was in another stream before: how it is called, when it was sent, how often it was delivered there, and why it is
/// here.
const ID: &str = "Eyot-Id";
const SENT: &str = "Eyot-Sent";
const ATTEMPTS: &str = "Eyot-Attempts";
const REASON: &str = "Eyot-Reason";
/// Of one that waits: for when.
const DUE: &str = "Eyot-Due";

/// A new message, as it is sent.
pub(super) fn new(message: &NewMessage, now: Timestamp) -> HeaderMap {
    let mut headers = HeaderMap::new();
    put(&mut headers, CONTENT_TYPE, message.content_type.as_deref());
    put(&mut headers, TRACE, message.trace.as_deref());
    // A key may have any bytes, and header fields may not.
    if let Some(key) = &message.key {
        once(&mut headers, &format!("key:{}", Digest::of(key.as_bytes())));
    }
    if !message.delay.is_zero() {
        let due = SignedDuration::try_from(message.delay).ok().and_then(|delay| now.checked_add(delay).ok());
        put(&mut headers, DUE, Some(&due.unwrap_or(Timestamp::MAX).to_string()));
    }
    headers
}

/// A message that goes from one stream to another.
pub(super) struct Moved<'a> {
    pub(super) message: &'a Message,
    /// How often it counts as delivered.
    pub(super) attempts: u32,
    /// When it may be delivered; at once, if nothing is said.
    pub(super) due: Option<Timestamp>,
    pub(super) reason: Option<&'a str>,
    /// The move: made twice, it is made once.
    pub(super) once: String,
}

impl Moved<'_> {
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let Message { id, sent, content_type, trace, .. } = self.message;
        put(&mut headers, ID, Some(&id.to_string()));
        put(&mut headers, SENT, Some(&sent.to_string()));
        put(&mut headers, CONTENT_TYPE, content_type.as_deref());
        put(&mut headers, TRACE, trace.as_deref());
        put(&mut headers, REASON, self.reason);
        put(&mut headers, DUE, self.due.map(|due| due.to_string()).as_deref());
        if self.attempts > 0 {
            put(&mut headers, ATTEMPTS, Some(&self.attempts.to_string()));
        }
        once(&mut headers, &self.once);
        headers
    }
}

/// Where a message stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// When its stream was made, in microseconds since 1970.
    pub(super) created: i64,
    /// Its number there.
    pub(super) number: u64,
    /// When it came there.
    pub(super) came: Timestamp,
    /// How often it was delivered from there.
    pub(super) delivered: u32,
}

/// A message as it was found.
pub(super) fn message(headers: Option<&HeaderMap>, body: &[u8], standing: Standing) -> Message {
    let get = |name: &'static str| headers.and_then(|headers| headers.get(name)).map(HeaderValue::as_str);
    let time = |name: &'static str| get(name).and_then(|text| text.parse::<Timestamp>().ok());
    let before = get(ATTEMPTS).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    Message {
        id: get(ID).and_then(MessageId::parse).unwrap_or_else(|| id(standing.created, standing.number)),
        sent: time(SENT).unwrap_or(standing.came),
        body: body.to_vec(),
        content_type: get(CONTENT_TYPE).map(str::to_owned),
        trace: get(TRACE).map(str::to_owned),
        attempts: before.saturating_add(standing.delivered),
        due: time(DUE).unwrap_or(standing.came),
        reason: get(REASON).map(str::to_owned),
        lease: None,
    }
}

/// How a message is called that has always been in one stream: who sends it again under its key learns its number there, and so the same
/// name.
pub(super) fn id(created: i64, number: u64) -> MessageId {
    let mut bytes = [0; 16];
    // Twelve bits further left, since four of them are the version's.
    bytes[..8].copy_from_slice(&((created as u64) << 12).to_be_bytes());
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    MessageId(Uuid::new_v8(bytes))
}

fn once(headers: &mut HeaderMap, what: &str) {
    headers.insert(NATS_MESSAGE_ID, what);
}

/// A field has one line.
fn put(headers: &mut HeaderMap, name: &'static str, value: Option<&str>) {
    if let Some(value) = value {
        let line = value.replace(char::is_control, " ");
        headers.insert(name, HeaderValue::from(line));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const STANDING: Standing =
        Standing { created: 1_790_000_000_000_000, number: 7, came: Timestamp::UNIX_EPOCH, delivered: 1 };

    #[test]
    fn what_is_sent_is_what_is_found_and_a_line_break_makes_no_field() {
        let sent = NewMessage {
            body: b"x".to_vec(),
            content_type: Some("text/plain\r\nEyot-Id: 1".to_owned()),
            delay: Duration::from_secs(1),
            key: Some("a\nb".to_owned()),
            trace: Some("00-1-2-01".to_owned()),
        };
        let headers = new(&sent, Timestamp::UNIX_EPOCH);
        let found = message(Some(&headers), b"x", STANDING);
        assert_eq!(found.content_type.as_deref(), Some("text/plain  Eyot-Id: 1"));
        assert_eq!((found.id, found.attempts), (id(STANDING.created, 7), 1));
        assert_eq!((found.due.as_second(), found.trace), (1, sent.trace));
    }

    #[test]
    fn a_message_that_was_moved_keeps_its_name_and_its_deliveries() {
        let first = message(None, b"x", STANDING);
        let moved = Moved { message: &first, attempts: 3, due: None, reason: Some("why"), once: "1".to_owned() };
        let found = message(Some(&moved.headers()), b"x", Standing { number: 9, ..STANDING });
        assert_eq!((found.id, found.attempts, found.reason.as_deref()), (first.id, 4, Some("why")));
        assert_ne!(id(STANDING.created, 7), id(STANDING.created, 8));
        assert_ne!(id(STANDING.created, 7), id(STANDING.created + 1000, 7));
    }
}
