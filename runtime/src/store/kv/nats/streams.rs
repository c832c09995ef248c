//! The stream of each worker, and what is to be known of it as a whole.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use serde::Deserialize;
use serde_json::json;

use super::names;
use crate::store::error::StoreError;
use crate::store::nats::{Link, Refused};
use crate::store::thread::apart;

/// What the server keeps of a subject at most. What is written takes away what was there (`New::alone`), so this is never reached; it lets
/// the server keep its files small, where what is overwritten is found sooner.
const OLDER: i64 = 64;

/// An answer that is larger than this is read on a thread of its own, so that no core waits for that.
const LARGE: usize = 64 << 10;

/// The server names so many subjects at a time. Names that are looked at again find those that have moved meanwhile, since others before
/// them have gone.
const AGAIN: u64 = 1000;

/// The streams, as far as they are known.
#[derive(Debug)]
pub(super) struct Streams {
    link: Arc<Link>,
    replicas: usize,
    /// What each was last told that it holds, and in which connection.
    known: Mutex<HashMap<String, (u64, u64)>>,
}

#[derive(Debug, Deserialize)]
struct Told {
    error: Option<Refused>,
    #[serde(default)]
    state: State,
    #[serde(default)]
    total: u64,
}

#[derive(Debug, Default, Deserialize)]
struct State {
    #[serde(default)]
    subjects: HashMap<String, u64>,
}

impl Streams {
    pub(super) fn new(link: Arc<Link>, replicas: usize) -> Self {
        Self { link, replicas, known: Mutex::default() }
    }

    /// Sees to it that a worker has a stream, and that it holds no more than so many bytes.
    pub(super) async fn make(&self, worker: &str, bytes: u64) -> Result<(), StoreError> {
        let now = (bytes, self.link.generation());
        if self.known().get(worker) == Some(&now) {
            return Ok(());
        }
        let wanted = self.config(worker, bytes);
        let max_bytes = wanted.max_bytes;
        let info = self.link.make_stream(wanted).await?;
        if info.config.max_bytes != max_bytes {
            let changed = Config { max_bytes, ..info.config };
            self.link.ask()?.update_stream(changed).await.map_err(|error| self.link.failed(error))?;
        }
        self.known().insert(worker.to_owned(), now);
        Ok(())
    }

    /// It may be gone: it is looked for again.
    pub(super) fn forget(&self, worker: &str) {
        self.known().remove(worker);
    }

    /// The stream did not answer. There is none, and so nothing in it; or else that is an error.
    pub(super) async fn is_missing(&self, worker: &str) -> Result<(), StoreError> {
        match self.link.stream(names::stream(worker)).await? {
            None => Ok(()),
            Some(_) => Err(self.link.failed("the stream of the worker does not answer")),
        }
    }

    /// The bytes that it takes.
    pub(super) async fn bytes(&self, worker: &str) -> Result<u64, StoreError> {
        let info = self.link.stream(names::stream(worker)).await?;
        Ok(info.map_or(0, |info| info.state.bytes))
    }

    /// Shows the names of all subjects under a filter; where that is allowed, some of them more than once, so that none is missed.
    pub(super) async fn each<S: Send + 'static>(
        &self,
        worker: &str,
        filter: &str,
        (mut seen, again): (S, bool),
        show: fn(&mut S, &str),
    ) -> Result<S, StoreError> {
        let mut offset = 0;
        loop {
            let question = json!({ "subjects_filter": filter, "offset": offset });
            let answer = self.link.api(&format!("STREAM.INFO.{}", names::stream(worker)), &question).await?;
            let is_large = answer.len() > LARGE;
            let read = move || {
                let told: Told = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
                told.state.subjects.keys().for_each(|subject| show(&mut seen, subject));
                Ok::<_, String>((seen, told.state.subjects.len() as u64, told.total, told.error))
            };
            let read = if is_large { apart("eyot-kv-names", move || Ok(read())).await? } else { read() };
            let (so_far, count, total, error) = read.map_err(|error| self.link.failed(error))?;
            match error {
                Some(refused) if refused.is_unanswered() => return Ok(so_far),
                Some(refused) => return Err(self.link.failed(refused.description)),
                None if count == 0 || offset + count >= total => return Ok(so_far),
                None => offset += if again { count.saturating_sub(AGAIN).max(1) } else { count },
            }
            seen = so_far;
        }
    }

    fn config(&self, worker: &str, bytes: u64) -> Config {
        Config {
            name: names::stream(worker),
            subjects: vec![names::of_worker(worker)],
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::New,
            storage: StorageType::File,
            num_replicas: self.replicas,
            max_messages: -1,
            max_messages_per_subject: OLDER,
            max_bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            allow_rollup: true,
            allow_message_ttl: true,
            allow_atomic_publish: true,
            allow_direct: true,
            ..Config::default()
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, (u64, u64)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
