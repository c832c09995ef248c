//! The secrets of workers. The store has no key: a [`Vault`](crate::store::Vault) seals what comes in and opens what goes out.

use super::Store;
use crate::store::error::StoreError;
use crate::store::model::By;
use crate::store::secret::{Sealed, Secret, SecretName, rows};
use crate::store::vault::VaultError;

impl Store {
    /// Gives a secret of a worker its value, and says which revision that is. There need be no such worker yet.
    ///
    /// # Errors
    /// When the worker has too many, or when it cannot be written.
    pub async fn set_secret(&self, by: By, worker: &str, name: SecretName, sealed: Sealed) -> Result<u32, StoreError> {
        let worker = worker.to_owned();
        self.writer.change(move |connection| rows::set(connection, &by, &worker, &name, &sealed)).await
    }

    /// Removes a secret of a worker.
    ///
    /// # Errors
    /// When there is none, or when it cannot be written.
    pub async fn remove_secret(&self, by: By, worker: &str, name: SecretName) -> Result<(), StoreError> {
        let worker = worker.to_owned();
        self.writer.change(move |connection| rows::remove(connection, &by, &worker, &name)).await
    }

    /// The secrets of a worker, or of all of them, by worker and name.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn secrets(&self, worker: Option<&str>) -> Result<Vec<Secret>, StoreError> {
        let worker = worker.map(str::to_owned);
        self.read(move |connection| rows::secrets(connection, worker.as_deref())).await
    }

    /// Seals all secrets anew in one transaction, as when the key changes: all of them, or none. Says how many are other than before.
    /// No other change is made meanwhile.
    ///
    /// # Errors
    /// When one cannot be sealed anew, or when it cannot be written.
    pub async fn reseal_secrets(
        &self,
        by: By,
        anew: impl Fn(&Secret) -> Result<Sealed, VaultError> + Send + 'static,
    ) -> Result<usize, StoreError> {
        self.writer.change(move |connection| rows::reseal(connection, &by, &anew)).await
    }
}
