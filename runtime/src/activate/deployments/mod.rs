//! Changing what serves: each change is checked, made ready, kept in the store and only then served. A step that fails leaves what was
//! there, and a change that was answered is on the disk.
//!
//! One change is made after the other, each by a task of its own: whoever asked may go, and it is still made as a whole.

mod error;
mod fleet;
mod kept;
mod preview;
mod probe;
mod secrets;
mod serving;
mod upload;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

pub use error::DeployError;
pub use probe::Ask;
pub use serving::Standing;
pub use upload::Upload;

use self::fleet::Shared;
use self::kept::Kept;
use self::preview::Previews;
use self::serving::Serving;
use super::activator::Activator;
use super::active::Active;
use super::assemble::{Ground, Served};
use super::deployed::{Deployed, LeftOut, Stored};
use super::secrets::Secrets;
use crate::config::{self, Diagnostics};
use crate::observe;
use crate::store::{
    After, By, Deployment, DeploymentId, Fleet, Keep, Plan, Pruned, Share, Shares, Store, StoreError, Version,
    VersionId, Why,
};

/// Whether whoever asks may have a worker of this configuration: what it says of hosts and routes is known only here.
pub type May<'a> = &'a (dyn Fn(&config::Worker) -> Result<(), String> + Sync);

/// What a node does about deployed workers, for whoever asks.
pub struct Deployments {
    kept: Kept,
    activator: Arc<Activator>,
    node: config::Node,
    ground: Ground,
    /// The workers of node.toml.
    configured: Vec<Served>,
    serving: Mutex<Serving>,
    secrets: Mutex<Secrets>,
    /// The places of those who bring components.
    uploads: Arc<Semaphore>,
    switch: Switch,
    ask: Ask,
    previews: Previews,
    /// With whom it is shared, if with anybody.
    shared: Option<Shared>,
}

/// Has a snapshot served from the next request on.
pub type Switch = Box<dyn Fn(Active) + Send + Sync>;

/// So many components are received and compiled at once; further ones wait.
const UPLOADS: usize = 2;

/// How often the node looks for what can go.
const PRUNED_EVERY: Duration = Duration::from_secs(60 * 60);

/// What a start has found, and what changes it builds on.
pub struct Found {
    /// What all snapshots have in common.
    pub ground: Ground,
    /// What serves: the workers of node.toml first.
    pub served: Vec<Served>,
    /// What should and cannot.
    pub left_out: LeftOut,
    /// What deployed workers know.
    pub secrets: Secrets,
}

/// What a deployment is to be, in the numbers of versions.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The name of its worker.
    pub worker: String,
    /// Which versions, and how much of each, in basis points.
    pub shares: Vec<(u32, u16)>,
    /// What for.
    pub why: Why,
    /// What it replaces.
    pub after: After,
    /// What is said of it.
    pub note: String,
    /// A path that versions which do not serve yet must answer first.
    pub probe: Option<String>,
}

impl Deployments {
    /// Takes over what a start has made of a store.
    #[must_use]
    pub fn new(
        store: Store,
        activator: Arc<Activator>,
        node: config::Node,
        (deployed, found): (Vec<Deployed>, Found),
        switch: Switch,
        (ask, fleet): (Ask, Option<Arc<Fleet>>),
    ) -> Arc<Self> {
        let Found { ground, mut served, left_out, secrets } = found;
        let more = served.split_off(node.workers.len());
        let serving = Mutex::new(Serving::new(deployed, more, left_out));
        let uploads = Arc::new(Semaphore::new(UPLOADS));
        let own = Self {
            kept: Kept::new(store),
            activator,
            ground,
            configured: served,
            serving,
            secrets: Mutex::new(secrets),
            uploads,
            switch,
            ask,
            previews: Previews::new(&node),
            node,
            shared: fleet.map(Shared::new),
        };
        own.tell_all_secrets();
        Arc::new(own)
    }

    /// Makes a deployment: from the next request on these versions serve.
    ///
    /// # Errors
    /// When a version is not there or cannot serve, when somebody was faster, and when it cannot be kept. What served serves on.
    pub async fn deploy(self: &Arc<Self>, by: By, asked: Asked, may: May<'_>) -> Result<Deployment, DeployError> {
        let (versions, shares) = self.named(&asked).await?;
        let worker = asked.worker.clone();
        let stored = self.read(&versions, &shares)?;
        for version in &stored {
            may(&version.configuration).map_err(DeployError::Denied)?;
        }
        let Asked { worker: name, why, after, note, probe, .. } = asked;
        if let Some(path) = probe {
            let numbers: Vec<_> = stored.iter().map(|stored| stored.number).collect();
            self.probe(&name, &numbers, &path).await?;
        }
        let made = Deployment::new(&by, name, note, Plan::Serve { why, shares });
        self.knows_its_fleet().await?;
        self.change("deploy", move |own| async move {
            own.serve(&worker, Some(stored), |_| own.keep_deployment(by, (made, after))).await
        })
        .await
    }

