//! Keys and values of workers, for operators: what is there, and changes that stand in the audit.

use std::sync::Arc;

use super::Stock;
use crate::store::{By, Expected, Kv, KvError, KvLimits, Namespace, Put, StoreError};

impl Stock {
    /// What all workers keep.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn kv(&self) -> Result<Arc<Kv>, StoreError> {
        self.activator.data.kv()?.ok_or(StoreError::Closed)
    }

    /// Writes all of them or none.
    ///
    /// # Errors
    /// When a limit of the worker is passed, and when they cannot be written.
    pub async fn put_kv(&self, by: By, namespace: &Namespace, puts: Vec<Put>) -> Result<(), KvError> {
        let audit = self.audit()?;
        let detail = serde_json::json!({ "namespace": &*namespace.name, "keys": puts.len() });
        self.kv()?.put_many(namespace, puts, KvLimits::of(&self.limits_of(&namespace.worker))).await?;
        Ok(audit.note(by, "kv.put", &namespace.worker, detail).await?)
    }

    /// Deletes what stands at a key.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn delete_kv(&self, by: By, namespace: &Namespace, key: String) -> Result<(), KvError> {
        let audit = self.audit()?;
        let detail = serde_json::json!({ "namespace": &*namespace.name, "key": key });
        self.kv()?.delete(namespace, key, Expected::Anything).await?;
        Ok(audit.note(by, "kv.delete", &namespace.worker, detail).await?)
    }
}
