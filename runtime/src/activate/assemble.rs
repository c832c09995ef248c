//! What stands between workers: who must be asking, and where each route leads.

use std::collections::HashMap;
use std::sync::Arc;

use super::active::{Callable, Consumed, Destination, Planned, Target, Worker};
use super::split::Split;
use crate::auth::Verifier;
use crate::config::{self, Diagnostic};
use crate::egress::{Egress, OriginId};
use crate::observe::{self, Metrics};
use crate::store::{QueueLimits, QueueName, ScheduleName, Weight};

/// What node.toml alone decides: snapshots of one node have it in common, and so their connections to origins, too.
pub struct Ground {
    pub(super) verifiers: Verifiers,
    pub(super) egress: Vec<Egress>,
}

/// A worker as it is to serve: its configuration says by which routes, and these versions answer.
#[derive(Clone)]
pub struct Served {
    /// Of the version that decides about routes and who may ask.
    pub configuration: Arc<config::Worker>,
    /// The versions, the oldest first, with shares that come to everything.
    pub versions: Vec<(Arc<Worker>, Weight)>,
}

impl Served {
    /// By one version.
    #[must_use]
    pub fn whole(configuration: config::Worker, version: Arc<Worker>) -> Self {
        Self { configuration: Arc::new(configuration), versions: vec![(version, Weight::WHOLE)] }
    }
}

/// Who verifies, by the name that routes and workers use.
#[derive(Default)]
pub(super) struct Verifiers {
    node: HashMap<String, Arc<Verifier>>,
    /// By worker.
    own: HashMap<String, Arc<Verifier>>,
}

impl Verifiers {
    pub(super) fn load(node: &config::Node, faults: &mut Vec<Diagnostic>) -> Self {
        let mut load = |auth: &config::Auth| match Verifier::load(auth) {
            Ok(verifier) => Some(Arc::new(verifier)),
            Err(more) => {
                faults.extend(more.0);
                None
            }
        };
        let mut verifiers = Self::default();
        for auth in &node.auths {
            verifiers.node.extend(load(auth).map(|verifier| (auth.name.clone(), verifier)));
        }
        for worker in &node.workers {
            if let Some(auth) = &worker.own_auth {
                verifiers.own.extend(load(auth).map(|verifier| (worker.name.clone(), verifier)));
            }
        }
        verifiers
    }

    /// node.toml's of this name, else the worker's own.
    fn find(&self, name: &str, worker: Option<&config::Worker>) -> Option<&Arc<Verifier>> {
        let own = || worker.filter(|worker| worker.own_auth.as_ref().is_some_and(|own| own.name == name));
        self.node.get(name).or_else(|| self.own.get(&own()?.name))
    }
}

/// The node's routes, then each worker's own.
pub(super) fn routes(node: &config::Node, served: &[Served]) -> Vec<config::Route> {
    node.routes.iter().chain(served.iter().flat_map(|served| &served.configuration.routes)).cloned().collect()
}

/// What routes can lead to, by name: there may be thousands of each.
pub(super) struct Destinations<'a> {
    origins: &'a [config::Origin],
    workers: HashMap<&'a str, (&'a config::Worker, Arc<Split>)>,
    auths: &'a Verifiers,
    metrics: &'a Metrics,
}

impl<'a> Destinations<'a> {
    pub(super) fn new(
        node: &'a config::Node,
        served: &'a [Served],
        auths: &'a Verifiers,
        metrics: &'a Metrics,
    ) -> Self {
        let worker = |served: &'a Served| {
            let Served { configuration, versions } = served;
            let split = Split::new(versions.iter().cloned(), configuration.rollout.sticky.clone())?;
            Some((configuration.name.as_str(), (&**configuration, Arc::new(split))))
        };
        Self { origins: &node.origins, workers: served.iter().filter_map(worker).collect(), auths, metrics }
    }

    /// The queues that workers work off.
    pub(super) fn queues(&self) -> HashMap<QueueName, Consumed> {
        let of = |(worker, split): &(&config::Worker, Arc<Split>)| {
            let (owner, limits): (Arc<str>, _) = (worker.name.as_str().into(), QueueLimits::of(&worker.limits));
            let by = Arc::clone(split);
            let consumed = move |queue: &config::Queue| Consumed {
                name: QueueName { worker: Arc::clone(&owner), name: queue.name.as_str().into() },
                queue: Arc::new(queue.clone()),
                limits,
                by: Arc::clone(&by),
            };
            worker.queues.iter().map(consumed).collect::<Vec<_>>()
        };
        self.workers.values().flat_map(of).map(|consumed| (consumed.name.clone(), consumed)).collect()
    }

    /// The workers that others may call.
    pub(super) fn callable(&self) -> HashMap<Arc<str>, Callable> {
        let may_be = self.workers.values().filter(|(worker, _)| !worker.callers.is_empty());
        let callable = may_be.map(|(worker, split)| {
            let callable = Callable { by: Arc::clone(split), callers: worker.callers.clone().into() };
            (worker.name.as_str().into(), callable)
        });
        callable.collect()
    }

    /// What workers do at times.
    pub(super) fn schedules(&self) -> HashMap<ScheduleName, Planned> {
        let of = |(worker, split): &(&config::Worker, Arc<Split>)| {
            let (owner, by): (Arc<str>, _) = (worker.name.as_str().into(), Arc::clone(split));
            let planned = move |schedule: &config::Schedule| Planned {
                name: ScheduleName { worker: Arc::clone(&owner), name: schedule.name.as_str().into() },
                schedule: Arc::new(schedule.clone()),
                by: Arc::clone(&by),
            };
            worker.schedules.iter().map(planned).collect::<Vec<_>>()
        };
        self.workers.values().flat_map(of).map(|planned| (planned.name.clone(), planned)).collect()
    }

    /// `None` where what the route leads to could not be made, which has been reported.
    pub(super) fn resolve(&self, route: &config::Route) -> Option<Destination> {
        let mut owner = None;
        let (target, label) = match &route.target {
            config::Target::Worker(name) => {
                let (worker, split) = self.workers.get(name.as_str())?;
                owner = Some(*worker);
                (Target::Worker(Arc::clone(split)), observe::Target::Worker(name))
            }
            config::Target::Origin(name) => {
                (Target::Origin(OriginId::find(self.origins, name)?), observe::Target::Origin(name))
            }
            config::Target::Redirect { status, location } => {
                (Target::Redirect { status: *status, location: location.clone() }, observe::Target::Redirect)
            }
            config::Target::Respond { status, headers, body } => (
                Target::Respond { status: *status, headers: headers.clone(), body: body.clone() },
                observe::Target::Respond,
            ),
        };
        let verifier = match route.auth.as_ref().or_else(|| owner?.auth.as_ref()) {
            None => None,
            Some(name) => Some(Arc::clone(self.auths.find(name, owner)?)),
        };
        let host = route.host.as_ref().map(ToString::to_string).unwrap_or_default();
        let pattern = format!("{host}{}", route.path).into();
        Some(Destination { pattern, verifier, target, metrics: self.metrics.target(label) })
    }
}
