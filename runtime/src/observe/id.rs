//! Request ids: the client's when it sent a good one, else a fresh UUID of version 7, which sorts by time (RFC 9562 §5.7).

use std::fmt::{self, Debug, Display, Formatter};
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use uuid::Builder;
use uuid::fmt::Hyphenated;

/// The header that carries the id, in and out.
pub static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken over from a client.
pub const MAX_LENGTH: usize = 128;

/// The id of one request: 1 to 128 characters of `[A-Za-z0-9._~+/=:@-]`, so it is safe in every log and header. Held as a header's
/// value, since that is what becomes of it twice in each request.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// A new one that nobody else has.
    #[must_use]
    pub fn fresh() -> Self {
        Self::of(SystemTime::now())
    }

    /// A new one that nobody else has, for a request that came at this time.
    fn of(time: SystemTime) -> Self {
        // Not `Uuid::now_v7`: that keeps ids of one millisecond in order with a lock that all cores share.
        let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let [random @ .., _, _, _, _, _, _] = RandomIdGenerator::default().new_trace_id().to_bytes();
        let uuid = Builder::from_unix_timestamp_millis(u64::try_from(millis).unwrap_or_default(), &random).into_uuid();
        let mut text = [0; Hyphenated::LENGTH];
        // A UUID has only characters that a header may have, so this never takes the default.
        let value = HeaderValue::from_str(uuid.hyphenated().encode_lower(&mut text));
        Self(value.unwrap_or(HeaderValue::from_static("")))
    }

    /// Takes over the client's id; a missing, bad or repeated one is replaced by a fresh one of this time.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap, time: SystemTime) -> Self {
        let mut sent = headers.get_all(&X_REQUEST_ID).iter();
        match (sent.next(), sent.next()) {
            (Some(one), None) if is_good(one.as_bytes()) => Self(one.clone()),
            _ => Self::of(time),
        }
    }

    /// An id that someone else made, if it is a good one.
    #[cfg(test)]
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        is_good(bytes).then(|| HeaderValue::from_bytes(bytes).ok().map(Self)).flatten()
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII gets in, so this never takes the default.
        self.0.to_str().unwrap_or_default()
    }

    /// The id as the value of a header.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl Display for RequestId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Debug for RequestId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

fn is_good(bytes: &[u8]) -> bool {
    (1..=MAX_LENGTH).contains(&bytes.len()) && bytes.iter().all(|byte| is_allowed(*byte))
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._~+/=:@-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_good_id_of_the_client_is_taken_over() {
        for good in ["a", "ABC.def_1~2+3/4=5:6@7-8", &"x".repeat(128)] {
            let mut headers = HeaderMap::new();
            headers.insert(&X_REQUEST_ID, HeaderValue::from_str(good).unwrap());
            let id = RequestId::from_headers(&headers, SystemTime::now());
            assert_eq!(id.as_str(), good);
            assert_eq!(id.header_value(), good);
        }
    }

    #[test]
    fn an_id_that_is_empty_too_long_or_has_other_characters_is_replaced() {
        for bad in ["", &"x".repeat(129), "a b", "a\tb", "\"quoted\"", "ü", "a,b", "<script>", "a;b", "a\\b"] {
            let mut headers = HeaderMap::new();
            headers.insert(&X_REQUEST_ID, HeaderValue::from_bytes(bad.as_bytes()).unwrap());
            let id = RequestId::from_headers(&headers, SystemTime::now());
            assert_ne!(id.as_str(), bad);
            assert_eq!(Uuid::parse_str(id.as_str()).unwrap().get_version_num(), 7);
        }
    }

    #[test]
    fn an_id_that_was_sent_twice_is_replaced() {
        let mut headers = HeaderMap::new();
        headers.append(&X_REQUEST_ID, HeaderValue::from_static("one"));
        headers.append(&X_REQUEST_ID, HeaderValue::from_static("two"));
        assert_eq!(RequestId::from_headers(&headers, SystemTime::now()).as_str().len(), Hyphenated::LENGTH);
    }

    #[test]
    fn fresh_ids_differ_and_sort_by_the_millisecond() {
        let ids: Vec<_> = (0..1000).map(|_| RequestId::fresh().to_string()).collect();
        assert!(ids.windows(2).all(|pair| pair[0][..13] <= pair[1][..13]));
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 1000);
    }
}
