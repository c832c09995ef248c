//! The wiring: a configuration becomes a running node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::body::Incoming;
use prometheus::IntCounter;

use crate::activate::{Activator, Active, CompiledStore, Mode, Worker};
use crate::admin::{Panel, Ready};
use crate::bindings::{NodeMemory, WorkerShares};
use crate::config::{self, Diagnostic, Diagnostics, Listener, NodeLimits, Place};
use crate::dispatch::{Core, Detail, Dispatcher};
use crate::egress::Own;
use crate::failure::Failure;
use crate::http::{Body, Client, Gate};
use crate::ingress::{self, Closed, Cores, Handle, Listening};
use crate::observe::{self, AccessForm, AccessLogs, Destination, GuestLog, Metrics, Tracer};
use crate::sandbox::Engines;

/// How a node runs, besides its configuration.
pub struct Options {
    /// How much clients are told about failures.
    pub detail: Detail,
    /// Which egress workers have.
    pub egress: Mode,
    /// Where guests' lines go.
    pub log: GuestLog,
    /// Where the access log goes, and in which form.
    pub access: Option<(Destination, AccessForm)>,
    /// Counts the lines of guests that the log had to drop.
    pub log_lost: IntCounter,
}

/// A running node. Dropped, it ends at once; see [`Node::drain`].
pub struct Node {
    activator: Activator,
    dispatcher: Arc<Dispatcher>,
    ready: Ready,
    drain: Duration,
    drain_delay: Duration,
    access: Mutex<AccessLogs>,
    cores: Cores,
    admin_core: Option<Cores>,
    /// Bound; connections wait in them until [`Node::listen`].
    bound: Mutex<Vec<Listening>>,
    /// Where it listens for requests, in the order of the configuration.
    pub addresses: Vec<SocketAddr>,
    /// Where the operator's listener is.
    pub admin: Option<SocketAddr>,
}

/// What was not done when the node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Connections with a request.
    pub connections: usize,
    /// Isolates, those at work after their response included.
    pub isolates: usize,
}

