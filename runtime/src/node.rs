//! The wiring: a configuration becomes a running node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::body::Incoming;
use prometheus::IntCounter;

use crate::activate::{Activator, Active, CompiledStore, Mode};
use crate::admin::{Panel, Ready};
use crate::bindings::NodeMemory;
use crate::config::{self, Diagnostic, Diagnostics, NodeLimits, Place};
use crate::dispatch::{Core, Detail, Dispatcher};
use crate::egress::Own;
use crate::http::{Body, Client};
use crate::ingress::{self, Closed, Cores, Handle, Listening};
use crate::observe::{self, AccessForm, AccessLogs, Destination, GuestLog, Metrics, Tracer};
use crate::sandbox::{Engines, Gate};

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
    access: Mutex<AccessLogs>,
    cores: Cores,
    admin_core: Option<Cores>,
    /// Where it listens for requests, in the order of the configuration.
    pub addresses: Vec<SocketAddr>,
    /// Where the operator's listener is.
    pub admin: Option<SocketAddr>,
}

/// What is left of logs and spans has this long to be written at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Node {
    /// Checks everything, binds, and starts to serve; nothing is half started when there is an error.
    ///
    /// # Errors
    /// Every fault of the configuration and of the components, together.
    pub fn start(node: &config::Node, options: Options) -> Result<Self, Diagnostics> {
        let limits = node.limits.node_limits();
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
            log: options.log,
            own: Own::new(addresses.iter().copied().chain(admin)),
            cores: ingress::available(),
            egress: options.egress,
        };
        let dispatcher = Arc::new(Dispatcher {
            active: ArcSwap::from_pointee(activator.activate(node)?),
            gate: node_gate(&limits),
            memory: NodeMemory::new(limits.node_memory),
            limits: limits.clone(),
            origin_request_body: node.limits.worker_defaults().request_body,
            trusted_proxies: node.trusted_proxies.clone(),
            detail: options.detail,
            metrics: Arc::clone(&metrics),
            unrouted: metrics.target(observe::Target::None),
            tracer: Tracer::start(&node.telemetry).map_err(|error| internal("the span exporter", &error))?,
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
        cores.listen(listening);
        ready.set(true);
        Ok(Self {
            activator,
            dispatcher,
            ready,
            drain: limits.drain,
            access: Mutex::new(access),
            cores,
            admin_core,
            addresses,
            admin,
        })
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

    /// Takes no further connection, lets what runs finish within limit `drain`, and ends. Returns how many connections were cut.
    #[must_use]
    pub fn drain(mut self) -> usize {
        self.ready.set(false);
        let deadline = self.drain;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let cut = runtime.map_or(0, |runtime| runtime.block_on(self.cores.drain(deadline)));
        drop(self.cores);
        drop(self.admin_core);
        self.access.get_mut().unwrap_or_else(PoisonError::into_inner).close(LAST_WORDS);
        if let Some(tracer) = &self.dispatcher.tracer {
            tracer.shutdown(LAST_WORDS);
        }
        cut
    }
}

/// What starting would find wrong, without binding a port; a line for each worker that is valid.
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
        compiled: compiled_store(node, &engines)?,
        engines,
        metrics: Arc::new(Metrics::new().map_err(|error| internal("the metrics", &error))?),
        log: GuestLog::events(),
        own: Own::default(),
        cores: 1,
        egress: Mode::Listed,
    };
    match activator.activate(node) {
        Ok(active) if faults.is_empty() => {
            Ok(active.workers.iter().map(|worker| format!("{}@{} is valid", worker.name, worker.version)).collect())
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

/// Binds every listener, or none.
fn bind(node: &config::Node) -> Result<(Vec<Listening>, Option<Listening>), Diagnostics> {
    let mut faults = Vec::new();
    let mut bind = |address, tls| match Listening::bind(address, tls) {
        Ok(listening) => Some(listening),
        Err(error) => {
            faults.push(error.into());
            None
        }
    };
    let mut listening = Vec::new();
    let mut tls_faults = Vec::new();
    for listener in &node.listeners {
        match listener.tls.as_ref().map(ingress::load_tls).transpose() {
            Ok(tls) => listening.extend(bind(listener.address, tls)),
            Err(more) => tls_faults.extend(more.0),
        }
    }
    let operator = node.admin.as_ref().and_then(|admin| bind(admin.address, None));
    faults.extend(tls_faults);
    if faults.is_empty() { Ok((listening, operator)) } else { Err(Diagnostics(faults)) }
}

fn engines(limits: &NodeLimits) -> Result<Engines, Diagnostics> {
    Engines::new(limits.node_concurrency).map_err(|error| {
        let help = "lower node_concurrency, or raise the limit on address space (ulimit -v)";
        Diagnostic::new(
            Place::default(),
            format!("cannot reserve address space for the isolate pools: {error:#}"),
            help,
        )
        .into()
    })
}

fn node_gate(limits: &NodeLimits) -> Gate {
    let NodeLimits { node_concurrency, node_queue, node_queue_wait, .. } = *limits;
    Gate::new(node_concurrency, node_queue, node_queue_wait, "the node is at its concurrency limit")
}

fn compiled_store(node: &config::Node, engines: &Engines) -> Result<CompiledStore, Diagnostics> {
    let folder = node.state.clone().or_else(cache_folder).ok_or_else(|| {
        let message = "no folder for compiled components: neither XDG_CACHE_HOME nor HOME is set";
        Diagnostic::new(Place::default(), message, "give one with --state DIR")
    })?;
    CompiledStore::open(&folder, engines).map_err(|error| {
        let message = format!("the folder for compiled components cannot be used: {error}");
        Diagnostic::new(Place::file(folder), message, "give another with --state DIR").into()
    })
}

fn cache_folder() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    Some(cache.join("eyot"))
}

fn internal(what: &str, error: &dyn std::fmt::Display) -> Diagnostics {
    Diagnostic::new(Place::default(), format!("cannot create {what}: {error}"), "this is not a fault of your input")
        .into()
}
