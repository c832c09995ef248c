//! Schedules of workers, for operators: when they are due, what their runs came to, and runs that are asked for.

use std::sync::Arc;

use super::Stock;
use crate::store::{By, ScheduleName, Schedules, StoreError};

impl Stock {
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
        (self.serving)().schedules.contains_key(name)
    }

    /// Asks for a run now. Whether a version that serves has this schedule.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn run_schedule(&self, by: By, name: &ScheduleName) -> Result<bool, StoreError> {
        let audit = self.audit()?;
        if !self.is_planned(name) || !self.schedules()?.ask(name).await? {
            return Ok(false);
        }
        audit.note(by, "schedule.run", &name.worker, serde_json::json!({ "schedule": &*name.name })).await?;
        Ok(true)
    }
}
