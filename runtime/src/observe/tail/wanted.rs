//! What a tail wants to see. All of it is asked on the core that has it, before anything is written.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::RangeInclusive;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::observe::{Record, RequestId};

/// Whether what belongs to this worker, or to none, may be seen and is wanted.
pub type Workers = Box<dyn Fn(Option<&str>) -> bool + Send + Sync>;

/// What a tail wants to see. Of several values of a filter one has to fit, of several filters all.
pub struct Wanted {
    /// Of which workers.
    pub workers: Workers,
    /// Requests that were answered so. None: however they were.
    pub statuses: Vec<Statuses>,
    /// Requests of these methods. None: of any.
    pub methods: Vec<Method>,
    /// Requests with all of these fields, as the client sent them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What path or line contains.
    pub search: Option<String>,
    /// How many of all requests.
    pub sample: Sample,
}

/// A status, or all that begin with a digit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(RangeInclusive<u16>);

/// A part of all requests, each with its lines or not at all. Which of them is decided by their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample(Option<u64>);

/// Nothing could be wanted by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotWanted {
    /// Of a status.
    #[error("this is no status; write `404`, or `5xx` for all from 500 to 599")]
    Status,
    /// Of a sample.
    #[error("this is no part of all requests; write a number from 0 to 1, such as 0.1 for a tenth")]
    Sample,
}

impl Statuses {
    /// `404` or `5xx`.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self, NotWanted> {
        match text.as_bytes() {
            [digit @ b'1'..=b'5', b'x' | b'X', b'x' | b'X'] => {
                let first = u16::from(digit - b'0') * 100;
                Ok(Self(first..=first + 99))
            }
            [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9'] => {
                let status = text.parse().map_err(|_| NotWanted::Status)?;
                Ok(Self(status..=status))
            }
            _ => Err(NotWanted::Status),
        }
    }
}

impl Sample {
    /// All of them.
    pub const ALL: Self = Self(None);

    /// A rate from 0 to 1.
    ///
    /// # Errors
    /// It is none.
    pub fn of(rate: f64) -> Result<Self, NotWanted> {
        match rate {
            1.0 => Ok(Self::ALL),
            // Rounded down to what a u64 can be.
            _ if (0.0..1.0).contains(&rate) => Ok(Self(Some((rate * u64::MAX as f64) as u64))),
            _ => Err(NotWanted::Sample),
        }
    }

    pub(super) fn has(self, request: &RequestId) -> bool {
        self.0.is_none_or(|bound| {
            let mut hasher = DefaultHasher::new();
            request.as_str().hash(&mut hasher);
            hasher.finish() < bound
        })
    }
}

impl Wanted {
    pub(super) fn asks_for_headers(&self) -> bool {
        !self.headers.is_empty()
    }

    /// Whether a request is wanted. Who has asked for a field when the head had gone does not see it.
    pub(super) fn request(&self, record: &Record<'_>, headers: Option<&HeaderMap>) -> bool {
        let has = |(name, value): &(HeaderName, HeaderValue)| {
            headers.is_some_and(|headers| headers.get_all(name).iter().any(|found| found == value))
        };
        (self.statuses.is_empty() || self.statuses.iter().any(|Statuses(range)| range.contains(&record.status)))
            && (self.methods.is_empty() || self.methods.iter().any(|method| method == record.method))
            && (self.workers)(record.worker)
            && self.sample.has(record.request_id)
            && self.search.as_ref().is_none_or(|search| record.path.contains(search))
            && self.headers.iter().all(has)
    }

    /// Whether a line is wanted. It has no status, method or head: who asks for one wants no lines.
    pub(super) fn line(&self, worker: &str, request: &RequestId, bytes: &[u8]) -> bool {
        self.statuses.is_empty()
            && self.methods.is_empty()
            && self.headers.is_empty()
            && (self.workers)(Some(worker))
            && self.sample.has(request)
            && self.search.as_ref().is_none_or(|search| String::from_utf8_lossy(bytes).contains(search))
    }
}
