//! What is asked of keys and values, and what is answered.

use std::sync::Arc;

use jiff::Timestamp;

use crate::config::WorkerLimits;
use crate::store::error::StoreError;

/// A worker's namespace. Two workers that give one the same name have two.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Namespace {
    /// Whose it is.
    pub worker: Arc<str>,
    /// How its worker calls it.
    pub name: Arc<str>,
}

/// What keys and values are held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLimits {
    /// Bytes of a key.
    pub key: u64,
    /// Bytes of a value.
    pub value: u64,
    /// Bytes of its metadata.
    pub metadata: u64,
    /// Bytes of all entries of a worker: keys, values, metadata, and [`KvLimits::ENTRY`] for each.
    pub total: u64,
}

impl KvLimits {
    /// What an entry counts besides its key, its value and its metadata, in bytes.
    pub const ENTRY: u64 = 128;

    /// Those of a worker.
    #[must_use]
    pub fn of(limits: &WorkerLimits) -> Self {
        let WorkerLimits { kv_key, kv_value, kv_metadata, kv_total, .. } = *limits;
        Self { key: kv_key, value: kv_value, metadata: kv_metadata, total: kv_total }
    }

    /// What an entry would count, if it may be there.
    ///
    /// # Errors
    /// [`KvError::EmptyKey`] and [`KvError::TooLarge`].
    pub(super) fn size_of(&self, put: &Put) -> Result<u64, KvError> {
        if put.key.is_empty() {
            return Err(KvError::EmptyKey);
        }
        let metadata = put.metadata.as_ref().map_or(0, String::len) as u64;
        let (key, value) = (put.key.len() as u64, put.value.len() as u64);
        for (what, found, limit, name) in [
            ("key", key, self.key, "kv_key"),
            ("value", value, self.value, "kv_value"),
            ("metadata", metadata, self.metadata, "kv_metadata"),
        ] {
            if found > limit {
                return Err(KvError::TooLarge { what, found, limit, key: name });
            }
        }
        Ok(Self::ENTRY + key + value + metadata)
    }
}

/// What stands at a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its bytes.
    pub value: Vec<u8>,
    /// What its worker wrote beside it.
    pub metadata: Option<String>,
    /// When it is gone.
    pub expires: Option<Timestamp>,
    /// Changes with each write, and never comes again.
    pub revision: u64,
}

/// An entry as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// What its worker wrote beside it.
    pub metadata: Option<String>,
    /// When it is gone.
    pub expires: Option<Timestamp>,
}

/// Some of what there is, in the order of the keys' bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Those of this page. There may be fewer than were asked for, though others follow: what has expired is looked at, too, and only so
    /// much is looked at in one go.
    pub entries: Vec<Listed>,
    /// Behind which key the next page begins; `None`: this is the last one.
    pub next: Option<String>,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Where.
    pub key: String,
    /// Its bytes.
    pub value: Vec<u8>,
    /// What is written beside it.
    pub metadata: Option<String>,
    /// When it is gone.
    pub expires: Option<Timestamp>,
}

impl Put {
    /// A value that stays.
    #[must_use]
    pub fn new(key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), value: value.into(), metadata: None, expires: None }
    }
}

/// What must stand at a key for a change to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// Whatever stands there.
    #[default]
    Anything,
    /// Nothing, or what has expired.
    Nothing,
    /// What has this revision.
    Revision(u64),
}

/// Why a worker's keys and values are not changed or not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// The worker is at fault.
    #[error("the key is empty; give it a name")]
    EmptyKey,
    /// The worker is at fault.
    #[error("the {what} has {found} bytes, and may have {limit} (limit {key})")]
    TooLarge {
        /// `key`, `value`, `metadata`.
        what: &'static str,
        /// So many there are.
        found: u64,
        /// So many there may be.
        limit: u64,
        /// The limit's key in limits.toml.
        key: &'static str,
    },
    /// The worker is at fault, or the operator, whose server takes less than the limits allow.
    #[error(
        "an entry takes {found} bytes with what stands beside its value, and the server that keeps it takes {limit} in one \
         message (its max_payload)"
    )]
    OverPayload {
        /// So many bytes there are.
        found: u64,
        /// So many there may be.
        limit: u64,
    },
    /// The worker has used up what it has.
    #[error("the worker's keys and values would take more than {limit} bytes (limit kv_total); delete some")]
    Full {
        /// In bytes.
        limit: u64,
    },
    /// Somebody else was faster.
    #[error("something else stands at this key by now; read it, and ask again")]
    Conflict,
    /// The worker is at fault.
    #[error("what stands at this key is no whole number, or would be none of 64 bits")]
    NotANumber,
    /// The operator is at fault, or the machine.
    #[error(transparent)]
    Store(#[from] StoreError),
}
