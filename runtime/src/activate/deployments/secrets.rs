//! Secrets of deployed workers: kept under the node's key, and known to isolates from the next question on.

use std::sync::Arc;

use super::{DeployError, Deployments};
use crate::store::{By, Secret, SecretName, SecretValue, StoreError};

impl Deployments {
    /// Gives a secret its value. The worker need not be there yet.
    ///
    /// # Errors
    /// When it is too large, the node has no key, or it cannot be kept.
    pub async fn set_secret(
        self: &Arc<Self>,
        by: By,
        worker: &str,
        name: SecretName,
        value: String,
    ) -> Result<Secret, DeployError> {
        let (value, worker) = (SecretValue::new(value.into_bytes())?, worker.to_owned());
        self.change("set secret", move |own| async move {
            let sealed = {
                let secrets = own.secrets();
                let vault = secrets.vault.as_ref().ok_or(DeployError::NoKey)?;
                vault.seal(&worker, &name, &value)?
            };
            own.store()?.set_secret(by, &worker, name.clone(), sealed).await?;
            own.secrets().set(&worker, &name, Some(value));
            own.previews.forget(&worker);
            own.tell_secrets(&worker);
            let secrets = own.store()?.secrets(Some(&worker)).await?;
            let set = secrets.into_iter().find(|secret| secret.name == name);
            Ok(set.ok_or(StoreError::NoSecret { worker, name: name.to_string() })?)
        })
        .await
    }

    /// Removes a secret.
    ///
    /// # Errors
    /// When there is none, a version that serves asks for it, or it cannot be kept.
    pub async fn remove_secret(self: &Arc<Self>, by: By, worker: &str, name: SecretName) -> Result<(), DeployError> {
        let worker = worker.to_owned();
        self.change("remove secret", move |own| async move {
            let user = own.serving().user_of(&worker, name.as_str());
            if let Some(version) = user {
                return Err(DeployError::InUse { worker, version, name: name.to_string() });
            }
            own.store()?.remove_secret(by, &worker, name.clone()).await?;
            own.secrets().set(&worker, &name, None);
            Ok(())
        })
        .await
    }

    /// Has all versions that serve know their secrets.
    pub(super) fn tell_all_secrets(&self) {
        let (serving, secrets) = (self.serving(), self.secrets());
        for (version, configuration) in serving.workers().flat_map(|(worker, _)| serving.versions(worker)) {
            secrets.tell(version, configuration);
        }
    }

    /// Has all versions of a worker that serve know what its secrets are now.
    fn tell_secrets(&self, worker: &str) {
        let (serving, secrets) = (self.serving(), self.secrets());
        for (version, configuration) in serving.versions(worker) {
            secrets.tell(version, configuration);
        }
    }
}
