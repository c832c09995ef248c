//! Changes. Each is one message that is published, or a batch of them; what is deleted alone is purged, which needs no room.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::{Nats, names, wire};
use crate::store::error::StoreError;
use crate::store::kv::model::{Entry, Expected, KvError, KvLimits, Namespace, Put};
use crate::store::nats::{LARGEST_BATCH, New, Refused};

/// What the fields take at most that conditions and batches add to a message.
const FIELDS: usize = 200;

/// So often, and for so long, a number is read and written again because somebody else was faster.
const TRIES: u32 = 200;
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Purged {
    #[serde(default)]
    purged: u64,
    error: Option<Refused>,
}

impl Nats {
    pub(super) async fn write(
        &self,
        namespace: &Namespace,
        put: Put,
        expected: Expected,
        limits: KvLimits,
    ) -> Result<u64, KvError> {
        let (new, entry) = self.message(namespace, put, limits)?;
        let worker = &*namespace.worker;
        let writing = self.cache.writing(vec![new.subject.clone()]);
        let written = match expected {
            Expected::Anything => self.publish(worker, new, limits).await?,
            Expected::Nothing => self.publish_where_nothing_is(worker, new, limits).await?,
            Expected::Revision(revision) if self.stands(worker, &new.subject, revision).await? => {
                self.publish(worker, new.replacing(revision), limits).await?
            }
            Expected::Revision(_) => None,
        };
        let revision = written.ok_or(KvError::Conflict)?;
        writing.end([Some(Entry { revision, ..entry })]);
        Ok(revision)
    }

    pub(super) async fn write_many(
        &self,
        namespace: &Namespace,
        puts: Vec<Put>,
        limits: KvLimits,
    ) -> Result<(), KvError> {
        // Of those for one key the last one stands there at the end.
        let last: BTreeMap<String, Put> = puts.into_iter().map(|put| (put.key.clone(), put)).collect();
        let all = last.into_values().map(|put| self.message(namespace, put, limits));
        let (new, entries): (Vec<_>, Vec<_>) = all.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        self.fits_together(new.len())?;
        let writing = self.cache.writing(new.iter().map(|new| new.subject.clone()).collect());
        let worker = &*namespace.worker;
        let numbers = match <[New; 1]>::try_from(new) {
            Ok([one]) => self.publish(worker, one, limits).await?.into_iter().collect(),
            Err(new) if new.is_empty() => return Ok(()),
            Err(new) => self.publish_all(worker, new, limits).await?,
        };
        let written = entries.into_iter().zip(numbers).map(|(entry, revision)| Some(Entry { revision, ..entry }));
        writing.end(written);
        Ok(())
    }

    pub(super) async fn remove(&self, namespace: &Namespace, key: &str, expected: Expected) -> Result<(), KvError> {
        let worker = &*namespace.worker;
        let Some(subject) = names::subject(namespace, key) else {
            return if matches!(expected, Expected::Revision(_)) { Err(KvError::Conflict) } else { Ok(()) };
        };
        let writing = self.cache.writing(vec![subject.clone()]);
        match expected {
            Expected::Anything => _ = self.purge(worker, &subject, None).await?,
            Expected::Nothing => {
                let last = self.last(worker, &subject).await?;
                if last.map(|last| self.head_of(&last)).transpose()?.flatten().is_some() {
                    return Err(KvError::Conflict);
                }
            }
            Expected::Revision(revision) => {
                let is_there = self.stands(worker, &subject, revision).await?;
                if !is_there || !self.remove_revision(worker, &subject, revision).await? {
                    return Err(KvError::Conflict);
                }
            }
        }
        writing.end([None]);
        Ok(())
    }

