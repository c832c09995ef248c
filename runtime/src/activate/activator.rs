//! Making a snapshot out of a configuration, or telling every reason why not.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::active::{Active, Destination, Target, Worker};
use super::compiled::{self, CompiledStore};
use crate::auth::Verifier;
use crate::bindings::Capabilities;
use crate::config::{self, Diagnostic, Diagnostics, Place};
use crate::deploy::RouteTable;
use crate::egress::{Egress, Own, Policy};
use crate::observe::{self, GuestLog, Metrics};
use crate::sandbox::{self, Engines, Gate, Prepared};

/// What activations share.
pub struct Activator {
    /// Both engines.
    pub engines: Engines,
    /// Where compiled code is kept.
    pub compiled: CompiledStore,
    /// Where counters come from.
    pub metrics: Arc<Metrics>,
    /// Where guests' lines go.
    pub log: GuestLog,
    /// Our own addresses, which no worker may reach.
    pub own: Own,
    /// One egress for each.
    pub cores: usize,
    /// Whether workers may reach any address: `eyot serve X.wasm` only.
    pub egress: Mode,
}

/// Which egress workers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What their configuration allows.
    Listed,
    /// Everything but this node itself.
    Open,
}

impl Activator {
    /// Reads, checks and compiles all components and builds the snapshot.
    ///
    /// # Errors
    /// Every fault of every worker, together.
    pub fn activate(&self, node: &config::Node) -> Result<Active, Diagnostics> {
        let mut faults = Vec::new();
        let mut workers = Vec::new();
        for worker in &node.workers {
            match self.worker(worker) {
                Ok(worker) => workers.push(Arc::new(worker)),
                Err(fault) => faults.push(fault),
            }
        }
        let auths = Verifiers::load(node, &mut faults);
        let routes = routes(node);
        let destinations = Destinations { node, workers: &workers, auths: &auths, metrics: &self.metrics };
        let mut resolved = Vec::new();
        for route in &routes {
            match destinations.resolve(route) {
                Ok(destination) => resolved.push(destination),
                Err(fault) => faults.push(fault),
            }
        }
        let table = RouteTable::build(routes).map_err(|more| faults.extend(more.0)).ok();
        let egress = (0..self.cores).map(|_| Egress::new(&node.origins, self.own.clone()).map(Arc::new));
        let egress = egress.collect::<Result<Vec<_>, _>>().map_err(|more| faults.extend(more.0)).ok();
        match (table, egress) {
            (Some(routes), Some(egress)) if faults.is_empty() => {
                Ok(Active { routes, destinations: resolved, workers, egress })
            }
            _ => Err(Diagnostics(faults)),
        }
    }

    fn worker(&self, worker: &config::Worker) -> Result<Worker, Diagnostic> {
        let path = &worker.component;
        let bytes = read_component(path)?;
        let fault = |message: String| fault(path, message, None);
        let inspection = sandbox::inspect(&self.engines, &bytes).map_err(|error| fault(error.to_string()))?;
        let digest = compiled::digest(&bytes);
        let (component, start) = self
            .compiled
            .load(&self.engines, inspection.engine, &digest, &bytes)
            .map_err(|error| fault(format!("the component does not compile: {error:#}")))?;
        let policy =
            Policy { origins: worker.origins.clone(), hosts: worker.egress.clone(), open: self.egress == Mode::Open };
        let metrics = self.metrics.worker(&worker.name);
        let capabilities = Arc::new(Capabilities::new(worker, policy, self.log.clone(), Arc::clone(&metrics)));
        let prepared =
            Prepared::new(&self.engines, &inspection, &component, capabilities).map_err(|error| Diagnostic {
                help: Some("remove the import, or build with a toolchain that targets wasi:http".to_owned()),
                ..fault(format!("the component cannot be linked: {error}"))
            })?;
        tracing::debug!(worker = worker.name, ?start, "a component is ready");
        let limits = &worker.limits;
        Ok(Worker {
            name: worker.name.as_str().into(),
            version: digest[..12].into(),
            prepared,
            gate: Gate::new(
                limits.concurrency,
                limits.queue,
                limits.queue_wait,
                "the worker is at its concurrency limit",
            ),
            allow_addresses: worker.allow_addresses.clone(),
            metrics,
        })
    }
}

fn read_component(path: &Path) -> Result<Vec<u8>, Diagnostic> {
    fs::read(path).map_err(|error| {
        let help = "build it with `eyot build`, or correct `component`".to_owned();
        fault(path, format!("the component cannot be read: {error}"), Some(help))
    })
}

fn fault(path: &Path, message: String, help: Option<String>) -> Diagnostic {
    Diagnostic { place: Place { file: path.to_owned(), line: 0, column: 0 }, message, help }
}

/// Who verifies, by the name that routes and workers use.
#[derive(Default)]
struct Verifiers {
    node: HashMap<String, Arc<Verifier>>,
    /// By worker.
    own: HashMap<String, Arc<Verifier>>,
}

impl Verifiers {
    fn load(node: &config::Node, faults: &mut Vec<Diagnostic>) -> Self {
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
fn routes(node: &config::Node) -> Vec<config::Route> {
    node.routes.iter().chain(node.workers.iter().flat_map(|worker| &worker.routes)).cloned().collect()
}

struct Destinations<'a> {
    node: &'a config::Node,
    workers: &'a [Arc<Worker>],
    auths: &'a Verifiers,
    metrics: &'a Metrics,
}

impl Destinations<'_> {
    fn resolve(&self, route: &config::Route) -> Result<Destination, Diagnostic> {
        let fault = |message: String| Diagnostic { place: route.place.clone(), message, help: None };
        let mut owner = None;
        let (target, label) = match &route.target {
            config::Target::Worker(name) => {
                let worker = self.workers.iter().find(|worker| *worker.name == **name);
                let worker = worker.ok_or_else(|| fault(format!("worker {name:?} cannot serve")))?;
                owner = self.node.workers.iter().find(|worker| worker.name == *name);
                (Target::Worker(Arc::clone(worker)), observe::Target::Worker(name))
            }
            config::Target::Origin(name) => (Target::Origin(name.as_str().into()), observe::Target::Origin(name)),
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
            Some(name) => {
                let found = self.auths.find(name, owner);
                Some(Arc::clone(found.ok_or_else(|| fault(format!("there is no auth `{name}`")))?))
            }
        };
        let host = route.host.as_ref().map(ToString::to_string).unwrap_or_default();
        let pattern = format!("{host}{}", route.path).into();
        Ok(Destination { pattern, verifier, target, metrics: self.metrics.target(label) })
    }
}
