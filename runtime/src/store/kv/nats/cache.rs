//! What was read of the server a moment ago, so that reading it again asks nobody. What this node writes it sees at once; what others write,
//! when `staleness` has passed since the server was asked.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lru::LruCache;

use crate::store::kv::model::Entry;

/// It has parts with a lock each, so that cores are not in each other's way.
const PARTS: usize = 8;

/// What an entry takes besides its subject, its value and its metadata, in bytes.
const EACH: usize = 256;

/// Each part counts the writes of some of its subjects together.
const COUNTS: usize = 64;

/// Entries, the one that was used last first.
#[derive(Debug)]
pub(super) struct Cache {
    staleness: Duration,
    /// What a part may take.
    most: usize,
    parts: [Mutex<Part>; PARTS],
    hasher: RandomState,
}

#[derive(Debug)]
struct Part {
    kept: LruCache<String, Kept>,
    bytes: usize,
    /// How often writing anything of these has begun or ended.
    changes: [u64; COUNTS],
}

#[derive(Debug)]
struct Kept {
    /// What stands there, or that nothing does.
    entry: Option<Arc<Entry>>,
    /// When the server was asked.
    asked: Instant,
}

/// What is known of a subject.
#[derive(Debug)]
pub(super) enum Known {
    /// That this stands there, or that nothing does.
    This(Option<Arc<Entry>>),
    /// Nothing: the server is to be asked.
    Ask(Asked),
}

/// The moment in which the server is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    at: Instant,
    changes: u64,
}

/// Subjects that are being written. When this is dropped, nothing is known of them.
#[derive(Debug)]
#[must_use = "what is known of the subjects holds until it is dropped"]
pub(super) struct Writing<'a> {
    cache: &'a Cache,
    subjects: Vec<(String, Asked)>,
}

impl Cache {
    /// Of so many bytes. Without staleness it keeps nothing.
    pub(super) fn new(bytes: usize, staleness: Duration) -> Self {
        let part = |_| Mutex::new(Part { kept: LruCache::unbounded(), bytes: 0, changes: [0; COUNTS] });
        Self { staleness, most: bytes / PARTS, parts: std::array::from_fn(part), hasher: RandomState::new() }
    }

    /// What stands at a subject, if the server was asked so short a time ago.
    pub(super) fn look(&self, subject: &str) -> Known {
        let at = Instant::now();
        let (mut part, place) = self.part(subject);
        if let Some(kept) = part.kept.get(subject)
            && at.saturating_duration_since(kept.asked) < self.staleness
        {
            let is_there = |entry: &&Arc<Entry>| entry.expires.is_none_or(|expires| expires > Timestamp::now());
            return Known::This(kept.entry.as_ref().filter(is_there).map(Arc::clone));
        }
        Known::Ask(Asked { at, changes: part.changes[place] })
    }

    /// The moment before the server is asked for something, whatever is known of it.
    pub(super) fn asking(&self, subject: &str) -> Asked {
        let at = Instant::now();
        let (part, place) = self.part(subject);
        Asked { at, changes: part.changes[place] }
    }

    /// An entry of this revision, however long ago it was read: whatever stands there now, that one was so.
    pub(super) fn of_revision(&self, subject: &str, revision: u64) -> Option<Arc<Entry>> {
        let (part, _) = self.part(subject);
        let entry = part.kept.peek(subject)?.entry.as_ref()?;
        (entry.revision == revision).then(|| Arc::clone(entry))
    }

    /// The server has answered. Where something was written meanwhile, what it answered may be what was there before.
    pub(super) fn note(&self, subject: &str, asked: Asked, entry: Option<Arc<Entry>>) {
        if self.staleness.is_zero() {
            return;
        }
        let (mut part, place) = self.part(subject);
        let is_later = part.kept.peek(subject).is_none_or(|kept| kept.asked < asked.at);
        if is_later && part.changes[place] == asked.changes {
            part.keep(subject, Kept { entry, asked: asked.at }, self.most);
        }
    }

    /// Something is about to be written.
    pub(super) fn writing(&self, subjects: Vec<String>) -> Writing<'_> {
        let begin = |subject: String| {
            let (mut part, place) = self.part(&subject);
            part.changes[place] += 1;
            let asked = Asked { at: Instant::now(), changes: part.changes[place] };
            drop(part);
            (subject, asked)
        };
        Writing { cache: self, subjects: subjects.into_iter().map(begin).collect() }
    }

    /// The part of a subject, and where its changes are counted.
    fn part(&self, subject: &str) -> (MutexGuard<'_, Part>, usize) {
        let hash = self.hasher.hash_one(subject) as usize;
        let part = self.parts[hash % PARTS].lock().unwrap_or_else(PoisonError::into_inner);
        (part, hash / PARTS % COUNTS)
    }
}

impl Writing<'_> {
    /// It is written, and this is what stands at each of the subjects now.
    pub(super) fn end(mut self, entries: impl IntoIterator<Item = Option<Entry>>) {
        for ((subject, asked), entry) in self.subjects.drain(..).zip(entries) {
            self.cache.written(&subject, asked, Some(entry));
        }
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        for (subject, asked) in self.subjects.drain(..) {
            self.cache.written(&subject, asked, None);
        }
    }
}

impl Cache {
    /// A write has ended, and what stands there is known or not. Of two at the same time nobody knows which was the later one.
    fn written(&self, subject: &str, asked: Asked, now: Option<Option<Entry>>) {
        let (mut part, place) = self.part(subject);
        let is_alone = part.changes[place] == asked.changes;
        part.changes[place] += 1;
        match now {
            Some(entry) if is_alone && !self.staleness.is_zero() => {
                let entry = entry.map(Arc::new);
                part.keep(subject, Kept { entry, asked: asked.at }, self.most);
            }
            _ => part.forget(subject),
        }
    }
}

impl Part {
    fn keep(&mut self, subject: &str, kept: Kept, most: usize) {
        self.forget(subject);
        let bytes = kept.bytes(subject);
        // One entry does not take the place of all others.
        if bytes > most / 2 {
            return;
        }
        self.bytes += bytes;
        self.kept.put(subject.to_owned(), kept);
        while self.bytes > most
            && let Some((subject, kept)) = self.kept.pop_lru()
        {
            self.bytes -= kept.bytes(&subject);
        }
    }

    fn forget(&mut self, subject: &str) {
        if let Some(kept) = self.kept.pop(subject) {
            self.bytes -= kept.bytes(subject);
        }
    }
}

impl Kept {
    fn bytes(&self, subject: &str) -> usize {
        let of_entry = |entry: &Arc<Entry>| entry.value.len() + entry.metadata.as_ref().map_or(0, String::len);
        EACH + subject.len() + self.entry.as_ref().map_or(0, of_entry)
    }
}
