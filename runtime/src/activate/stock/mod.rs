//! What workers keep, for operators: what is there, and changes that stand in the audit where there is one.

mod kv;
mod queue;
mod schedule;

use std::sync::Arc;

use super::{Activator, Active, Deployments};
use crate::config::WorkerLimits;
use crate::store::{By, Store, StoreError};

/// The data of the workers of a node, with deployments or without (`eyot dev`).
pub struct Stock {
    activator: Arc<Activator>,
    serving: Box<dyn Fn() -> Arc<Active> + Send + Sync>,
    defaults: WorkerLimits,
    deployments: Option<Arc<Deployments>>,
}

impl Stock {
    /// Of the workers that `serving` says are served. A worker that does not serve is held to `defaults`.
    #[must_use]
    pub fn new(
        activator: Arc<Activator>,
        serving: impl Fn() -> Arc<Active> + Send + Sync + 'static,
        defaults: WorkerLimits,
        deployments: Option<Arc<Deployments>>,
    ) -> Self {
        Self { activator, serving: Box::new(serving), defaults, deployments }
    }

    /// Those of the worker as it serves; of one that does not, those of a worker that sets none.
    #[must_use]
    pub fn limits_of(&self, worker: &str) -> WorkerLimits {
        let active = (self.serving)();
        let serves = active.workers.iter().find(|serving| *serving.name == *worker);
        serves.map_or_else(|| self.defaults.clone(), |worker| (*worker.capabilities.limits).clone())
    }

    /// Where changes are written down. It is asked for before a change is made.
    fn audit(&self) -> Result<Audit, StoreError> {
        self.deployments.as_ref().map(|deployments| deployments.store()).transpose().map(Audit)
    }
}

/// Where changes are written down, if anywhere.
struct Audit(Option<Arc<Store>>);

impl Audit {
    async fn note(
        &self,
        by: By,
        action: &'static str,
        worker: &str,
        detail: serde_json::Value,
    ) -> Result<(), StoreError> {
        match &self.0 {
            Some(store) => store.note(by, action, worker, detail).await,
            None => Ok(()),
        }
    }
}
