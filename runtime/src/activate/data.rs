//! Where workers keep what outlives their isolates. It is opened when the first worker comes that keeps anything.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::config::{self, Diagnostic, Place};
use crate::store::{Kv, StoreError};

/// How often the node looks for what has expired.
const SWEPT_EVERY: Duration = Duration::from_secs(10);

/// The data of all workers.
pub struct Data {
    place: Where,
    kv: Mutex<Option<Arc<Kv>>>,
}

/// Where it lies.
enum Where {
    /// In this folder.
    In(PathBuf),
    /// This process only looks at workers, and touches nothing.
    Unseen,
    /// The node has no place for it.
    Nowhere,
}

impl Data {
    /// In this folder, if there is one.
    #[must_use]
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { place: folder.map_or(Where::Nowhere, Where::In), kv: Mutex::default() }
    }

    /// For a process that looks whether workers could be served: there is a place, or not, and nothing is opened.
    #[must_use]
    pub fn unseen(folder: Option<PathBuf>) -> Self {
        Self { place: folder.map_or(Where::Nowhere, |_| Where::Unseen), kv: Mutex::default() }
    }

    /// Keys and values, for a worker that has any.
    ///
    /// # Errors
    /// There is no place for them, or it cannot be used.
    pub(super) fn kv_of(&self, worker: &config::Worker) -> Result<Option<Arc<Kv>>, Diagnostic> {
        if worker.kv.is_empty() {
            return Ok(None);
        }
        let file = worker.folder.join("eyot.toml");
        match &self.place {
            Where::Unseen => Ok(None),
            Where::In(_) => self.kv().map_err(|error| {
                let help = "the node needs this folder for the keys and values of its workers";
                Diagnostic::new(Place::file(file), format!("`kv`: {error}"), help)
            }),
            Where::Nowhere => {
                let message = format!("worker `{}` has `kv`, and this node keeps nothing", worker.name);
                let help = "add `store = \"FOLDER\"` and [admin] to node.toml";
                Err(Diagnostic::new(Place::file(file), message, help))
            }
        }
    }

    /// Keys and values, whoever needs them: `None` where there is no place for them.
    ///
    /// # Errors
    /// The place cannot be used.
    pub fn kv(&self) -> Result<Option<Arc<Kv>>, StoreError> {
        let Where::In(folder) = &self.place else { return Ok(None) };
        let mut kv = self.kv.lock().unwrap_or_else(PoisonError::into_inner);
        if kv.is_none() {
            *kv = Some(Arc::new(Kv::open(folder)?));
        }
        Ok(kv.clone())
    }

    /// Removes what has expired, for as long as the node runs.
    pub async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEPT_EVERY).await;
            let kv = self.kv.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let Some(kv) = kv else { continue };
            if let Err(error) = kv.sweep().await {
                tracing::error!("keys and values that have expired stay on the disk: {error}");
            }
        }
    }
}
