//! What a node shares with the others of its fleet: what it changes is published before it is kept, and what others publish is kept and
//! served here as if it had been brought here.
//!
//! The server has the order of changes, so what a node has itself is never newer than the fleet's: a change that cannot be published is not
//! made. While the server is away the node serves what it has.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;

use super::{DeployError, Deployments, blocking};
use crate::activate::deployed::Stored;
use crate::config::{Diagnostic, Place};
use crate::store::{
    After, By, Change, Content, Deployment, Fleet, FleetNode, Held, NewVersion, Plan, Shares, Store, StoreError,
    Version,
};

/// How often it is tried again to follow, and to serve what could not be served.
const AGAIN: Duration = Duration::from_secs(1);

/// So long a deployment waits until the node knows what the fleet has deployed.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a node tells that it is there.
const TELL: Duration = Duration::from_secs(5);

/// Who makes the changes here that others have published.
const FLEET: &str = "fleet";

/// What of a fleet this node knows.
pub(super) struct Shared {
    fleet: Arc<Fleet>,
    started: Timestamp,
    /// When the records were begun that this node knows, in microseconds since 1970.
    begun: AtomicI64,
    /// The newest change of each worker that was made here, or tried: noted in the turn of whoever makes it, so that none is made after a
    /// later one.
    changes: Mutex<HashMap<String, u64>>,
    /// What is published and cannot be served here yet.
    pending: Mutex<HashMap<String, (u64, Deployment)>>,
    last: AtomicU64,
    /// What the fleet has deployed is known, and what only this node had has been published.
    has_joined: watch::Sender<bool>,
}

impl Shared {
    pub(super) fn new(fleet: Arc<Fleet>) -> Self {
        Self {
            fleet,
            started: Timestamp::now(),
            begun: AtomicI64::new(0),
            changes: Mutex::default(),
            pending: Mutex::default(),
            last: AtomicU64::new(0),
            has_joined: watch::Sender::new(false),
        }
    }

    fn changes(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<String, (u64, Deployment)>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until this node knows what a deployment of its own would replace. Without its server it is not waited for: nothing can be published.
    async fn joined(&self) -> Result<(), StoreError> {
        let mut has_joined = self.has_joined.subscribe();
        let joined = has_joined.wait_for(|has_joined| *has_joined || !self.fleet.is_connected());
        match tokio::time::timeout(PATIENCE, joined).await {
            Ok(_) => Ok(()),
            Err(_) => Err(self.fleet.is_still_read()),
        }
    }

    /// Publishes a deployment with all that it needs, unless another node was faster; says which change it is.
    async fn publish(&self, store: &Store, made: &Deployment) -> Result<u64, DeployError> {
        for share in made.shares().into_iter().flat_map(Shares::iter) {
            let Some(version) = store.version(share.version).await? else { continue };
            self.publish_version(store, &version).await?;
        }
        let replaces = self.changes().get(&made.worker).copied().unwrap_or(0);
        match self.fleet.publish_deployment(made, replaces).await? {
            Some(number) => {
                self.changes().insert(made.worker.clone(), number);
                self.pending().remove(&made.worker);
                Ok(number)
            }
            None => Err(StoreError::Raced { worker: made.worker.clone(), current: None }.into()),
        }
    }

    /// Publishes a version that is kept here. One that is published stays as it is.
    async fn publish_version(&self, store: &Store, version: &Version) -> Result<(), DeployError> {
        let Some(Content { component, .. }) = version.content.as_ref() else { return Ok(()) };
        let file = store.component_path(component);
        let read = blocking(move || {
            let told =
                |error: std::io::Error| Diagnostic::new(Place::file(&file), error.to_string(), "deploy it again");
            Ok(Bytes::from(std::fs::read(&file).map_err(told)?))
        });
        self.fleet.put_component(component, &read.await?).await?;
        self.fleet.publish_version(version).await?;
        Ok(())
    }
}

impl Deployments {
    /// How the fleet stands; `None` where there is none.
    #[must_use]
    pub fn fleet(&self) -> Option<&Arc<Fleet>> {
        self.shared.as_ref().map(|shared| &shared.fleet)
    }

    /// Until it is known here what the fleet has deployed; not in a turn, which whoever reads it needs.
    pub(super) async fn knows_its_fleet(&self) -> Result<(), DeployError> {
        match &self.shared {
            Some(shared) => Ok(shared.joined().await?),
            None => Ok(()),
        }
    }

