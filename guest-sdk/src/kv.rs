//! Keys and values of the worker's own, which outlive its isolates.

use std::fmt::{self, Display};
use std::time::{Duration, SystemTime};

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::bindings::kv;

/// Keys and values under a name. eyot.toml lists the names: `kv = ["sessions"]`.
///
/// What a method has answered is on a disk, and every later read on its node sees it, in whichever isolate. Where nodes share a server, `get`
/// and `exists` on another node see it within the time that the operator says (one second, where nothing is said).
///
/// ```no_run
/// use eyot_sdk::prelude::*;
///
/// async fn handle() -> Result<String> {
///     let visits = Namespace::open("counts")?.increment("visits", 1)?;
///     Ok(format!("visit {visits}\n"))
/// }
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct Namespace(kv::Namespace);

/// What stands at a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its bytes.
    pub value: Vec<u8>,
    /// What was written beside it.
    pub metadata: Option<String>,
    /// When it is gone.
    pub expires: Option<SystemTime>,
    /// Changes with each write, and never comes again at this key.
    pub revision: u64,
}

/// How something is written: for good, whatever stands there, unless it says otherwise.
///
/// ```
/// use std::time::Duration;
/// use eyot_sdk::PutOptions;
///
/// let session = PutOptions::new().ttl(Duration::from_secs(3600)).only_if_absent();
/// ```
#[derive(Clone, Debug)]
pub struct PutOptions(kv::Options);

/// A key as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: String,
    /// What was written beside its value.
    pub metadata: Option<String>,
    /// When it is gone.
    pub expires: Option<SystemTime>,
}

/// Some of the keys, in the order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Those of this page. There may be fewer than were asked for, even none, though others follow.
    pub entries: Vec<Listed>,
    /// Where the next page begins; `None` on the last one.
    pub cursor: Option<String>,
}

impl Namespace {
    /// One of those that eyot.toml lists.
    ///
    /// # Errors
    /// It does not list this one.
    pub fn open(name: &str) -> Result<Self, KvError> {
        Ok(Self(kv::Namespace::open(name)?))
    }

    /// What stands at a key.
    ///
    /// # Errors
    /// The node cannot read now, or a limit is met.
    pub fn entry(&self, key: &str) -> Result<Option<Entry>, KvError> {
        Ok(self.0.get(key)?.map(Entry::from))
    }

    /// The bytes that stand at a key.
    ///
    /// # Errors
    /// As [`entry`](Self::entry).
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.0.get(key)?.map(|entry| entry.value))
    }

    /// What stands at some keys, at one moment, in the order in which they are named.
    ///
    /// # Errors
    /// As [`entry`](Self::entry).
    pub fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, KvError> {
        Ok(self.0.get_many(keys)?.into_iter().map(|entry| entry.map(Entry::from)).collect())
    }

    /// Writes a value for good, whatever stands there, and answers its revision.
    ///
    /// # Errors
    /// The node cannot write now, or a limit is met.
    pub fn put(&self, key: &str, value: impl AsRef<[u8]>) -> Result<u64, KvError> {
        self.put_with(key, value, &PutOptions::new())
    }

    /// Writes a value as the options say, and answers its revision.
    ///
    /// # Errors
    /// Something else stands there than the options expect, the node cannot write now, or a limit is met.
    pub fn put_with(&self, key: &str, value: impl AsRef<[u8]>, options: &PutOptions) -> Result<u64, KvError> {
        Ok(self.0.put(key, value.as_ref(), &options.0)?)
    }

    /// Deletes what stands at a key. Nothing may stand there.
    ///
    /// # Errors
    /// The node cannot write now, or a limit is met.
    pub fn delete(&self, key: &str) -> Result<(), KvError> {
        Ok(self.0.delete(key, kv::Expected::Anything)?)
    }

    /// Deletes what stands at a key, if it still has this revision.
    ///
    /// # Errors
    /// [`KvError::Conflict`] if not; otherwise as [`delete`](Self::delete).
    pub fn delete_revision(&self, key: &str, revision: u64) -> Result<(), KvError> {
        Ok(self.0.delete(key, kv::Expected::Revision(revision))?)
    }

    /// Keys that begin with this prefix, so many at most and 1,000 in any case, from a cursor of the page before.
    ///
    /// # Errors
    /// The node cannot read now, or a limit is met.
    pub fn list(&self, prefix: &str, cursor: Option<&str>, most: u32) -> Result<Page, KvError> {
        let kv::Page { entries, cursor } = self.0.list(prefix, cursor, most)?;
        let listed = |entry: kv::Listed| {
            let kv::Listed { key, metadata, expires } = entry;
            Listed { key, metadata, expires: expires.map(time) }
        };
        Ok(Page { entries: entries.into_iter().map(listed).collect(), cursor })
    }

    /// Adds to the number at a key, which stands there in decimal digits and is 0 where nothing stands; answers what it is then. Nobody
    /// comes in between.
    ///
    /// # Errors
    /// [`KvError::NotANumber`] if something else stands there or the sum has more than 64 bits; otherwise as [`put`](Self::put).
    pub fn increment(&self, key: &str, delta: i64) -> Result<i64, KvError> {
        Ok(self.0.increment(key, delta)?)
    }
}