    /// Goes back to what the deployment before the newest one said, or to that of one version.
    ///
    /// # Errors
    /// When there is nothing to go back to, or see [`Self::deploy`].
    pub async fn roll_back(
        self: &Arc<Self>,
        by: By,
        worker: &str,
        to: Option<u32>,
        (after, note): (After, String),
        may: May<'_>,
    ) -> Result<Deployment, DeployError> {
        let shares = match to {
            Some(number) => vec![(number, 10_000)],
            None => self.before(worker, None).await?,
        };
        let asked = Asked { worker: worker.to_owned(), shares, why: Why::Rollback, after, note, probe: None };
        self.deploy(by, asked, may).await
    }

    /// Removes a worker: nothing of it serves from the next request on. Its versions and its history stay.
    ///
    /// # Errors
    /// When it does not serve, when somebody was faster, and when it cannot be kept.
    pub async fn remove(self: &Arc<Self>, by: By, worker: &str, after: After) -> Result<Deployment, DeployError> {
        let worker = worker.to_owned();
        let made = Deployment::new(&by, worker.clone(), String::new(), Plan::Removed);
        self.knows_its_fleet().await?;
        self.change("remove", move |own| async move {
            own.serve(&worker, None, |_| own.keep_deployment(by, (made, after))).await
        })
        .await
    }

    /// Removes what nobody will serve again, for as long as the node runs: by the rule of [`Keep::default`].
    pub async fn prune(self: Arc<Self>) {
        loop {
            tokio::time::sleep(PRUNED_EVERY).await;
            let pruned = match self.store() {
                Ok(store) => store.prune(By::new("eyot"), Keep::default()).await,
                Err(error) => Err(error),
            };
            match pruned {
                Ok(pruned) if pruned == Pruned::default() => {}
                Ok(pruned) => tracing::info!(versions = pruned.versions, bytes = pruned.bytes, "pruned"),
                Err(error) => tracing::error!("nothing is pruned: {error}"),
            }
            let own = Arc::clone(&self);
            // A panic in it is told by the hook.
            let _ = tokio::task::spawn_blocking(move || own.prune_code()).await;
        }
    }

    /// Removes compiled code as a start does.
    fn prune_code(&self) {
        let all: Vec<_> = self.configured.iter().chain(self.serving().all()).cloned().collect();
        let needed = all.iter().flat_map(|served| &served.versions).map(|(worker, _)| worker.code.digest());
        let components = &self.activator.loader.components;
        components.compiled.prune(&components.engines, needed);
    }

    /// What is known of the workers that should serve.
    #[must_use]
    pub fn standing(&self) -> Vec<Standing> {
        self.serving().standing()
    }

    /// The limits and names of this node, for whoever reads a worker's configuration.
    #[must_use]
    pub fn node(&self) -> &config::Node {
        &self.node
    }

    /// What is kept, unless another process has it by now.
    ///
    /// # Errors
    /// Then nothing can be changed or looked up here.
    pub fn store(&self) -> Result<Arc<Store>, StoreError> {
        self.kept.store()
    }

    /// Lets another process have what is kept: nothing is changed here any more. Blocks until a change that runs is made.
    ///
    /// # Errors
    /// When it takes too long; then this process has it still.
    pub fn release(&self) -> Result<(), StoreError> {
        self.kept.release()
    }

    /// Has what is kept back.
    ///
    /// # Errors
    /// When it cannot be opened; then nothing can be changed here.
    pub fn resume(&self) -> Result<(), StoreError> {
        self.kept.resume(self.node.store.as_deref())
    }

