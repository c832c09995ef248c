//! Workers that were deployed to this node: out of what the store keeps, into what can serve.

use std::path::PathBuf;
use std::sync::Arc;

use super::activator::{Activator, Known, Order, fault};
use super::active::{Active, Worker};
use super::assemble::{Ground, Served};
use super::parallel;
use crate::config::{self, Diagnostic, Diagnostics};
use crate::store::{self, DeploymentId, Digest, Plan, Store, Version, Weight, Why};

/// A deployed worker as it is to serve.
pub struct Deployed {
    /// Its name.
    pub name: String,
    /// By which deployment.
    pub deployment: DeploymentId,
    /// What that was made for.
    pub why: Why,
    /// The versions, the oldest first.
    pub versions: Vec<Stored>,
}

/// A version that lies in the store.
#[derive(Clone)]
pub struct Stored {
    /// 1, 2, 3 for each worker.
    pub number: u32,
    /// Of its component.
    pub digest: Digest,
    /// Its eyot.toml, read against this node.
    pub configuration: Arc<config::Worker>,
    /// What it has of the requests.
    pub weight: Weight,
}

/// Workers that should serve and cannot, each with everything that stands in its way.
pub type LeftOut = Vec<(String, Diagnostics)>;

impl Stored {
    /// Reads the eyot.toml of a version.
    ///
    /// # Errors
    /// Every fault of it, against the configuration of this node.
    pub fn read(version: &Version, weight: Weight, store: &Store, node: &config::Node) -> Result<Self, Diagnostics> {
        let Version { worker, number, content, .. } = version;
        let file = manifest_name(worker, *number);
        let Some(content) = content else {
            let message = format!("version {number} of `{worker}` was pruned");
            return Err(Diagnostic::new(config::Place::file(file), message, "deploy it again, as a new version").into());
        };
        let component = store.component_path(&content.component);
        let configuration = config::Worker::deployed(&file, content.manifest.clone(), component, node)?;
        Ok(Self { number: *number, digest: content.component, configuration: Arc::new(configuration), weight })
    }
}

impl Deployed {
    /// What should serve of a worker; `None` where nothing should.
    ///
    /// # Errors
    /// Every fault of its versions, against the configuration of this node.
    pub fn read(worker: &store::Worker, store: &Store, node: &config::Node) -> Result<Option<Self>, Diagnostics> {
        let Some(store::Deployment { id: deployment, plan: Plan::Serve { why, shares }, .. }) = &worker.deployment
        else {
            return Ok(None);
        };
        let (mut versions, mut faults) = (Vec::new(), Vec::new());
        for (version, share) in worker.serving.iter().zip(shares.iter()) {
            match Stored::read(version, share.weight, store, node) {
                Ok(stored) => versions.push(stored),
                Err(more) => faults.extend(more.0),
            }
        }
        let name = worker.name.clone();
        if faults.is_empty() {
            Ok(Some(Self { name, deployment: *deployment, why: *why, versions }))
        } else {
            Err(Diagnostics(faults))
        }
    }
}

/// These versions of one worker, with what was made of each. The one with the largest share, of several the newest, says by which routes
/// the worker is reached and who may ask.
pub(super) fn served(versions: &[Stored], workers: Vec<Arc<Worker>>) -> Option<Served> {
    let deciding = versions.iter().max_by_key(|stored| (stored.weight, stored.number))?;
    let weights = versions.iter().map(|stored| stored.weight);
    Some(Served {
        configuration: Arc::clone(&deciding.configuration),
        versions: workers.into_iter().zip(weights).collect(),
    })
}

impl Activator {
    /// A version with what is known of its code. Its component is read only where there is none.
    pub(super) fn version_in_store(
        &self,
        stored: &Stored,
        is_known: impl Fn(&Digest) -> bool,
    ) -> Result<(Arc<Worker>, Known), Diagnostics> {
        let made = self.worker(&stored.configuration, stored.digest, stored.number.to_string().into())?;
        let known = self.code_of(&made.code, is_known, || self.loader.components.make_again(&made.code));
        let file = manifest_name(&stored.configuration.name, stored.number);
        Ok((made, known.map_err(|error| fault(&file, &error))?))
    }

    /// Makes a version ready: its code is in memory.
    ///
    /// # Errors
    /// What is wrong with its component.
    pub fn prepare_stored(&self, stored: &Stored) -> Result<Arc<Worker>, Diagnostics> {
        let (made, known) = self.version_in_store(stored, |_| false)?;
        self.is_in_memory(&made, known)?;
        Ok(made)
    }

    /// Makes all deployed workers that can be made.
    pub(super) fn look_at_deployed(
        &self,
        deployed: &[Deployed],
        is_older: impl Fn(&Digest) -> bool + Sync,
        order: &mut Order,
    ) -> (Vec<Served>, LeftOut) {
        let make = |worker: &Deployed| {
            let versions = worker.versions.iter().map(|stored| self.version_in_store(stored, &is_older));
            versions.collect::<Result<Vec<_>, _>>()
        };
        let (mut served, mut left_out) = (Vec::new(), LeftOut::new());
        for (worker, made) in deployed.iter().zip(parallel::each(deployed, self.cores, make)) {
            match made {
                Ok(made) => {
                    let (versions, known): (Vec<_>, Vec<_>) = made.into_iter().unzip();
                    versions.iter().zip(known).for_each(|(version, known)| order.add(version, known));
                    served.extend(self::served(&worker.versions, versions));
                }
                Err(faults) => left_out.push((worker.name.clone(), faults)),
            }
        }
        (served, left_out)
    }

    /// Builds the snapshot of what is configured and as much of what was deployed as fits beside it.
    pub(super) fn assemble_all(
        &self,
        node: &config::Node,
        ground: &Ground,
        mut served: Vec<Served>,
        deployed: Vec<Served>,
        left_out: &mut LeftOut,
    ) -> (Active, Vec<Served>) {
        let configured = served.len();
        for worker in deployed {
            let name = &worker.configuration.name;
            if served[..configured].iter().any(|other| other.configuration.name == *name) {
                left_out.push((name.clone(), has_name_of_a_configured_one(name).into()));
            } else {
                served.push(worker);
            }
        }
        loop {
            let Diagnostics(faults) = match self.assemble_on(node, Some(ground), &served) {
                Ok(active) => return (active.unwrap_or_default(), served),
                Err(faults) => faults,
            };
            let before = served.len();
            served.retain(|worker| {
                let is_its = |fault: &&Diagnostic| is_manifest_of(&fault.place.file, &worker.configuration.name);
                let own: Vec<_> = faults.iter().filter(is_its).cloned().collect();
                if own.is_empty() {
                    return true;
                }
                left_out.push((worker.configuration.name.clone(), Diagnostics(own)));
                false
            });
            if served.len() == before {
                // What is configured was assembled before without a fault, so each fault names a deployed worker.
                served.truncate(configured);
            }
        }
    }
}

/// How the eyot.toml of a version is called in messages.
pub(super) fn manifest_name(worker: &str, number: u32) -> PathBuf {
    format!("{worker}@{number}/eyot.toml").into()
}

fn is_manifest_of(file: &std::path::Path, worker: &str) -> bool {
    file.to_str().and_then(|file| file.split_once('@')).is_some_and(|(name, _)| name == worker)
}

pub(super) fn has_name_of_a_configured_one(name: &str) -> Diagnostic {
    let message = format!("node.toml has a worker `{name}` of its own");
    Diagnostic::new(config::Place::default(), message, "give one of the two another name")
}