impl Default for PutOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl PutOptions {
    /// For good, whatever stands there.
    #[must_use]
    pub fn new() -> Self {
        Self(kv::Options { ttl: None, metadata: None, expected: kv::Expected::Anything })
    }

    /// Stays for so long.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.0.ttl = Some(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// With this beside it, which is listed with the key.
    #[must_use]
    pub fn metadata(mut self, metadata: impl Into<String>) -> Self {
        self.0.metadata = Some(metadata.into());
        self
    }

    /// Only if nothing stands there.
    #[must_use]
    pub fn only_if_absent(mut self) -> Self {
        self.0.expected = kv::Expected::Nothing;
        self
    }

    /// Only if what stands there still has this revision.
    #[must_use]
    pub fn only_if_revision(mut self, revision: u64) -> Self {
        self.0.expected = kv::Expected::Revision(revision);
        self
    }
}

impl From<kv::Entry> for Entry {
    fn from(entry: kv::Entry) -> Self {
        let kv::Entry { value, metadata, expires, revision } = entry;
        Self { value, metadata, expires: expires.map(time), revision }
    }
}

fn time(milliseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds)
}

/// Why something was not read or not written; nothing was changed. As a response it is 500, and 503 where the node cannot do it now: the
/// log says more than the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvError {
    /// eyot.toml does not list the namespace.
    NoSuchNamespace,
    /// A key is empty, or something is larger than a limit.
    TooLarge(String),
    /// The worker keeps as much as it may.
    Full(String),
    /// Something else stands at the key than was expected.
    Conflict,
    /// What stands at the key is no whole number of 64 bits.
    NotANumber,
    /// The invocation has asked too often, or for too many keys at once.
    TooMany(String),
    /// The node cannot read or write now.
    Unavailable(String),
}

impl From<kv::Error> for KvError {
    fn from(error: kv::Error) -> Self {
        match error {
            kv::Error::NoSuchNamespace => Self::NoSuchNamespace,
            kv::Error::TooLarge(why) => Self::TooLarge(why),
            kv::Error::Full(why) => Self::Full(why),
            kv::Error::Conflict => Self::Conflict,
            kv::Error::NotANumber => Self::NotANumber,
            kv::Error::TooMany(why) => Self::TooMany(why),
            kv::Error::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl Display for KvError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchNamespace => formatter.write_str("eyot.toml does not list this namespace in `kv`"),
            Self::Conflict => formatter.write_str("something else stands at this key"),
            Self::NotANumber => formatter.write_str("what stands at this key is no whole number of 64 bits"),
            Self::TooLarge(why) | Self::Full(why) | Self::TooMany(why) | Self::Unavailable(why) => {
                formatter.write_str(why)
            }
        }
    }
}

impl std::error::Error for KvError {}

impl IntoResponse for KvError {
    fn into_response(self) -> Response {
        #[cfg(feature = "log")]
        log::error!("keys and values: {self}");
        match self {
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "try again later\n").into_response(),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "this worker could not keep or find something\n").into_response(),
        }
    }
}