    pub(super) async fn remove_many(&self, namespace: &Namespace, keys: &[String]) -> Result<(), KvError> {
        let subjects: BTreeSet<_> = keys.iter().filter_map(|key| names::subject(namespace, key)).collect();
        let (subjects, worker) = (Vec::from_iter(subjects), &*namespace.worker);
        self.fits_together(subjects.len())?;
        let writing = self.cache.writing(subjects.clone());
        let said = match &*subjects {
            [] => return Ok(()),
            [one] => self.purge(worker, one, None).await.map(|_| Ok(Vec::new()))?,
            many => self.link.publish_all(many.iter().cloned().map(wire::gone).collect()).await?,
        };
        match said {
            Ok(_) => {}
            Err(refused) if refused.is_unanswered() => self.streams.is_missing(worker).await?,
            // There is not even room for what says that they are gone.
            Err(refused) if refused.is_full() => {
                for subject in &subjects {
                    self.purge(worker, subject, None).await?;
                }
            }
            Err(refused) => return Err(self.failed(refused)),
        }
        writing.end(subjects.iter().map(|_| None));
        Ok(())
    }

    /// Of those on this node who add to the same number one does so at a time: they would only be in each other's way.
    pub(super) async fn add(
        &self,
        namespace: &Namespace,
        key: String,
        delta: i64,
        limits: KvLimits,
    ) -> Result<i64, KvError> {
        let (worker, until) = (&*namespace.worker, Instant::now() + PATIENCE);
        let subject = names::subject(namespace, &key).unwrap_or_default();
        let Ok(_turn) = tokio::time::timeout(PATIENCE, self.turn(&subject)).await else {
            return Err(KvError::Conflict);
        };
        for _ in 0..TRIES {
            let last = if subject.is_empty() { None } else { self.last(worker, &subject).await? };
            let number = last.as_ref().map_or(0, |last| last.number);
            let (found, metadata, expires) = match last.map(|last| self.entry_of(&last)).transpose()?.flatten() {
                None => (Some(0), None, None),
                Some(Entry { value, metadata, expires, .. }) => (number_of(&value), metadata, expires),
            };
            let sum = found.and_then(|found| found.checked_add(delta)).ok_or(KvError::NotANumber)?;
            let put = Put { key: key.clone(), value: sum.to_string().into_bytes(), metadata, expires };
            let (new, entry) = self.message(namespace, put, limits)?;
            let writing = self.cache.writing(vec![subject.clone()]);
            if let Some(revision) = self.publish(worker, new.replacing(number), limits).await? {
                writing.end([Some(Entry { revision, ..entry })]);
                return Ok(sum);
            }
            if Instant::now() > until {
                break;
            }
        }
        Err(KvError::Conflict)
    }

    /// What is published for a value, and what then stands there.
    fn message(&self, namespace: &Namespace, put: Put, limits: KvLimits) -> Result<(New, Entry), KvError> {
        limits.size_of(&put)?;
        self.link.ask()?;
        let subject = names::subject(namespace, &put.key).ok_or(KvError::TooLarge {
            what: "key",
            found: put.key.len() as u64,
            limit: names::LONGEST_KEY as u64,
            key: "kv_key",
        })?;
        let new = wire::value(subject, &put, Timestamp::now());
        let (found, limit) = (wire::size_of(&new.headers) + FIELDS + put.value.len(), self.link.client().max_payload());
        if found > limit {
            return Err(KvError::OverPayload { found: found as u64, limit: limit as u64 });
        }
        let Put { value, metadata, expires, .. } = put;
        Ok((new, Entry { value, metadata, expires, revision: 0 }))
    }

    fn fits_together(&self, keys: usize) -> Result<(), StoreError> {
        match keys {
            ..=LARGEST_BATCH => Ok(()),
            _ => Err(self.link.failed(format!("it writes {LARGEST_BATCH} keys together at most"))),
        }
    }

