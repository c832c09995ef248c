//! The wiring: a configuration becomes a running node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::body::Incoming;

use crate::activate::{Activator, Active, CompiledStore, Mode};
use crate::admin::Ready;
use crate::bindings::{LogSink, NodeMemory};
use crate::config::{self, Diagnostic, Diagnostics, NodeLimits, Place};
use crate::dispatch::{Core, Detail, Dispatcher};
use crate::egress::Own;
use crate::http::{Body, Client};
use crate::ingress::{Closed, Cores, Handle};
use crate::observe::{AccessSink, AccessWriter, Metrics, Spans};
use crate::sandbox::{Engines, Gate};

/// How a node runs, besides its configuration.
pub struct Options {
    /// How much clients are told about failures.
    pub detail: Detail,
    /// Which egress workers have.
    pub egress: Mode,
    /// Where guests' lines go.
    pub log: LogSink,
    /// Where the access log goes.
    pub access: AccessSink,
}

/// A running node.
pub struct Node {
    activator: Activator,
    dispatcher: Arc<Dispatcher>,
    cores: Cores,
    ready: Ready,
    drain: Duration,
    /// Where it listens for requests, in the order of the configuration.
    pub addresses: Vec<SocketAddr>,
    /// Where the operator's listener is.
    pub admin: Option<SocketAddr>,
}

/// How many requests may wait for the node's own permits: as many as run.
fn node_gate(limits: &NodeLimits) -> Gate {
    let permits = limits.node_concurrency;
    Gate::new(permits, permits, Duration::from_secs(1), "the node has all the work it may have")
}

impl Node {
    /// Checks everything, binds, and starts to serve; nothing is half started when there is an error.
    ///
    /// # Errors
    /// Every fault of the configuration and of the components, together.
    pub fn start(node: &config::Node, options: Options) -> Result<Self, Diagnostics> {
        let limits = node.limits.node_limits();
        let engines = Engines::new(limits.node_concurrency).map_err(|error| {
            let help = "lower node_concurrency, or raise the limit on address space (ulimit -v)";
            one(format!("no room for the isolates' pools: {error:#}"), Some(help))
        })?;
        let metrics = Arc::new(Metrics::new());
        let sockets = Cores::bind(node)?;
        let activator = Activator {
            compiled: compiled_store(node, &engines)?,
            engines,
            metrics: Arc::clone(&metrics),
            log: options.log,
            own: Own::new(sockets.addresses()),
            cores: sockets.cores(),
            egress: options.egress,
        };
        let active = activator.activate(node)?;
        let dispatcher = Arc::new(Dispatcher {
            active: ArcSwap::from_pointee(active),
            gate: node_gate(&limits),
            memory: NodeMemory::new(limits.node_memory),
            limits: limits.clone(),
            trusted_proxies: node.trusted_proxies.clone(),
            detail: options.detail,
            metrics: Arc::clone(&metrics),
            spans: Spans::start(&node.telemetry),
        });
        let writer = AccessWriter::start(options.access, &metrics);
        let ready = Ready::default();
        let addresses = sockets.http_addresses();
        let admin = sockets.admin_address();
        let cores = {
            let dispatcher = Arc::clone(&dispatcher);
            sockets.serve(move |index| Entry(Arc::new(Core { dispatcher: Arc::clone(&dispatcher), index, access: writer.log() })))
        };
        ready.set(true);
        Ok(Self { activator, dispatcher, cores, ready, drain: limits.drain, addresses, admin })
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

fn compiled_store(node: &config::Node, engines: &Engines) -> Result<CompiledStore, Diagnostics> {
    let folder = node.state.clone().or_else(cache_folder).ok_or_else(|| {
        one("no folder for compiled components: neither XDG_CACHE_HOME nor HOME is set".to_owned(), Some("give --state DIR"))
    })?;
    CompiledStore::open(&folder, engines).map_err(|error| {
        let message = format!("{}: the folder for compiled components cannot be made: {error}", folder.display());
        one(message, Some("give another with --state DIR"))
    })
}

fn cache_folder() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    Some(cache.join("eyot"))
}

fn one(message: String, help: Option<&str>) -> Diagnostics {
    Diagnostics(vec![Diagnostic { place: Place::default(), message, help: help.map(str::to_owned) }])
}
