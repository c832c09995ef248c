//! A worker's keys and values: `eyot:worker/kv`, and `wasi:keyvalue` in the two drafts that toolchains have.
//!
//! A guest names a namespace; which worker's it is, the host knows. So there is no name by which one worker reaches another's.

mod ask;
mod wasi;
mod worker;

use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker, Resource};

use super::Guest;
use crate::config::{self, WorkerLimits};
use crate::store::{Kv, KvError, KvLimits, Namespace, Room};

/// So many keys a page has at most.
const PAGE: u32 = 1000;

/// The namespaces of a worker, and where they are.
pub struct Granted {
    kv: Arc<Kv>,
    namespaces: Vec<Namespace>,
    limits: KvLimits,
}

impl Granted {
    /// What the worker's configuration grants.
    #[must_use]
    pub fn new(worker: &config::Worker, kv: &Arc<Kv>) -> Self {
        let owner: Arc<str> = worker.name.as_str().into();
        let namespace = |name: &String| Namespace { worker: Arc::clone(&owner), name: name.as_str().into() };
        Self {
            kv: Arc::clone(kv),
            namespaces: worker.kv.iter().map(namespace).collect(),
            limits: KvLimits::of(&worker.limits),
        }
    }
}

/// An open namespace, as the guest holds it.
#[derive(Clone)]
pub struct Open {
    granted: Arc<Granted>,
    namespace: Namespace,
}

/// A key whose value was read, to be changed if it is still the same.
pub struct Cas {
    open: Open,
    key: String,
    revision: Option<u64>,
}

/// Why a guest's question does not come to the store.
enum Refused {
    /// eyot.toml does not list it.
    NoSuchNamespace,
    /// It has asked too often.
    TooMany { limit: u64 },
    /// Too many keys in one call.
    Batch { limit: u64 },
    /// The store said so.
    Kv(KvError),
}

impl From<KvError> for Refused {
    fn from(error: KvError) -> Self {
        Self::Kv(error)
    }
}

impl Refused {
    /// For a guest that is told in words. What is wrong on this side is for the log alone.
    fn told(&self) -> String {
        match self {
            Self::NoSuchNamespace => "eyot.toml does not list this namespace in `kv`".to_owned(),
            Self::TooMany { limit } => {
                format!("this invocation has asked for keys and values {limit} times (limit kv_operations)")
            }
            Self::Batch { limit } => format!("one call may name {limit} keys (limit kv_batch)"),
            Self::Kv(KvError::Store(error)) => {
                tracing::error!("keys and values: {error}");
                "the node cannot read or write keys and values now".to_owned()
            }
            Self::Kv(error) => error.to_string(),
        }
    }
}

impl Guest {
    fn open(&self, name: &str) -> Result<Open, Refused> {
        let granted = self.capabilities.kv.as_ref().ok_or(Refused::NoSuchNamespace)?;
        let namespace = granted.namespaces.iter().find(|namespace| &*namespace.name == name);
        let namespace = namespace.ok_or(Refused::NoSuchNamespace)?.clone();
        Ok(Open { granted: Arc::clone(granted), namespace })
    }

    /// One more operation on this namespace, with room for so many bytes in memory. An operation for each key, where there are several.
    async fn ask(&mut self, open: &Open, keys: usize, bytes: u64) -> Result<Room, Refused> {
        let limits = &self.capabilities.limits;
        if keys as u64 > limits.kv_batch {
            return Err(Refused::Batch { limit: limits.kv_batch });
        }
        self.kv_asked = self.kv_asked.saturating_add(keys.max(1) as u64);
        if self.kv_asked > limits.kv_operations {
            return Err(Refused::TooMany { limit: limits.kv_operations });
        }
        Ok(open.granted.kv.room(bytes).await)
    }

    fn opened(&self, resource: &Resource<Open>) -> wasmtime::Result<Open> {
        Ok(self.table.get(resource)?.clone())
    }
}

/// What the answer to a question for so many values may take. A call's answer is no larger than what a call may bring.
fn answer(limits: &WorkerLimits, values: usize) -> u64 {
    limits.kv_value.saturating_mul(values as u64).min(limits.hostcall_fuel.max(limits.kv_value))
}

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    super::worker::eyot::worker::kv::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    wasi::link(linker)
}
