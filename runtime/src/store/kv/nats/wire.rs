//! An entry as NATS carries it: its value, and the rest in header fields, none of which has a character that could end it.

use async_nats::HeaderMap;
use async_nats::header::HeaderValue;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use jiff::Timestamp;

use crate::store::kv::model::{Entry, Put};
use crate::store::nats::New;

/// When it is gone, in microseconds since 1970. The server's own time to live has whole seconds, and only clears away.
const EXPIRES: &str = "Eyot-Expires";
const METADATA: &str = "Eyot-Metadata";
/// Nothing stands there: what was there is deleted.
const GONE: &str = "Eyot-Gone";

/// What lasts longer than this is kept by the server until it is deleted: its clock counts nanoseconds in 63 bits.
const LONGEST: i64 = 100 * 365 * 24 * 60 * 60;

/// What is published for a value.
pub(super) fn value(subject: String, put: &Put, now: Timestamp) -> New {
    let mut new = New { subject, headers: HeaderMap::new(), body: Bytes::copy_from_slice(&put.value) }.alone();
    if let Some(metadata) = &put.metadata {
        new.headers.insert(METADATA, BASE64_STANDARD.encode(metadata));
    }
    let Some(expires) = put.expires else { return new };
    new.headers.insert(EXPIRES, expires.as_microsecond().to_string());
    // A second later at least: its seconds are whole, and its clock need not go as ours does.
    match expires.duration_since(now).as_secs().saturating_add(2).max(1) {
        LONGEST.. => new,
        seconds => new.for_seconds(seconds.unsigned_abs()),
    }
}

/// What says that nothing stands there. It is gone by itself, with what was there before.
pub(super) fn gone(subject: String) -> New {
    let mut new = New { subject, headers: HeaderMap::new(), body: Bytes::new() }.alone().for_seconds(1);
    new.headers.insert(GONE, "1");
    new
}

/// What the fields take of a message.
pub(super) fn size_of(headers: &HeaderMap) -> usize {
    let field = |(name, values): (&async_nats::header::HeaderName, &Vec<HeaderValue>)| {
        let name: &str = name.as_ref();
        values.iter().map(|value| name.len() + value.as_str().len() + 4).sum::<usize>()
    };
    "NATS/1.0\r\n\r\n".len() + headers.iter().map(field).sum::<usize>()
}

/// What a message says that stands there, if anything does at this time; an error where it is not as it was written.
pub(super) fn entry(
    headers: &HeaderMap,
    value: &[u8],
    number: u64,
    now: Timestamp,
) -> Result<Option<Entry>, &'static str> {
    let get = |name: &'static str| headers.get(name).map(HeaderValue::as_str);
    if get(GONE).is_some() {
        return Ok(None);
    }
    let time = |text: &str| Timestamp::from_microsecond(text.parse().ok()?).ok();
    let expires = get(EXPIRES).map(|text| time(text).ok_or("its time is none")).transpose()?;
    if expires.is_some_and(|expires| expires <= now) {
        return Ok(None);
    }
    let text = |text: &str| String::from_utf8(BASE64_STANDARD.decode(text).ok()?).ok();
    let metadata = get(METADATA).map(|found| text(found).ok_or("its metadata is no text")).transpose()?;
    Ok(Some(Entry { value: value.to_vec(), metadata, expires, revision: number }))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn what_is_written_is_what_is_found_and_a_line_break_makes_no_field() {
        let expires = NOW + SignedDuration::from_millis(1500);
        let put = Put {
            metadata: Some("blue\r\nEyot-Gone: 1\r\n\r\n\u{0}é".to_owned()),
            expires: Some(expires),
            ..Put::new("a", b"x".to_vec())
        };
        let headers = value("a".to_owned(), &put, NOW).headers;
        let written: Vec<_> = headers.iter().flat_map(|(_, values)| values).map(HeaderValue::as_str).collect();
        assert!(written.iter().all(|value| value.bytes().all(|byte| byte.is_ascii_graphic())), "{written:?}");
        let found = entry(&headers, b"x", 7, NOW).unwrap().unwrap();
        assert_eq!((found.metadata, found.expires, found.revision), (put.metadata, put.expires, 7));
        assert_eq!(entry(&headers, b"x", 7, expires), Ok(None));
        assert_eq!(headers.get("Nats-TTL").unwrap().as_str(), "3s");
    }

    #[test]
    fn what_expires_in_many_years_or_has_expired_has_no_time_that_the_server_cannot_count() {
        let ttl = |expires| {
            let put = Put { expires: Some(expires), ..Put::new("a", "x") };
            let headers = value("a".to_owned(), &put, NOW).headers;
            headers.get("Nats-TTL").map(|ttl| ttl.as_str().to_owned())
        };
        assert_eq!(ttl(Timestamp::MAX), None);
        assert_eq!(ttl(Timestamp::MIN).as_deref(), Some("1s"));
        assert_eq!(entry(&gone("a".to_owned()).headers, b"", 1, NOW), Ok(None));
    }
}
