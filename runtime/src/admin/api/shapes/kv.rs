//! Keys and values of workers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The namespaces of a worker's keys and values.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct KvNamespaces {
    /// By name; those that were written to.
    pub namespaces: Vec<KvNamespace>,
    /// What all entries of the worker take, of limit `kv_total`.
    pub bytes: u64,
}

/// A namespace.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct KvNamespace {
    /// Its name.
    pub name: String,
    /// So many keys it has.
    pub keys: u64,
}

/// Some of the keys of a namespace.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct KvPage {
    /// In the order of their bytes.
    pub keys: Vec<KvKey>,
    /// Where the next page begins: its `after`. Nothing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A key.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct KvKey {
    /// The key.
    pub key: String,
    /// What was written beside its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// When it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Timestamp>,
}

/// What stands at a key, or is to stand there.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KvEntry {
    /// The key.
    #[schema(min_length = 1, max_length = 2048)]
    pub key: String,
    /// Its bytes, in base64 (RFC 4648 §4).
    #[schema(content_encoding = "base64")]
    pub value: String,
    /// What is written beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// When it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Timestamp>,
}

/// Entries that are written together.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KvEntries {
    /// All of them are written, or none.
    #[schema(min_items = 1, max_items = 1000)]
    pub entries: Vec<KvEntry>,
}

/// Which keys.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct KvKeys {
    /// Those that begin so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Those behind this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// So many at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

/// Which key.
#[derive(Clone, Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct KvName {
    /// The key.
    #[param(min_length = 1)]
    pub key: String,
}
