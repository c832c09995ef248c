//! A request to a version before it serves: what does not answer does not get any other.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::preview::preview_host;
use super::{DeployError, Deployments};
use crate::activate::active::Active;

/// Asks a path of a host of a snapshot, and says with which status it was answered; `None`: not at all.
pub type Ask = Box<dyn Fn(Arc<Active>, String, String) -> Asking + Send + Sync>;

/// The answer to come.
pub type Asking = Pin<Box<dyn Future<Output = Option<u16>> + Send>>;

/// Whoever deploys waits so long at most.
const PATIENCE: Duration = Duration::from_secs(30);

/// No version is tried here from outside: names below `alt` are no names of the domain name system (RFC 9476).
const HOST: &str = "probe.alt";

impl Deployments {
    /// Asks each of these versions that does not serve yet.
    ///
    /// # Errors
    /// The first one that does not answer, or with a status of 500 or above.
    pub(super) async fn probe(&self, worker: &str, versions: &[u32], path: &str) -> Result<(), DeployError> {
        for version in versions {
            if self.serving().version(worker, *version).is_some() {
                continue;
            }
            let host = preview_host(HOST, worker, *version);
            let active = self.preview(worker, *version, &host).await?;
            let answer = tokio::time::timeout(PATIENCE, (self.ask)(active, host, path.to_owned())).await;
            let why = match answer {
                Ok(Some(..500)) => continue,
                Ok(Some(status)) => format!("answered {status}"),
                Ok(None) => "did not answer".to_owned(),
                Err(_) => format!("did not answer in {} s", PATIENCE.as_secs()),
            };
            return Err(DeployError::Probe { version: *version, path: path.to_owned(), why });
        }
        Ok(())
    }
}
