//! The values of workers' secrets: those of deployed workers are the store's, and open in memory; those of node.toml and of `eyot dev` are
//! the environment's.

use std::collections::BTreeMap;

use super::active::Worker;
use super::deployed::{Stored, manifest_name};
use crate::config::{self, Diagnostic, Place};
use crate::store::{SecretName, SecretValue, Store, StoreError, Vault, VaultError};

/// All secrets of deployed workers, by worker and name.
#[derive(Default)]
pub struct Secrets {
    /// Opens and seals them. `None`: the operator has given no key.
    pub(super) vault: Option<Vault>,
    values: BTreeMap<String, BTreeMap<String, SecretValue>>,
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// What the store says.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key is another one, or a value is damaged.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// There are secrets, and nothing to open them with.
    #[error("there are secrets in the store, and this node has no key for them")]
    NoKey,
}

impl Secrets {
    /// Opens what the store keeps.
    ///
    /// # Errors
    /// When it cannot be read or opened.
    pub async fn open(store: &Store, vault: Option<Vault>) -> Result<Self, SecretsError> {
        let mut secrets = Self { vault, values: BTreeMap::new() };
        for secret in store.secrets(None).await? {
            let vault = secrets.vault.as_ref().ok_or(SecretsError::NoKey)?;
            let value = vault.open(&secret.worker, &secret.name, &secret.sealed)?;
            secrets.set(&secret.worker, &secret.name, Some(value));
        }
        Ok(secrets)
    }

    /// A new value, or none.
    pub(super) fn set(&mut self, worker: &str, name: &SecretName, value: Option<SecretValue>) {
        let values = self.values.entry(worker.to_owned()).or_default();
        match value {
            Some(value) => _ = values.insert(name.to_string(), value),
            None => _ = values.remove(name.as_str()),
        }
    }

    /// What is missing of what a version asks for.
    ///
    /// # Errors
    /// The first one that has no value.
    pub fn are_there(&self, stored: &Stored) -> Result<(), Diagnostic> {
        let config::Worker { name: worker, secrets, .. } = &*stored.configuration;
        let values = self.values.get(worker);
        let missing = |name: &&String| values.is_none_or(|values| !values.contains_key(*name));
        let Some(name) = secrets.iter().find(missing) else { return Ok(()) };
        let place = Place::file(manifest_name(worker, stored.number));
        let message = format!("secret `{name}` has no value");
        Err(Diagnostic::new(place, message, format!("give it one: eyot secret set {worker} {name}")))
    }

    /// Has a version know what it asks for.
    pub(super) fn tell(&self, worker: &Worker, configuration: &config::Worker) {
        let Some(values) = self.values.get(&configuration.name) else { return };
        let asked = configuration.secrets.iter().filter_map(|name| Some((name.as_str(), values.get(name)?)));
        // They came as text.
        let texts = asked.filter_map(|(name, value)| Some((name, std::str::from_utf8(value.as_bytes()).ok()?)));
        worker.capabilities.know(texts);
    }
}

/// Has a worker of node.toml know its secrets, which stand in this process's environment.
pub(super) fn tell_from_environment(worker: &Worker, configuration: &config::Worker) -> Result<(), Diagnostic> {
    let mut values = Vec::new();
    for name in &configuration.secrets {
        let variable = variable(name);
        let value = std::env::var(&variable).map_err(|_| {
            let place = Place::file(configuration.folder.join("eyot.toml"));
            let message = format!("secret `{name}` has no value: the environment has no {variable}");
            Diagnostic::new(place, message, format!("start with {variable}=… in the environment"))
        })?;
        values.push((name.as_str(), value));
    }
    worker.capabilities.know(values.iter().map(|(name, value)| (*name, value.as_str())));
    Ok(())
}

/// Names of variables have neither dots nor hyphens (POSIX).
fn variable(name: &str) -> String {
    let name = name.replace(['.', '-'], "_").to_ascii_uppercase();
    format!("EYOT_SECRET_{name}")
}
