//! Schedules of workers, for operators: when they are due, what their runs came to, and runs that are asked for.

use std::sync::Arc;

use super::Deployments;
use crate::store::{By, ScheduleName, Schedules, StoreError};

impl Deployments {
    /// The schedules of all workers.
    ///
    /// # Errors
    /// They cannot be opened.
    pub fn schedules(&self) -> Result<Arc<Schedules>, StoreError> {
        self.activator.data.schedules()?.ok_or(StoreError::Closed)
    }

    /// Whether a version that serves has this schedule.
    #[must_use]
    pub fn is_planned(&self, name: &ScheduleName) -> bool {
        let named = |configuration: &crate::config::Worker| {
            configuration.schedules.iter().any(|schedule| schedule.name == *name.name)
        };
        let serving = self.serving();
        serving.versions(&name.worker).any(|(_, configuration)| named(configuration))
            || self.node.workers.iter().any(|worker| worker.name == *name.worker && named(worker))
    }

    /// Asks for a run now. Whether a version that serves has this schedule.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn run_schedule(&self, by: By, name: &ScheduleName) -> Result<bool, StoreError> {
        let store = self.store()?;
        if !self.is_planned(name) || !self.schedules()?.ask(name).await? {
            return Ok(false);
        }
        store.note(by, "schedule.run", &name.worker, serde_json::json!({ "schedule": &*name.name })).await?;
        Ok(true)
    }
}
