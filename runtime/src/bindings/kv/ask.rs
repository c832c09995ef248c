//! What all interfaces to keys and values ask the store, each question counted and with its room in memory.

use super::{Open, Refused, answer};
use crate::bindings::Guest;
use crate::store::{Entry, Expected, KvError, Page, Put};

impl Guest {
    pub(super) async fn read(&mut self, open: &Open, key: String) -> Result<Option<Entry>, Refused> {
        let bytes = answer(&self.capabilities.limits, 1);
        let _room = self.ask(open, 1, bytes).await?;
        Ok(open.granted.kv.get(&open.namespace, key).await?)
    }

    pub(super) async fn read_many(&mut self, open: &Open, keys: Vec<String>) -> Result<Vec<Option<Entry>>, Refused> {
        let bytes = answer(&self.capabilities.limits, keys.len());
        let _room = self.ask(open, keys.len(), bytes).await?;
        Ok(open.granted.kv.get_many(&open.namespace, keys, bytes).await?)
    }

    pub(super) async fn is_there(&mut self, open: &Open, key: String) -> Result<bool, Refused> {
        let _room = self.ask(open, 1, 0).await?;
        Ok(open.granted.kv.exists(&open.namespace, key).await?)
    }

    pub(super) async fn write(&mut self, open: &Open, put: Put, expected: Expected) -> Result<u64, Refused> {
        let _room = self.ask(open, 1, put.value.len() as u64).await?;
        Ok(open.granted.kv.put(&open.namespace, put, expected, open.granted.limits).await?)
    }

    pub(super) async fn write_many(&mut self, open: &Open, puts: Vec<Put>) -> Result<(), Refused> {
        let bytes = puts.iter().map(|put| put.value.len() as u64).sum();
        let _room = self.ask(open, puts.len(), bytes).await?;
        Ok(open.granted.kv.put_many(&open.namespace, puts, open.granted.limits).await?)
    }

    pub(super) async fn delete_one(&mut self, open: &Open, key: String, expected: Expected) -> Result<(), Refused> {
        let _room = self.ask(open, 1, 0).await?;
        Ok(open.granted.kv.delete(&open.namespace, key, expected).await?)
    }

    pub(super) async fn delete_many(&mut self, open: &Open, keys: Vec<String>) -> Result<(), Refused> {
        let _room = self.ask(open, keys.len(), 0).await?;
        Ok(open.granted.kv.delete_many(&open.namespace, keys).await?)
    }

    pub(super) async fn list_from(
        &mut self,
        open: &Open,
        prefix: String,
        after: Option<String>,
        most: u32,
    ) -> Result<Page, Refused> {
        let limits = open.granted.limits;
        let _room = self.ask(open, 1, u64::from(most).saturating_mul(limits.key + limits.metadata)).await?;
        Ok(open.granted.kv.list(&open.namespace, prefix, after, most).await?)
    }

    pub(super) async fn keys_from(
        &mut self,
        open: &Open,
        after: u64,
        most: u32,
    ) -> Result<(Vec<String>, Option<u64>), Refused> {
        let _room = self.ask(open, 1, u64::from(most).saturating_mul(open.granted.limits.key)).await?;
        Ok(open.granted.kv.keys(&open.namespace, after, most).await?)
    }

    pub(super) async fn add(&mut self, open: &Open, key: String, delta: i64) -> Result<i64, Refused> {
        let _room = self.ask(open, 1, 0).await?;
        Ok(open.granted.kv.increment(&open.namespace, key, delta, open.granted.limits).await?)
    }

    /// The revision at a key, and its value.
    pub(super) async fn current_of(
        &mut self,
        open: &Open,
        key: String,
    ) -> Result<(Option<u64>, Option<Vec<u8>>), Refused> {
        let entry = self.read(open, key).await?;
        Ok(entry.map(|entry| (entry.revision, entry.value)).unzip())
    }
}

impl Refused {
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Kv(KvError::Conflict))
    }
}
