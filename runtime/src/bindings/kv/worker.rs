//! `eyot:worker/kv`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use wasmtime::component::Resource;

use super::{Open, PAGE, Refused};
use crate::bindings::Guest;
use crate::bindings::worker::eyot::worker::kv::{Entry, Error, Expected, Host, HostNamespace, Listed, Options, Page};
use crate::store::{self, KvError, Put};

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl Host for Guest {}

impl HostNamespace for Guest {
    async fn open(&mut self, name: String) -> Answer<Resource<Open>> {
        Ok(match Guest::open(self, &name) {
            Ok(open) => Ok(self.table.push(open)?),
            Err(refused) => Err(refused.into()),
        })
    }

    async fn get(&mut self, namespace: Resource<Open>, key: String) -> Answer<Option<Entry>> {
        let open = self.opened(&namespace)?;
        Ok(self.read(&open, key).await.map(|entry| entry.map(Entry::from)).map_err(Error::from))
    }

    async fn get_many(&mut self, namespace: Resource<Open>, keys: Vec<String>) -> Answer<Vec<Option<Entry>>> {
        let open = self.opened(&namespace)?;
        let entries =
            |found: Vec<Option<store::Entry>>| found.into_iter().map(|found| found.map(Entry::from)).collect();
        Ok(self.read_many(&open, keys).await.map(entries).map_err(Error::from))
    }

    async fn put(&mut self, namespace: Resource<Open>, key: String, value: Vec<u8>, options: Options) -> Answer<u64> {
        let open = self.opened(&namespace)?;
        let expected = options.expected.into();
        let put = Put { key, value, metadata: options.metadata, expires: options.ttl.and_then(after) };
        Ok(self.write(&open, put, expected).await.map_err(Error::from))
    }

    async fn delete(&mut self, namespace: Resource<Open>, key: String, expected: Expected) -> Answer<()> {
        let open = self.opened(&namespace)?;
        Ok(self.delete_one(&open, key, expected.into()).await.map_err(Error::from))
    }

    async fn list(
        &mut self,
        namespace: Resource<Open>,
        prefix: String,
        cursor: Option<String>,
        most: u32,
    ) -> Answer<Page> {
        let open = self.opened(&namespace)?;
        let listed = self.list_from(&open, prefix, cursor, most.clamp(1, PAGE)).await;
        Ok(listed.map(Page::from).map_err(Error::from))
    }

    async fn increment(&mut self, namespace: Resource<Open>, key: String, delta: i64) -> Answer<i64> {
        let open = self.opened(&namespace)?;
        Ok(self.add(&open, key, delta).await.map_err(Error::from))
    }

    async fn drop(&mut self, namespace: Resource<Open>) -> wasmtime::Result<()> {
        self.table.delete(namespace)?;
        Ok(())
    }
}

/// In so many milliseconds. What is past the end of all times does not expire.
fn after(milliseconds: u64) -> Option<Timestamp> {
    let span = SignedDuration::try_from(Duration::from_millis(milliseconds)).ok()?;
    Timestamp::now().checked_add(span).ok()
}

fn milliseconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or(0)
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        let told = refused.told();
        match refused {
            Refused::NoSuchNamespace => Self::NoSuchNamespace,
            Refused::TooMany { .. } | Refused::Batch { .. } => Self::TooMany(told),
            Refused::Kv(KvError::EmptyKey | KvError::TooLarge { .. } | KvError::OverPayload { .. }) => {
                Self::TooLarge(told)
            }
            Refused::Kv(KvError::Full { .. }) => Self::Full(told),
            Refused::Kv(KvError::Conflict) => Self::Conflict,
            Refused::Kv(KvError::NotANumber) => Self::NotANumber,
            Refused::Kv(KvError::Store(_)) => Self::Unavailable(told),
        }
    }
}

impl From<Expected> for store::Expected {
    fn from(expected: Expected) -> Self {
        match expected {
            Expected::Anything => Self::Anything,
            Expected::Nothing => Self::Nothing,
            Expected::Revision(revision) => Self::Revision(revision),
        }
    }
}

impl From<store::Entry> for Entry {
    fn from(entry: store::Entry) -> Self {
        let store::Entry { value, metadata, expires, revision } = entry;
        Self { value, metadata, expires: expires.map(milliseconds), revision }
    }
}

impl From<store::Page> for Page {
    fn from(page: store::Page) -> Self {
        let listed = |listed: store::Listed| Listed {
            key: listed.key,
            metadata: listed.metadata,
            expires: listed.expires.map(milliseconds),
        };
        Self { entries: page.entries.into_iter().map(listed).collect(), cursor: page.next }
    }
}
