//! Which deployed workers serve right now, and which should and cannot.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::active::Worker;
use super::super::assemble::Served;
use super::super::deployed::{Deployed, LeftOut, Stored};
use super::watch::Trial;
use crate::config::{self, Diagnostics};
use crate::store::{Deployment, DeploymentId, Plan};

/// All deployed workers.
pub(super) struct Serving {
    workers: BTreeMap<String, One>,
    left_out: BTreeMap<String, Diagnostics>,
}

/// One that serves.
pub(super) struct One {
    pub(super) versions: Vec<Stored>,
    pub(super) served: Served,
    pub(super) trial: Option<Trial>,
}

impl One {
    fn new(versions: Vec<Stored>, served: Served) -> Self {
        Self { versions, served, trial: None }
    }

    /// Nobody looks at how its requests end any more.
    pub(super) fn forget(&self) {
        self.served.versions.iter().for_each(|(worker, _)| worker.watched.forget());
    }
}

/// How a worker that should serve stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its name.
    pub worker: String,
    /// Why it does not serve, if it does not.
    pub faults: Option<Diagnostics>,
}

impl Serving {
    pub(super) fn new(deployed: Vec<Deployed>, served: Vec<Served>, left_out: LeftOut) -> Self {
        let mut known: BTreeMap<_, _> = deployed.into_iter().map(|worker| (worker.name.clone(), worker)).collect();
        let one = |served: Served| {
            let name = served.configuration.name.clone();
            let deployed = known.remove(&name)?;
            let (deployment, why) = (deployed.deployment, deployed.why);
            let mut one = One::new(deployed.versions, served);
            one.trial = Trial::begin(&one, deployment, why, None);
            Some((name, one))
        };
        let workers = served.into_iter().filter_map(one).collect();
        Self { workers, left_out: left_out.into_iter().collect() }
    }

    /// What serves.
    pub(super) fn all(&self) -> impl Iterator<Item = &Served> {
        self.workers.values().map(|one| &one.served)
    }

    /// What serves of all workers but this one.
    pub(super) fn all_but(&self, worker: &str) -> impl Iterator<Item = &Served> {
        self.workers.iter().filter(move |(name, _)| *name != worker).map(|(_, one)| &one.served)
    }

    /// A version that serves.
    pub(super) fn version(&self, worker: &str, number: u32) -> Option<Arc<Worker>> {
        let one = self.workers.get(worker)?;
        let at = one.versions.iter().position(|stored| stored.number == number)?;
        one.served.versions.get(at).map(|(worker, _)| Arc::clone(worker))
    }

    /// The versions of a worker that serve.
    pub(super) fn versions(&self, worker: &str) -> impl Iterator<Item = (&Worker, &config::Worker)> {
        let one = self.workers.get(worker).into_iter();
        one.flat_map(|one| one.served.versions.iter().zip(&one.versions))
            .map(|((worker, _), stored)| (&**worker, &*stored.configuration))
    }

    /// The version that serves and asks for a secret of this name, if one does.
    pub(super) fn user_of(&self, worker: &str, secret: &str) -> Option<u32> {
        let asks = |stored: &&Stored| stored.configuration.secrets.iter().any(|name| name == secret);
        self.workers.get(worker)?.versions.iter().find(asks).map(|stored| stored.number)
    }

    /// From now on this serves, or nothing.
    pub(super) fn replace(&mut self, worker: &str, ready: Option<(Vec<Stored>, Served)>, deployment: &Deployment) {
        self.left_out.remove(worker);
        let before = self.workers.remove(worker);
        if let (Some((versions, served)), Plan::Serve { why, .. }) = (ready, &deployment.plan) {
            let mut one = One::new(versions, served);
            one.trial = Trial::begin(&one, deployment.id, *why, before.as_ref());
            self.workers.insert(worker.to_owned(), one);
        }
    }

    /// What should serve of a worker cannot, and this is why. What served before serves on.
    pub(super) fn leave_out(&mut self, worker: &str, faults: Diagnostics) {
        self.left_out.insert(worker.to_owned(), faults);
    }

    /// The new version of this deployment is one like others.
    pub(super) fn end_trial(&mut self, worker: &str, deployment: DeploymentId) {
        let Some(one) = self.workers.get_mut(worker) else { return };
        if one.trial.as_ref().is_some_and(|trial| trial.is_of(deployment)) {
            one.trial = None;
            one.forget();
        }
    }

    pub(super) fn standing(&self) -> Vec<Standing> {
        let well = self.workers.keys().map(|name| (name.clone(), None));
        let ill = self.left_out.iter().map(|(name, faults)| (name.clone(), Some(faults.clone())));
        well.chain(ill).map(|(worker, faults)| Standing { worker, faults }).collect()
    }

    pub(super) fn workers(&self) -> impl Iterator<Item = (&String, &One)> {
        self.workers.iter()
    }
}
