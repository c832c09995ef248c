//! Making a snapshot out of a configuration, or telling every reason why not.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::active::{Active, Worker};
use super::assemble::{Destinations, Ground, Served, Verifiers, routes};
use super::code::Code;
use super::compiled::Found;
use super::components::{LoadError, Ready, taken};
use super::data::Data;
use super::deployed::{Deployed, LeftOut};
use super::loader::Loader;
use super::parallel;
use super::secrets;
use super::tally::Watched;
use crate::bindings::{Capabilities, WorkerShares};
use crate::config::{self, Diagnostic, Diagnostics, Place, read_regular};
use crate::deploy::RouteTable;
use crate::egress::{Egress, Own, Policy};
use crate::observe::{GuestLog, Metrics};
use crate::sandbox;
use crate::store::Digest;

/// What activations share.
pub struct Activator {
    /// Brings code into memory.
    pub loader: Arc<Loader>,
    /// Where counters come from.
    pub metrics: Arc<Metrics>,
    /// What each worker has of the node.
    pub shares: WorkerShares,
    /// Where guests' lines go.
    pub log: GuestLog,
    /// Where they keep what outlives their isolates.
    pub data: Data,
    /// Our own addresses, which no worker may reach.
    pub own: Own,
    /// One egress for each; and so many components are looked at at once.
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

/// So many bytes of code are in memory before a node is ready: a hundred small components, or one that is large.
const FIRST: u64 = 32 << 20;

/// A snapshot, and what is to be done about its code.
pub struct Activated {
    /// What serves.
    pub active: Active,
    /// The same, worker by worker.
    pub served: Vec<Served>,
    /// What later snapshots of this node are built on.
    pub ground: Ground,
    /// Compiled, and not in memory: what was used last comes first.
    pub to_load: Vec<Arc<Code>>,
    /// Compiled for an older build only, in the same order.
    pub to_compile: Vec<Arc<Code>>,
}

/// What is known of a worker's code when it is activated.
pub(super) enum Known {
    /// It is in memory: it was not known before.
    Loaded,
    /// It is on disk.
    Kept(Found),
    /// There is code for an older build.
    Outdated,
}

/// What was found out about code, to be put into its order.
#[derive(Default)]
pub(super) struct Order {
    kept: Vec<(Found, Arc<Code>)>,
    to_compile: Vec<Arc<Code>>,
}

impl Activator {
    /// Reads and checks all components of a configuration, and looks at all that was deployed to this node; compiles what is new, and
    /// builds the snapshot. What was compiled before is neither validated nor mapped. What was deployed and can serve no more is left out,
    /// and comes back with the reasons: it is no cause not to start.
    ///
    /// # Errors
    /// Every fault of every worker of the configuration, together, each where it can be put right.
    pub fn activate(&self, node: &config::Node, deployed: &[Deployed]) -> Result<(Activated, LeftOut), Diagnostics> {
        self.look_at_all(node, deployed).map_err(|Diagnostics(faults)| {
            Diagnostics::together(faults.into_iter().map(|fault| node.mentions.locate(fault)).collect())
        })
    }

    fn look_at_all(&self, node: &config::Node, deployed: &[Deployed]) -> Result<(Activated, LeftOut), Diagnostics> {
        let components = &self.loader.components;
        // Looked up when one is missing, which is rare.
        let older = OnceLock::new();
        let is_older = |digest: &Digest| {
            let older = older.get_or_init(|| components.compiled.for_other_builds(&components.engines));
            older.contains(&digest.to_string())
        };
        let found = parallel::each(&node.workers, self.cores, |worker| self.version_of(worker, is_older));
        let (mut served, mut faults, mut order) = (Vec::new(), Vec::new(), Order::default());
        for (found, configuration) in found.into_iter().zip(&node.workers) {
            match found {
                Ok((worker, known)) => {
                    order.add(&worker, known);
                    served.push(Served::whole(configuration.clone(), worker));
                }
                Err(fault) => faults.push(fault),
            }
        }
        let ground = self.ground(node, &mut faults);
        let (more, mut left_out) = self.look_at_deployed(deployed, is_older, &mut order);
        let Order { kept, to_compile } = order.by_last_use();
        let to_load = self.load_first(kept, &mut faults);
        // What stands between the workers of the configuration is told together with the rest.
        if let Err(more) = self.assemble_on(node, ground.as_ref(), &served) {
            faults.extend(more.0);
        }
        let Some(ground) = ground.filter(|_| faults.is_empty()) else { return Err(Diagnostics(faults)) };
        let (active, served) = self.assemble_all(node, &ground, served, more, &mut left_out);
        components.compiled.prune(&components.engines, active.workers.iter().map(|worker| worker.code.digest()));
        Ok((Activated { active, served, ground, to_load, to_compile }, left_out))
    }