    /// Keeps a version that was brought here.
    pub(super) async fn keep_version(
        &self,
        by: By,
        component: Held,
        (new, bytes): (NewVersion, Bytes),
    ) -> Result<Version, DeployError> {
        let store = self.store()?;
        let Some(shared) = &self.shared else { return Ok(store.add_version(by, component, new).await?) };
        if let Some(known) = store.version_of_key(by.clone()).await? {
            return Ok(known);
        }
        shared.fleet.put_component(&component.digest(), &bytes).await?;
        let mut number = store.next_number(&new.worker).await?;
        loop {
            let version = new.clone().numbered(component.digest(), number);
            // Another node's has this number, and comes here soon.
            if shared.fleet.publish_version(&version).await? {
                return Ok(store.import_version(by, component, version).await?);
            }
            number += 1;
        }
    }

    /// Keeps a deployment that was asked for here.
    pub(super) async fn keep_deployment(
        &self,
        by: By,
        (made, after): (Deployment, After),
    ) -> Result<Deployment, DeployError> {
        let store = self.store()?;
        let Some(shared) = &self.shared else { return Ok(store.make_deployment(by, made, after).await?) };
        if let Some(known) = store.deployment_of_key(by.clone()).await? {
            return Ok(known);
        }
        let worker = made.worker.clone();
        let current = store.worker(&worker).await?.and_then(|worker| worker.deployment);
        let serves = current.as_ref().is_some_and(|deployment| deployment.shares().is_some());
        if made.plan == Plan::Removed && !serves {
            return Err(StoreError::NoWorker { worker }.into());
        }
        let current = current.map(|deployment| deployment.id);
        if let After::This(expected) = after
            && current != Some(expected)
        {
            return Err(StoreError::Raced { worker, current }.into());
        }
        let number = shared.publish(&store, &made).await?;
        let kept = store.import_deployment(by, made.clone()).await;
        if kept.is_err() {
            // It is the fleet's, so it is to be this node's, too.
            shared.pending().insert(made.worker.clone(), (number, made));
        }
        Ok(kept?)
    }