    /// Publishes a value, and says which revision it is; `None` where something else stands there than is expected.
    async fn publish(&self, worker: &str, new: New, limits: KvLimits) -> Result<Option<u64>, KvError> {
        self.streams.make(worker, limits.total).await?;
        let mut said = self.link.publish(new.clone()).await?;
        if said.as_ref().is_err_and(Refused::is_unanswered) {
            self.make_again(worker, limits).await?;
            said = self.link.publish(new).await?;
        }
        match said {
            Ok(number) => Ok(Some(number)),
            Err(refused) if refused.is_overtaken() => Ok(None),
            Err(refused) if refused.is_full() => Err(KvError::Full { limit: limits.total }),
            Err(refused) => Err(self.failed(refused)),
        }
    }

    async fn publish_all(&self, worker: &str, new: Vec<New>, limits: KvLimits) -> Result<Vec<u64>, KvError> {
        self.streams.make(worker, limits.total).await?;
        let mut said = self.link.publish_all(new.clone()).await?;
        if said.as_ref().is_err_and(Refused::is_unanswered) {
            self.make_again(worker, limits).await?;
            said = self.link.publish_all(new).await?;
        }
        said.map_err(|refused| match refused.is_full() {
            true => KvError::Full { limit: limits.total },
            false => self.failed(refused),
        })
    }

    /// Somebody has deleted the stream.
    async fn make_again(&self, worker: &str, limits: KvLimits) -> Result<(), StoreError> {
        self.streams.forget(worker);
        self.streams.make(worker, limits.total).await
    }

    /// What has expired or was deleted is nothing, and a message nevertheless.
    async fn publish_where_nothing_is(&self, worker: &str, new: New, limits: KvLimits) -> Result<Option<u64>, KvError> {
        let mut number = 0;
        for _ in 0..TRIES {
            if let Some(revision) = self.publish(worker, new.clone().replacing(number), limits).await? {
                return Ok(Some(revision));
            }
            number = match self.last(worker, &new.subject).await? {
                None => 0,
                Some(last) if self.head_of(&last)?.is_none() => last.number,
                Some(_) => return Ok(None),
            };
        }
        Ok(None)
    }

    /// Whether this revision may stand there, and has not expired. What stands there at the moment of a change the server knows.
    async fn stands(&self, worker: &str, subject: &str, revision: u64) -> Result<bool, KvError> {
        if let Some(entry) = self.cache.of_revision(subject, revision) {
            return Ok(entry.expires.is_none_or(|expires| expires > Timestamp::now()));
        }
        let last = self.last(worker, subject).await?;
        let entry = last.map(|last| self.head_of(&last)).transpose()?.flatten();
        Ok(entry.is_some_and(|entry| entry.revision == revision))
    }

    /// Deletes what stands at a subject if it is this revision; whether it was.
    async fn remove_revision(&self, worker: &str, subject: &str, revision: u64) -> Result<bool, KvError> {
        match self.link.publish(wire::gone(subject.to_owned()).replacing(revision)).await? {
            Ok(_) => Ok(true),
            Err(refused) if refused.is_overtaken() => Ok(false),
            Err(refused) if refused.is_full() => Ok(self.purge(worker, subject, Some(revision)).await? > 0),
            Err(refused) => Err(self.failed(refused)),
        }
    }

    /// Removes what stands at a subject, up to a message if one is named; says how many messages that was.
    async fn purge(&self, worker: &str, subject: &str, up_to: Option<u64>) -> Result<u64, KvError> {
        let question = match up_to {
            None => json!({ "filter": subject }),
            Some(number) => json!({ "filter": subject, "seq": number.saturating_add(1) }),
        };
        let answer = self.link.api(&format!("STREAM.PURGE.{}", names::stream(worker)), &question).await?;
        let Purged { purged, error } = serde_json::from_slice(&answer).map_err(|error| self.link.failed(error))?;
        match error {
            None => Ok(purged),
            Some(refused) if refused.is_unanswered() => Ok(0),
            Some(refused) => Err(self.failed(refused)),
        }
    }

    fn failed(&self, refused: Refused) -> KvError {
        self.link.failed(refused.description).into()
    }
}

fn number_of(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
