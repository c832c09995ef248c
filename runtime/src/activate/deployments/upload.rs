//! A version that is brought to this node: looked at, compiled and kept. Nothing serves it yet.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::{DeployError, Deployments, May, blocking};
use crate::config;
use crate::store::{By, Digest, NewVersion, StoreError, Version};

/// How the text of an eyot.toml is called in messages: whoever has sent it knows where it lies.
const MANIFEST: &str = "eyot.toml";

/// The place of one who brings a component: each has all of it in memory.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

/// What is brought.
#[derive(Debug)]
pub struct Upload {
    /// Held until it is kept.
    pub place: Place,
    /// For which worker.
    pub worker: String,
    /// The text of its eyot.toml.
    pub manifest: String,
    /// The bytes of its component.
    pub component: Bytes,
    /// What its author says of it.
    pub message: String,
}

impl Deployments {
    /// Waits for a place, which whoever brings a component has before it is received.
    ///
    /// # Errors
    /// When the node is ending.
    pub async fn place(&self) -> Result<Place, DeployError> {
        let place = Arc::clone(&self.uploads).acquire_owned().await;
        place.map(|_permit| Place { _permit }).map_err(|_| DeployError::Store(StoreError::Closed))
    }

    /// Adds a version to a worker, which is made with its first one: when this returns it is checked, compiled and on the disk.
    ///
    /// # Errors
    /// Every fault of its eyot.toml, or the first one of its component; or when it cannot be kept.
    pub async fn add_version(self: &Arc<Self>, by: By, upload: Upload, may: May<'_>) -> Result<Version, DeployError> {
        let Upload { place: _place, worker, manifest, component, message } = upload;
        let configuration = self.read_manifest(&worker, manifest.clone())?;
        may(&configuration).map_err(DeployError::Denied)?;
        let activator = Arc::clone(&self.activator);
        let bytes = component.clone();
        blocking(move || Ok(activator.look_at_upload(&configuration, &bytes)?)).await?;
        let held = self.store()?.put_component(component.clone()).await?;
        self.keep_version(by, held, (NewVersion { worker, manifest, message }, component)).await
    }

    /// Reads an eyot.toml that was sent, for this worker.
    pub(super) fn read_manifest(&self, worker: &str, manifest: String) -> Result<config::Worker, DeployError> {
        let file = Path::new(MANIFEST);
        let configuration = config::Worker::deployed(file, manifest, file.into(), &self.node)?;
        if configuration.name != worker {
            let message = format!("this is worker `{}`, and it was sent as `{worker}`", configuration.name);
            let help = "send it under its own name";
            return Err(config::Diagnostic::new(config::Place::file(file), message, help).into());
        }
        if self.node.workers.iter().any(|other| other.name == worker) {
            return Err(super::super::deployed::has_name_of_a_configured_one(worker).into());
        }
        Ok(configuration)
    }
}

impl super::Activator {
    /// Inspects, compiles and links a component, and keeps its code.
    pub(super) fn look_at_upload(
        &self,
        configuration: &config::Worker,
        bytes: &[u8],
    ) -> Result<(), config::Diagnostic> {
        let component = config::Place::file("component");
        if bytes.len() as u64 > self.loader.components.component_size {
            let most = self.loader.components.component_size;
            let message = format!("the component has {} bytes, and limit `component_size` is {most}", bytes.len());
            return Err(config::Diagnostic::new(component, message, "make it smaller, or raise the limit of the node"));
        }
        let made = self.worker(configuration, Digest::of(bytes), "new".into())?;
        let known = self.code_of(&made.code, |_| false, || self.loader.components.make(&made.code, bytes));
        known.map(drop).map_err(|error| super::super::activator::fault(&component.file, &error))
    }
}