/// What is left of logs and spans has this long to be written at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Node {
    /// Checks everything, binds, and starts to serve; nothing is half started when there is an error.
    ///
    /// # Errors
    /// Every fault of the configuration and of the components, together.
    pub fn start(node: &config::Node, options: Options) -> Result<Self, Diagnostics> {
        let running = Self::open(node, options)?;
        running.replace(node)?;
        running.listen();
        Ok(running)
    }

    /// Binds and starts everything but the workers: health and metrics answer, and who connects waits for [`Node::listen`].
    ///
    /// # Errors
    /// An address that cannot be had, or a part of the node that cannot be started.
    pub fn open(node: &config::Node, options: Options) -> Result<Self, Diagnostics> {
        let limits = node.limits.node_limits();
        ingress::raise_descriptors(limits.connections);
        let engines = engines(&limits)?;
        let metrics = Arc::new(Metrics::new().map_err(|error| internal("the metrics", &error))?);
        metrics.adopt(options.log_lost).map_err(|error| internal("the metrics", &error))?;
        let (listening, operator) = bind(node)?;
        let addresses: Vec<_> = listening.iter().map(Listening::address).collect();
        let admin = operator.as_ref().map(Listening::address);
        let activator = Activator {
            compiled: compiled_store(node, &engines)?,
            engines,
            metrics: Arc::clone(&metrics),
            shares: WorkerShares::default(),
            log: options.log,
            own: Own::new(addresses.iter().copied().chain(admin)),
            cores: ingress::available(),
            egress: options.egress,
        };
        let dispatcher = Arc::new(Dispatcher {
            active: ArcSwap::from_pointee(Active::default()),
            gate: node_gate(&limits),
            memory: NodeMemory::new(limits.node_memory),
            limits: limits.clone(),
            origin_request_body: node.limits.worker_defaults().request_body,
            trusted_proxies: node.trusted_proxies.clone(),
            detail: options.detail,
            metrics: Arc::clone(&metrics),
            unrouted: metrics.target(observe::Target::None),
            tracer: Tracer::start(&node.telemetry, metrics.span_losses())
                .map_err(|error| internal("the span exporter", &error))?,
        });
        let access = match options.access {
            Some((destination, form)) => AccessLogs::start(&destination, form, metrics.access_log_dropped())
                .map_err(|error| internal("the access log", &error))?,
            None => AccessLogs::none(),
        };
        let ready = Ready::default();
        let cores = serve(&dispatcher, &access, &limits)?;
        let admin_core = match operator {
            Some(operator) => {
                let connections = cores.counter();
                let page = move || {
                    metrics.connections(connections());
                    metrics.render()
                };
                Some(serve_admin(operator, &ready, page, &limits)?)
            }
            None => None,
        };
        Ok(Self {
            activator,
            dispatcher,
            ready,
            drain: limits.drain,
            drain_delay: limits.drain_delay,
            access: Mutex::new(access),
            cores,
            admin_core,
            bound: Mutex::new(listening),
            addresses,
            admin,
        })
    }

    /// Takes connections from now on, those that wait first.
    pub fn listen(&self) {
        let bound = std::mem::take(&mut *self.bound.lock().unwrap_or_else(PoisonError::into_inner));
        self.cores.listen(bound);
        self.ready.set(true);
    }

    /// Makes one worker ready, for [`Node::serve`].
    ///
    /// # Errors
    /// What is wrong with its component.
    pub fn prepare(&self, worker: &config::Worker) -> Result<Arc<Worker>, Diagnostics> {
        Ok(self.activator.prepare(worker)?)
    }

    /// As [`Node::replace`], with workers that are ready.
    ///
    /// # Errors
    /// Every fault of what stands between them; what served before serves on.
    pub fn serve(&self, node: &config::Node, workers: Vec<Arc<Worker>>) -> Result<(), Diagnostics> {
        self.dispatcher.active.store(Arc::new(self.activator.assemble(node, workers)?));
        Ok(())
    }

    /// Serves another configuration from the next request on; requests that run finish on the old one. Listeners and the limits of
    /// the node stay as they are.
    ///
    /// # Errors
    /// Every fault of the new configuration; the old one serves on.
    pub fn replace(&self, node: &config::Node) -> Result<(), Diagnostics> {
        let active: Active = self.activator.activate(node)?;
        self.dispatcher.active.store(Arc::new(active));
        Ok(())
    }

    /// Is no longer ready, serves on for limit `drain_delay`, then takes no further connection, lets what runs finish within limit
    /// `drain`, and ends; at once when `at_once` resolves. Blocks while threads end, so it is nothing to do on a core.
    pub async fn drain(mut self, at_once: impl Future<Output = ()>) -> Cut {
        self.ready.set(false);
        tokio::select! {
            () = self.finish() => {}
            () = at_once => {}
        }
        let cut = Cut { connections: self.cores.connections(), isolates: self.dispatcher.gate.inside() };
        drop(self.cores);
        drop(self.admin_core);
        self.access.get_mut().unwrap_or_else(PoisonError::into_inner).close(LAST_WORDS);
        if let Some(tracer) = &self.dispatcher.tracer {
            tracer.shutdown(LAST_WORDS);
        }
        cut
    }

    /// Returns when everything is done, or when its time is over.
    async fn finish(&self) {
        tokio::time::sleep(self.drain_delay).await;
        let done = async {
            self.cores.drain().await;
            self.dispatcher.gate.empty().await;
        };
        // What is not done by then is counted and cut.
        let _ = tokio::time::timeout(self.drain, done).await;
    }
}

/// What starting would find wrong, without binding a port or writing anything; a line for each worker that is well.
///
/// # Errors
/// Every fault of the configuration and of the components, together.
pub fn check(node: &config::Node) -> Result<Vec<String>, Diagnostics> {
    let limits = node.limits.node_limits();
    let engines = engines(&limits)?;
    let mut faults: Vec<Diagnostic> = node
        .listeners
        .iter()
        .filter_map(|listener| ingress::load_tls(listener.tls.as_ref()?).err())
        .flat_map(|faults| faults.0)
        .collect();
    let activator = Activator {
        compiled: CompiledStore::read_only(node.state.clone().or_else(cache_folder).as_deref(), &engines),
        engines,
        metrics: Arc::new(Metrics::new().map_err(|error| internal("the metrics", &error))?),
        shares: WorkerShares::default(),
        log: GuestLog::events(),
        own: Own::default(),
        cores: 1,
        egress: Mode::Listed,
    };
    match activator.activate(node) {
        Ok(active) if faults.is_empty() => {
            Ok(active.workers.iter().map(|worker| format!("{}@{} is well", worker.name, worker.version)).collect())
        }
        Ok(_) => Err(Diagnostics(faults)),
        Err(more) => {
            faults.extend(more.0);
            Err(Diagnostics(faults))
        }
    }
}