    /// Serves what other nodes publish, for as long as this one runs.
    pub async fn follow(self: Arc<Self>) {
        let mut told = String::new();
        while self.shared.is_some() {
            if let Err(error) = self.follow_on().await {
                let error = error.to_string();
                if error != told {
                    tracing::warn!("the fleet is not followed now: {error}");
                    told = error;
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Until the connection is lost.
    async fn follow_on(self: &Arc<Self>) -> Result<(), DeployError> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let (begun, mut until) = shared.fleet.begun().await?;
        if shared.begun.swap(begun, Relaxed) != begun {
            // Other records: all of them are to be read, and what stands in none is this node's to publish.
            shared.changes().clear();
            shared.last.store(0, Relaxed);
            shared.has_joined.send_replace(false);
        }
        let mut changes = shared.fleet.changes(shared.last.load(Relaxed)).await?;
        tracing::info!(node = shared.fleet.name(), change = shared.last.load(Relaxed), "the fleet is followed");
        loop {
            if shared.last.load(Relaxed) >= until && !*shared.has_joined.borrow() {
                self.join(shared).await?;
                shared.has_joined.send_replace(true);
            }
            // What is not a change here has a number, too.
            let change = match tokio::time::timeout(AGAIN, changes.next()).await {
                Ok(change) => Some(change?),
                Err(_) => None,
            };
            match change {
                Some((number, Some(Change::Version(version)))) => {
                    self.import_version(shared, *version).await?;
                    shared.last.store(number, Relaxed);
                }
                Some((number, Some(Change::Deployment(deployment)))) => {
                    self.import_deployment(shared, number, *deployment).await?;
                    shared.last.store(number, Relaxed);
                }
                Some((number, None)) => {
                    tracing::error!(number, "a change of the fleet was written by a newer Eyot");
                    shared.last.store(number, Relaxed);
                }
                None => {
                    until = 0;
                    self.serve_pending(shared).await?;
                }
            }
        }
    }

    /// Publishes what only this node has.
    async fn join(&self, shared: &Shared) -> Result<(), DeployError> {
        let store = self.store()?;
        for worker in store.snapshot().await?.workers {
            // Nobody deploys here meanwhile.
            let _turn = self.kept.turn().await?;
            if shared.changes().contains_key(&worker.name) {
                continue;
            }
            let deployment = store.worker(&worker.name).await?.and_then(|worker| worker.deployment);
            let Some(deployment) = deployment.filter(|deployment| deployment.shares().is_some()) else { continue };
            match shared.publish(&store, &deployment).await {
                Ok(_) => tracing::info!(worker = worker.name, "the fleet has it from this node"),
                // Another node has one of this name, which comes here next.
                Err(DeployError::Store(StoreError::Raced { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Keeps a version that another node has published, compiled. An error is the server's or the store's.
    async fn import_version(&self, shared: &Shared, version: Version) -> Result<(), DeployError> {
        let store = self.store()?;
        if store.version(version.id).await?.is_some() {
            return Ok(());
        }
        let Some(Content { component, manifest }) = version.content.clone() else { return Ok(()) };
        let bytes = shared.fleet.component(&component).await?;
        let (worker, number) = (version.worker.clone(), version.number);
        // What is wrong with it here stands in nobody's way who does not deploy it.
        let fit = match self.read_manifest(&worker, manifest) {
            Ok(configuration) => {
                let (activator, bytes) = (Arc::clone(&self.activator), bytes.clone());
                blocking(move || Ok(activator.look_at_upload(&configuration, &bytes)?)).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = fit {
            tracing::warn!(worker, number, "a version of the fleet cannot serve here: {error}");
        }
        let held = store.put_component(bytes).await?;
        match store.import_version(By::new(FLEET), held, version).await {
            Ok(_) => tracing::info!(worker, number, "a version came from the fleet"),
            Err(error @ StoreError::Differs { .. }) => tracing::error!(worker, number, "{error}"),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Serves what another node has deployed; what cannot be served here now is tried again.
    async fn import_deployment(
        self: &Arc<Self>,
        shared: &Shared,
        number: u64,
        deployment: Deployment,
    ) -> Result<(), DeployError> {
        let (worker, id) = (deployment.worker.clone(), deployment.id);
        let Err(error) = self.serve_shared(number, deployment.clone()).await else {
            shared.pending().remove(&worker);
            return Ok(());
        };
        let known = shared.pending().insert(worker.clone(), (number, deployment));
        if known.is_none_or(|(known, _)| known != number) {
            tracing::error!(worker, deployment = %id, "a deployment of the fleet does not serve here: {error}");
            let faults = match error {
                DeployError::Refused(faults) => faults,
                error => Diagnostic::new(Place::default(), error.to_string(), "it is tried again").into(),
            };
            self.serving().leave_out(&worker, faults);
        }
        Ok(())
    }

    /// In its turn: by then this node may have made a later change itself.
    async fn serve_shared(self: &Arc<Self>, number: u64, deployment: Deployment) -> Result<(), DeployError> {
        self.change("follow", move |own| async move {
            let Some(shared) = &own.shared else { return Ok(()) };
            let (store, worker) = (own.store()?, deployment.worker.clone());
            let known = shared.changes().get(&worker).copied();
            let current = store.worker(&worker).await?.and_then(|worker| worker.deployment);
            if known.is_some_and(|known| known > number) {
                return Ok(());
            }
            shared.changes().insert(worker.clone(), number);
            if current.is_some_and(|current| current.id == deployment.id) {
                return Ok(());
            }
            let versions = own.stored(&store, &deployment).await?;
            let keep =
                |store: Arc<Store>| async move { Ok(store.import_deployment(By::new(FLEET), deployment).await?) };
            own.serve(&worker, versions, keep).await.map(drop)
        })
        .await
    }

    /// The versions that a deployment names, as they are to serve; `None` where nothing is.
    async fn stored(&self, store: &Store, deployment: &Deployment) -> Result<Option<Vec<Stored>>, DeployError> {
        let Some(shares) = deployment.shares() else { return Ok(None) };
        let mut stored = Vec::new();
        for share in shares.iter() {
            let version = store.version(share.version).await?.ok_or_else(|| StoreError::NoVersion {
                worker: deployment.worker.clone(),
                version: share.version.to_string(),
            })?;
            stored.push(Stored::read(&version, share.weight, store, &self.node)?);
        }
        Ok(Some(stored))
    }

    /// Tries again what could not be served.
    async fn serve_pending(self: &Arc<Self>, shared: &Shared) -> Result<(), DeployError> {
        let pending: Vec<_> = shared.pending().values().cloned().collect();
        for (number, deployment) in pending {
            self.import_deployment(shared, number, deployment).await?;
        }
        Ok(())
    }

    /// Tells the others that this node is there, for as long as it runs; `look` is told whether the server is, and up to which change
    /// this node has come.
    pub async fn tell_fleet(self: Arc<Self>, look: impl Fn(bool, u64)) {
        let Some(shared) = &self.shared else { return };
        let mut since_told = TELL;
        loop {
            let (is_connected, change) = (shared.fleet.is_connected(), shared.last.load(Relaxed));
            look(is_connected, change);
            if is_connected && since_told >= TELL {
                // It is told again soon.
                _ = shared.fleet.announce(&self.as_node(shared, change)).await;
                since_told = Duration::ZERO;
            }
            tokio::time::sleep(AGAIN).await;
            since_told += AGAIN;
        }
    }

    fn as_node(&self, shared: &Shared, change: u64) -> FleetNode {
        let standing = self.standing();
        let left_out: Vec<_> =
            standing.iter().filter(|one| one.faults.is_some()).map(|one| one.worker.clone()).collect();
        FleetNode {
            name: shared.fleet.name().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: shared.started,
            seen: Timestamp::now(),
            change,
            workers: (self.configured.len() + standing.len() - left_out.len()) as u64,
            left_out,
        }
    }
}
