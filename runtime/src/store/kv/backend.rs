//! What keeps keys and values: one trait, and one folder for each that does.

use async_trait::async_trait;

use super::model::{Entry, Expected, KvError, KvLimits, Namespace, Page, Put};

/// Somewhere to keep keys and values. Each change answers when it is where the backend says that it is safe.
///
/// What all of them promise are the claims of `conformance`; one that cannot promise a claim says so there, with the reason.
#[async_trait]
pub(super) trait Backend: Send + Sync + std::fmt::Debug {
    /// What stands at a key.
    async fn get(&self, namespace: &Namespace, key: String) -> Result<Option<Entry>, KvError>;

    /// What stands at some keys, at one moment, in the order in which they are named; no more than so many bytes of values.
    async fn get_many(
        &self,
        namespace: &Namespace,
        keys: Vec<String>,
        most: u64,
    ) -> Result<Vec<Option<Entry>>, KvError>;

    /// Whether anything stands at a key.
    async fn exists(&self, namespace: &Namespace, key: String) -> Result<bool, KvError>;

    /// All keys one after the other, behind this place, so many at most, and where the next page begins.
    async fn keys(&self, namespace: &Namespace, after: u64, most: u32) -> Result<(Vec<String>, Option<u64>), KvError>;

    /// Keys that begin so, behind this one, in the order of their bytes, so many at most.
    async fn list(
        &self,
        namespace: &Namespace,
        prefix: String,
        after: Option<String>,
        most: u32,
    ) -> Result<Page, KvError>;

    /// Writes a value if what is expected stands there, and says which revision it is.
    async fn put(&self, namespace: &Namespace, put: Put, expected: Expected, limits: KvLimits) -> Result<u64, KvError>;

    /// Writes all of them or none.
    async fn put_many(&self, namespace: &Namespace, puts: Vec<Put>, limits: KvLimits) -> Result<(), KvError>;

    /// Deletes what stands at a key, if it is what is expected. Nothing may stand there.
    async fn delete(&self, namespace: &Namespace, key: String, expected: Expected) -> Result<(), KvError>;

    /// Deletes what stands at these keys, all of it or nothing.
    async fn delete_many(&self, namespace: &Namespace, keys: Vec<String>) -> Result<(), KvError>;

    /// Adds to the number at a key, and answers what it is then.
    async fn increment(&self, namespace: &Namespace, key: String, delta: i64, limits: KvLimits)
    -> Result<i64, KvError>;

    /// The bytes that the entries of a worker take, as the backend counts them.
    async fn used(&self, worker: &str) -> Result<u64, KvError>;

    /// The namespaces of a worker that were written to, and how many entries each has.
    async fn namespaces(&self, worker: &str) -> Result<Vec<(String, u64)>, KvError>;

    /// Removes what has expired, and says how much it was. A backend that does so by itself says 0.
    async fn sweep(&self) -> Result<u64, KvError>;
}
