//! Which keys there are. The server names subjects in no order of ours, so all names of a namespace are looked at for each page; what stands
//! at them is asked for a part at a time.

use std::collections::{BTreeMap, BTreeSet};

use super::{Nats, names};
use crate::store::kv::model::{KvError, Listed, Namespace, Page};

/// So many entries are looked at for one page, and so many bytes of them are fetched: a worker may have many that have expired.
const LOOKED_AT: usize = 2000;
const FETCHED: u64 = 8 << 20;

/// So many entries are fetched first, since their values come with them, and nobody knows how large those are. Then four times as many.
const FIRST: usize = 16;

/// The first keys of those that begin so, behind this one.
struct Selection {
    prefix: String,
    after: Option<String>,
    found: BTreeSet<String>,
}

impl Selection {
    fn show(&mut self, subject: &str) {
        let Some((_, key)) = names::key_of(subject) else { return };
        let is_behind = self.after.as_ref().is_none_or(|after| key > *after);
        if is_behind && key.starts_with(&self.prefix) {
            self.found.insert(key);
        }
        if self.found.len() > LOOKED_AT + 1 {
            self.found.pop_last();
        }
    }
}

impl Nats {
    pub(super) async fn page(
        &self,
        namespace: &Namespace,
        prefix: String,
        after: Option<String>,
        most: usize,
    ) -> Result<Page, KvError> {
        let selection = Selection { prefix, after, found: BTreeSet::new() };
        let filter = names::of_namespace(namespace);
        let selection = self.streams.each(&namespace.worker, &filter, (selection, true), Selection::show).await?;
        let keys: Vec<_> = selection.found.into_iter().collect();
        let (mut entries, mut looked_at, mut fetched, mut step) = (Vec::new(), 0, 0, FIRST.min(most));
        let end = keys.len().min(LOOKED_AT);
        while entries.len() < most && looked_at < end && fetched < FETCHED {
            let some = &keys[looked_at..end.min(looked_at + step)];
            let subjects: Vec<_> = some.iter().filter_map(|key| names::subject(namespace, key)).collect();
            let last = self.last_of(&namespace.worker, &subjects, u64::MAX).await?.unwrap_or_default();
            fetched += last.values().map(|found| found.value.len() as u64).sum::<u64>();
            let before = entries.len();
            for key in some {
                if entries.len() == most {
                    break;
                }
                looked_at += 1;
                let found = names::subject(namespace, key).and_then(|subject| last.get(&subject));
                let entry = found.map(|found| self.head_of(found)).transpose()?.flatten();
                entries.extend(entry.map(|entry| Listed {
                    key: key.clone(),
                    metadata: entry.metadata,
                    expires: entry.expires,
                }));
            }
            step = (step * 4).min(LOOKED_AT);
            // Where nothing has expired, no more is fetched than is wanted.
            if entries.len() > before {
                step = step.min(most - entries.len());
            }
        }
        let is_more = looked_at < keys.len();
        let last = looked_at.checked_sub(1).and_then(|last| keys.get(last));
        Ok(Page { entries, next: last.filter(|_| is_more).cloned() })
    }

    /// Keys in the order in which they were last written.
    pub(super) async fn keys_from(
        &self,
        namespace: &Namespace,
        after: u64,
        most: usize,
    ) -> Result<(Vec<String>, Option<u64>), KvError> {
        let (found, is_more) = self.next(namespace, after.saturating_add(1), most).await?;
        let (mut keys, mut last) = (Vec::new(), None);
        for message in found {
            last = Some(message.number);
            if self.head_of(&message)?.is_some() {
                keys.extend(names::key_of(&message.subject).map(|(_, key)| key));
            }
        }
        Ok((keys, last.filter(|_| is_more)))
    }

    /// The namespaces of a worker, and how many keys each has. What has expired is among them for as long as the server has it: two seconds.
    pub(super) async fn count(&self, worker: &str) -> Result<Vec<(String, u64)>, KvError> {
        let count = |counts: &mut BTreeMap<String, u64>, subject: &str| {
            if let Some((namespace, _)) = names::key_of(subject) {
                *counts.entry(namespace.to_owned()).or_default() += 1;
            }
        };
        let counts = self.streams.each(worker, &names::of_worker(worker), (BTreeMap::new(), false), count).await?;
        Ok(counts.into_iter().collect())
    }
}
