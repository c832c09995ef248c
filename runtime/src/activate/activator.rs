//! Making a snapshot out of a configuration, or telling every reason why not.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::active::{Active, Destination, Target, Worker};
use super::compiled::{self, CompiledStore};
use super::compiler::Compiler;
use crate::auth::Verifier;
use crate::bindings::{Capabilities, WorkerShares};
use crate::config::{self, Diagnostic, Diagnostics, Place, read_regular};
use crate::deploy::RouteTable;
use crate::egress::{Egress, OriginId, Own, Policy};
use crate::observe::{self, GuestLog, Metrics};
use crate::sandbox::{self, Engines, Prepared};

/// What activations share.
pub struct Activator {
    /// Both engines.
    pub engines: Engines,
    /// Where compiled code is kept.
    pub compiled: CompiledStore,
    /// Makes the others.
    pub compiler: Compiler,
    /// Where counters come from.
    pub metrics: Arc<Metrics>,
    /// What each worker has of the node.
    pub shares: WorkerShares,
    /// Where guests' lines go.
    pub log: GuestLog,
    /// Our own addresses, which no worker may reach.
    pub own: Own,
    /// One egress for each.
    pub cores: usize,
    /// Whether workers may reach any address: `eyot serve X.wasm` only.
    pub egress: Mode,
    /// The largest component that is read, in bytes.
    pub component_size: u64,
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
    /// Every fault of every worker, together, each where the configuration can be put right.
    pub fn activate(&self, node: &config::Node) -> Result<Active, Diagnostics> {
        self.look_at_all(node).map_err(|Diagnostics(faults)| {
            Diagnostics::together(faults.into_iter().map(|fault| node.mentions.locate(fault)).collect())
        })
    }

    fn look_at_all(&self, node: &config::Node) -> Result<Active, Diagnostics> {
        let mut faults = Vec::new();
        let mut workers = Vec::new();
        for worker in &node.workers {
            match self.prepare(worker) {
                Ok(worker) => workers.push(worker),
                Err(fault) => faults.push(fault),
            }
        }
        self.assemble_with(node, workers, faults)
    }

    /// Builds the snapshot out of workers that are prepared.
    ///
    /// # Errors
    /// Every fault of what stands between them: routes, origins, ways to authenticate.
    pub fn assemble(&self, node: &config::Node, workers: Vec<Arc<Worker>>) -> Result<Active, Diagnostics> {
        self.assemble_with(node, workers, Vec::new())
    }

    fn assemble_with(
        &self,
        node: &config::Node,
        workers: Vec<Arc<Worker>>,
        mut faults: Vec<Diagnostic>,
    ) -> Result<Active, Diagnostics> {
        let auths = Verifiers::load(node, &mut faults);
        let routes = routes(node);
        let destinations = Destinations { node, workers: &workers, auths: &auths, metrics: &self.metrics };
        // What leads to nothing that could be made has a fault of its own.
        let resolved: Vec<_> = routes.iter().filter_map(|route| destinations.resolve(route)).collect();
        let complete = resolved.len() == routes.len();
        let table = RouteTable::build(routes).map_err(|more| faults.extend(more.0)).ok();
        let egress = Egress::for_cores(self.cores, &node.origins, &self.own, &node.limits.node_limits());
        let egress = egress.map_err(|more| faults.extend(more.0)).ok();
        match (table, egress) {
            (Some(routes), Some(egress)) if faults.is_empty() && complete => {
                Ok(Active { routes, destinations: resolved, workers, egress })
            }
            _ => Err(Diagnostics(faults)),
        }
    }

    /// Reads, checks, compiles and links the component of one worker.
    ///
    /// # Errors
    /// The first fault of the component.
    pub fn prepare(&self, worker: &config::Worker) -> Result<Arc<Worker>, Diagnostic> {
        let path = &worker.component;
        let bytes = read_component(path, self.component_size)?;
        let fault = |message: String, help: &str| Diagnostic::new(Place::file(path), message, help);
        let inspection =
            sandbox::inspect(&self.engines, &bytes).map_err(|error| fault(error.to_string(), error.help()))?;
        let digest = compiled::digest(&bytes);
        let loaded = self.compiled.load(&self.compiler, &self.engines, inspection.engine, &digest, &bytes);
        let (component, start) = loaded.map_err(|error| fault(error.to_string(), error.help()))?;
        let policy = Policy::new(worker.origins.clone(), worker.egress.clone(), self.egress == Mode::Open);
        let metrics = self.metrics.worker(&worker.name);
        let share = self.shares.of(&worker.name);
        let capabilities = Arc::new(Capabilities::new(worker, share, policy, self.log.clone(), Arc::clone(&metrics)));
        let prepared = Prepared::new(&self.engines, &inspection, &component, capabilities)
            .map_err(|error| fault(error.to_string(), error.help()))?;
        tracing::debug!(worker = worker.name, ?start, "a component is ready");
        Ok(Arc::new(Worker {
            name: worker.name.as_str().into(),
            version: digest[..12].into(),
            prepared: Arc::new(prepared),
            allow_addresses: worker.allow_addresses.clone(),
            metrics,
        }))
    }
}

fn read_component(path: &Path, most: u64) -> Result<Vec<u8>, Diagnostic> {
    read_regular(path, most).map_err(|error| {
        let help = match error.kind() {
            io::ErrorKind::FileTooLarge => "if this is the right file, raise limit `component_size`",
            io::ErrorKind::NotFound => "check the path; `eyot build` makes the components of workers",
            _ => "name a component (.wasm) that this user can read",
        };
        Diagnostic::new(Place::file(path), format!("the component cannot be read: {error}"), help)
    })
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
    /// `None` where what the route leads to could not be made, which has been reported.
    fn resolve(&self, route: &config::Route) -> Option<Destination> {
        let mut owner = None;
        let (target, label) = match &route.target {
            config::Target::Worker(name) => {
                let worker = self.workers.iter().find(|worker| *worker.name == **name)?;
                owner = self.node.workers.iter().find(|worker| worker.name == *name);
                (Target::Worker(Arc::clone(worker)), observe::Target::Worker(name))
            }
            config::Target::Origin(name) => {
                (Target::Origin(OriginId::find(&self.node.origins, name)?), observe::Target::Origin(name))
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