    /// Makes a change in its turn, in a task of its own.
    async fn change<T, F>(
        self: &Arc<Self>,
        name: &'static str,
        change: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> Result<T, DeployError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DeployError>> + Send + 'static,
    {
        let own = Arc::clone(self);
        let made = observe::spawn(name, async move {
            let _turn = own.kept.turn().await?;
            change(Arc::clone(&own)).await
        });
        made.await.unwrap_or(Err(DeployError::Store(StoreError::Panicked)))
    }

    /// Has a worker serve what it is to, or nothing, if that can be done and kept.
    async fn serve<F>(
        &self,
        worker: &str,
        versions: Option<Vec<Stored>>,
        keep: impl FnOnce(Arc<Store>) -> F,
    ) -> Result<Deployment, DeployError>
    where
        F: Future<Output = Result<Deployment, DeployError>>,
    {
        if versions.is_some() && self.node.workers.iter().any(|other| other.name == worker) {
            return Err(super::deployed::has_name_of_a_configured_one(worker).into());
        }
        let ready = match versions {
            Some(versions) => Some(self.ready(worker, versions).await?),
            None => None,
        };
        let active = {
            let serving = self.serving();
            let others = serving.all_but(worker).chain(ready.as_ref().map(|(_, served)| served)).cloned();
            let all: Vec<_> = self.configured.iter().cloned().chain(others).collect();
            self.activator.assemble_on(&self.node, Some(&self.ground), &all)?.unwrap_or_default()
        };
        let store = self.store()?;
        let deployment = keep(Arc::clone(&store)).await?;
        // It is kept, so it serves even where it cannot be looked up whether something else was deployed since its key was used before.
        let newest = store.worker(worker).await.ok().flatten().and_then(|worker| worker.deployment);
        if newest.is_some_and(|newest| newest.id != deployment.id) {
            return Ok(deployment);
        }
        (self.switch)(active);
        self.serving().replace(worker, ready, &deployment);
        let versions = deployment.shares().map_or(0, |shares| shares.iter().count());
        tracing::info!(worker, deployment = %deployment.id, versions, who = deployment.who, "deployed");
        Ok(deployment)
    }

    /// Has the code of all versions in memory; those that serve already stay what they are.
    async fn ready(&self, worker: &str, versions: Vec<Stored>) -> Result<(Vec<Stored>, Served), DeployError> {
        let mut workers = Vec::new();
        for stored in &versions {
            self.secrets().are_there(stored)?;
            let known = self.serving().version(worker, stored.number);
            workers.push(match known {
                Some(worker) => worker,
                None => {
                    let (activator, stored) = (Arc::clone(&self.activator), stored.clone());
                    let configuration = Arc::clone(&stored.configuration);
                    let made = blocking(move || activator.prepare_stored(&stored)).await?;
                    self.secrets().tell(&made, &configuration);
                    made
                }
            });
        }
        let served = super::deployed::served(&versions, workers).ok_or(DeployError::NothingToServe)?;
        Ok((versions, served))
    }

    /// The versions that were asked for, and their shares.
    async fn named(&self, asked: &Asked) -> Result<(Vec<Version>, Shares), DeployError> {
        let (mut versions, mut shares) = (Vec::new(), Vec::new());
        for (number, basis_points) in &asked.shares {
            let found = self.store()?.version_numbered(&asked.worker, *number).await?;
            let version = found
                .ok_or_else(|| StoreError::NoVersion { worker: asked.worker.clone(), version: number.to_string() })?;
            shares.push(Share { version: version.id, weight: crate::store::Weight::new(*basis_points)? });
            versions.push(version);
        }
        versions.sort_by_key(|version| version.id);
        Ok((versions, Shares::new(shares)?))
    }

    fn read(&self, versions: &[Version], shares: &Shares) -> Result<Vec<Stored>, DeployError> {
        let store = self.store()?;
        let read = versions.iter().zip(shares.iter());
        Ok(read
            .map(|(version, share)| Stored::read(version, share.weight, &store, &self.node))
            .collect::<Result<_, _>>()?)
    }

    /// What served before the newest deployment, in numbers of versions; without a version that is not to come back.
    async fn before(&self, worker: &str, without: Option<VersionId>) -> Result<Vec<(u32, u16)>, DeployError> {
        let mut before: Option<DeploymentId> = None;
        loop {
            const PAGE: u32 = 50;
            let page = self.store()?.deployments(worker, before, PAGE).await?;
            let skipped = usize::from(before.is_none());
            let Some(oldest) = page.last() else {
                return Err(DeployError::NothingBefore { worker: worker.to_owned() });
            };
            before = Some(oldest.id);
            let good = page.iter().skip(skipped).find_map(|deployment| match &deployment.plan {
                Plan::Serve { shares, .. } => {
                    let names = |share: &Share| Some(share.version) == without;
                    (!shares.iter().any(names)).then(|| shares.clone())
                }
                Plan::Removed => None,
            });
            if let Some(shares) = good {
                let mut numbers = Vec::new();
                for share in shares.iter() {
                    let found = self.store()?.version(share.version).await?;
                    numbers.extend(found.map(|version| (version.number, share.weight.basis_points())));
                }
                return Ok(numbers);
            }
        }
    }

    fn secrets(&self) -> MutexGuard<'_, Secrets> {
        // A value is there or not.
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serving(&self) -> MutexGuard<'_, Serving> {
        // What it holds is replaced as a whole.
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does what takes its time on a thread for that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Diagnostics> + Send + 'static,
) -> Result<T, DeployError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(DeployError::Store(StoreError::Panicked)),
    }
}