    /// Loads what was used last, as much as takes no time to speak of, so that small nodes have all in memory when they are ready; the
    /// rest is left. What cannot be used is made again.
    fn load_first(&self, kept: Vec<(Found, Arc<Code>)>, faults: &mut Vec<Diagnostic>) -> Vec<Arc<Code>> {
        let (mut count, mut bytes) = (0, 0);
        let is_first = |(found, _): &&(Found, Arc<Code>)| {
            (count, bytes) = (count + 1, bytes + taken(found.bytes()));
            count == 1 || (bytes <= FIRST && self.loader.has_room_for(count, bytes))
        };
        let first = kept.iter().take_while(is_first).count();
        let mut codes: Vec<Arc<Code>> = kept.into_iter().map(|(_, code)| code).collect();
        let rest = codes.split_off(first);
        let loaded = parallel::each(&codes, self.cores, |code| {
            let components = &self.loader.components;
            let ready = match components.load(code) {
                Ok(None) => components.make_again(code),
                Ok(Some(ready)) => Ok(ready),
                Err(error) => Err(error),
            };
            ready.map(|ready| drop(self.loader.keep(code, ready))).map_err(|error| fault(&code.component, &error))
        });
        faults.extend(loaded.into_iter().filter_map(Result::err));
        rest
    }

    /// What all snapshots of a node have in common.
    fn ground(&self, node: &config::Node, faults: &mut Vec<Diagnostic>) -> Option<Ground> {
        let before = faults.len();
        let verifiers = Verifiers::load(node, faults);
        let egress = Egress::for_cores(self.cores, &node.origins, &self.own, &node.limits.node_limits());
        let egress = egress.map_err(|more| faults.extend(more.0)).ok()?;
        (faults.len() == before).then_some(Ground { verifiers, egress })
    }

    /// Builds the snapshot out of workers that are prepared, each by its name, for a node that may have other origins and ways to
    /// authenticate than before.
    ///
    /// # Errors
    /// Every fault of what stands between them: routes, origins, ways to authenticate.
    pub fn assemble(&self, node: &config::Node, workers: Vec<Arc<Worker>>) -> Result<Active, Diagnostics> {
        let mut faults = Vec::new();
        let ground = self.ground(node, &mut faults);
        let configured = |worker: Arc<Worker>| {
            let configuration = node.workers.iter().find(|configured| *configured.name == *worker.name)?;
            Some(Served::whole(configuration.clone(), worker))
        };
        let served: Vec<_> = workers.into_iter().filter_map(configured).collect();
        match self.assemble_on(node, ground.as_ref(), &served) {
            Ok(Some(active)) if faults.is_empty() => Ok(active),
            Ok(_) => Err(Diagnostics(faults)),
            Err(more) => Err(Diagnostics(faults.into_iter().chain(more.0).collect())),
        }
    }

    /// The same on ground that is there. Without ground there is no snapshot, but still every fault of the routes.
    pub(super) fn assemble_on(
        &self,
        node: &config::Node,
        ground: Option<&Ground>,
        served: &[Served],
    ) -> Result<Option<Active>, Diagnostics> {
        let routes = routes(node, served);
        let Some(ground) = ground else { return RouteTable::build(routes).map(|_| None) };
        let destinations = Destinations::new(node, served, &ground.verifiers, &self.metrics);
        // What leads to nothing that could be made has a fault of its own.
        let resolved: Vec<_> = routes.iter().filter_map(|route| destinations.resolve(route)).collect();
        let complete = resolved.len() == routes.len();
        let table = RouteTable::build(routes)?;
        let workers = served.iter().flat_map(|served| &served.versions).map(|(worker, _)| Arc::clone(worker)).collect();
        let (queues, schedules) = (destinations.queues(), destinations.schedules());
        let callable = destinations.callable();
        let egress = ground.egress.clone();
        let active = Active { routes: table, destinations: resolved, workers, queues, schedules, callable, egress };
        Ok(complete.then_some(active))
    }