/// The dispatcher, as connections see it.
#[derive(Clone)]
struct Entry(Arc<Core>);

impl Handle for Entry {
    async fn handle(
        &self,
        client: &Arc<Client>,
        request: hyper::Request<Incoming>,
    ) -> Result<hyper::Response<Body>, Closed> {
        self.0.handle(client, request).await.map_err(|_| Closed)
    }

    fn refused(&self, client: &Client, failure: &Failure) {
        self.0.refused(client, failure);
    }
}

fn serve(dispatcher: &Arc<Dispatcher>, access: &AccessLogs, limits: &NodeLimits) -> Result<Cores, Diagnostics> {
    let dispatcher = Arc::clone(dispatcher);
    let logs: Vec<_> = (0..ingress::available()).map(|_| access.core()).collect();
    let build = move |index: usize| {
        let access = logs[index].clone();
        Entry(Arc::new(Core { dispatcher: Arc::clone(&dispatcher), index, access }))
    };
    Cores::start("eyot-core", ingress::available(), limits, build).map_err(|error| internal("the threads", &error))
}

/// The operator's listener has a thread of its own: it answers while the cores are busy.
fn serve_admin(
    operator: Listening,
    ready: &Ready,
    metrics: impl Fn() -> String + Send + Sync + 'static,
    limits: &NodeLimits,
) -> Result<Cores, Diagnostics> {
    let panel = Panel::new(ready.clone(), metrics);
    let cores = Cores::start("eyot-admin", 1, limits, move |_| panel.clone());
    let cores = cores.map_err(|error| internal("the admin thread", &error))?;
    cores.listen([operator]);
    Ok(cores)
}

/// Binds every listener and the operator's, or none.
fn bind(node: &config::Node) -> Result<(Vec<Listening>, Option<Listening>), Diagnostics> {
    let operator = node.admin.as_ref().map(|admin| Listener { address: admin.address, tls: None });
    let all: Vec<_> = node.listeners.iter().cloned().chain(operator).collect();
    let mut listening = Listening::bind_all(&all)?;
    let operator = listening.split_off(node.listeners.len()).pop();
    Ok((listening, operator))
}

fn engines(limits: &NodeLimits) -> Result<Engines, Diagnostics> {
    Engines::new(limits.node_concurrency).map_err(|error| {
        let help = "lower node_concurrency, or raise the limit on address space (ulimit -v)";
        Diagnostic::new(Place::default(), format!("no room for the isolates' pools: {error:#}"), help).into()
    })
}

/// How many requests may wait for the node's own permits: as many as run.
fn node_gate(limits: &NodeLimits) -> Gate {
    let permits = limits.node_concurrency;
    Gate::new(permits, permits, Duration::from_secs(1), "the node has all the work it may have")
}

fn compiled_store(node: &config::Node, engines: &Engines) -> Result<CompiledStore, Diagnostics> {
    let folder = node.state.clone().or_else(cache_folder).ok_or_else(|| {
        let message = "no folder for compiled components: neither XDG_CACHE_HOME nor HOME is an absolute path";
        Diagnostic::new(Place::default(), message, "give one with --state DIR")
    })?;
    CompiledStore::open(&folder, engines).map_err(|error| {
        let message = format!("the folder for compiled components cannot be used: {error}");
        Diagnostic::new(Place::file(folder), message, "give another with --state DIR").into()
    })
}

/// A path that is empty or relative counts as not set (XDG Base Directory Specification).
fn cache_folder() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
    Some(cache.join("eyot"))
}

fn internal(what: &str, error: &dyn std::fmt::Display) -> Diagnostics {
    Diagnostic::new(Place::default(), format!("{what} cannot be had: {error}"), "this is not a fault of your input")
        .into()
}