    /// Makes one worker ready: its code is in memory.
    ///
    /// # Errors
    /// The first fault of the component.
    pub fn prepare(&self, worker: &config::Worker) -> Result<Arc<Worker>, Diagnostic> {
        let (made, known) = self.version_of(worker, |_| false)?;
        self.is_in_memory(&made, known)?;
        Ok(made)
    }

    /// Has the code of a version in memory, whatever was known of it.
    pub(super) fn is_in_memory(&self, made: &Worker, known: Known) -> Result<(), Diagnostic> {
        let mut faults = Vec::new();
        if let Known::Kept(found) = known {
            self.load_first(vec![(found, Arc::clone(&made.code))], &mut faults);
        }
        faults.pop().map_or(Ok(()), Err)
    }

    /// Reads the component of one worker; what was never compiled is compiled, linked and in memory then. `is_known` says whether it was
    /// compiled for some other build: that takes its time while everything else serves.
    fn version_of(
        &self,
        worker: &config::Worker,
        is_known: impl Fn(&Digest) -> bool,
    ) -> Result<(Arc<Worker>, Known), Diagnostic> {
        let path = &worker.component;
        let bytes = read_component(path, self.loader.components.component_size)?;
        let digest = Digest::of(&bytes);
        let made = self.worker(worker, digest, digest.to_string()[..12].into())?;
        secrets::tell_from_environment(&made, worker)?;
        let known = self.code_of(&made.code, is_known, || self.loader.components.make(&made.code, &bytes));
        Ok((made, known.map_err(|error| fault(path, &error))?))
    }

    /// A version, whose code is looked for next.
    ///
    /// # Errors
    /// The node has no place for what it keeps.
    pub(super) fn worker(
        &self,
        worker: &config::Worker,
        digest: Digest,
        version: Arc<str>,
    ) -> Result<Arc<Worker>, Diagnostic> {
        let (kv, queues) = (self.data.kv_of(worker)?, self.data.queues_of(worker)?);
        self.data.schedules_of(worker)?;
        let policy = Policy::new(worker.origins.clone(), worker.egress.clone(), self.egress == Mode::Open);
        let metrics = self.metrics.worker(&worker.name);
        let share = self.shares.of(&worker.name);
        let log = self.log.clone();
        let made = Capabilities::new(worker, share, policy, log, Arc::clone(&metrics), kv.as_ref(), queues.as_ref());
        let capabilities = Arc::new(made);
        Ok(Arc::new(Worker {
            name: Arc::clone(&capabilities.worker),
            version,
            code: Code::new(digest, &worker.component, Arc::clone(&capabilities), Arc::clone(&self.loader)),
            capabilities,
            allow_addresses: worker.allow_addresses.clone(),
            metrics,
            watched: Watched::default(),
        }))
    }

    /// Looks for compiled code, and makes it where there is none.
    pub(super) fn code_of(
        &self,
        code: &Code,
        is_known: impl Fn(&Digest) -> bool,
        make: impl FnOnce() -> Result<Ready, LoadError>,
    ) -> Result<Known, LoadError> {
        let components = &self.loader.components;
        let digest = code.digest();
        let ready = match components.find(digest) {
            Some(found) if found.is_linked(&components.engines) => {
                sandbox::fits(found.inspection(), &code.capabilities)?;
                return Ok(Known::Kept(found));
            }
            // Another build has compiled it, and may have offered it other things.
            Some(_) => components.load(code)?,
            None if is_known(digest) => return Ok(Known::Outdated),
            None => None,
        };
        let ready = match ready {
            Some(ready) => ready,
            None => make()?,
        };
        self.loader.keep(code, ready);
        Ok(Known::Loaded)
    }
}

impl Order {
    pub(super) fn add(&mut self, worker: &Worker, known: Known) {
        match known {
            Known::Loaded => {}
            Known::Kept(found) => self.kept.push((found, Arc::clone(&worker.code))),
            Known::Outdated => self.to_compile.push(Arc::clone(&worker.code)),
        }
    }

    fn by_last_use(mut self) -> Self {
        self.kept.sort_by_cached_key(|(found, _)| std::cmp::Reverse(found.used()));
        self
    }
}

/// The threads that load end with it.
impl Drop for Activator {
    fn drop(&mut self) {
        self.loader.close();
    }
}

pub(super) fn fault(component: &Path, error: &LoadError) -> Diagnostic {
    Diagnostic::new(Place::file(component), error.to_string(), error.help())
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
