//! The wiring: a configuration becomes a running node.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderName, HeaderValue};
use prometheus::IntCounter;

use crate::acme::Orders;
use crate::activate::{Activated, Activator, Compiler, Deployments, Found, Mode, Stock, Worker};
use crate::admin::{Api, Panel, Ready};
use crate::bindings::NodeMemory;
use crate::config::{self, Diagnostic, Diagnostics, NodeLimits, Place};
use crate::dispatch::{Detail, Dispatcher, NodeGate, Previews, Serving, watch_process};
use crate::egress;
use crate::ingress::{Cores, Listening};
use crate::observe::{self, AccessForm, AccessLogs, Destination, GuestLog, Metrics, Tails, Tracer};
use crate::sandbox;

mod certificates;
mod confine;
mod errands;
mod handover;
mod kept;
mod make;
mod ordered;
mod room;
mod threads;

use certificates::Certificates;
pub use confine::{confine, confinement};
pub use handover::Arrival;
use kept::Kept;
pub use make::{Checked, check, compiler};
use make::{Made, Purpose, make, state_folder};
use threads::{Upkeep, serve, serve_admin};

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
    /// Whether whoever reaches the operator's listener may use its API, where nothing is deployed.
    pub open_api: bool,
    /// Fields that replace those of every request.
    pub request_headers: Vec<(HeaderName, HeaderValue)>,
    /// Who compiles components.
    pub compiler: Compiler,
}

/// A running node. Dropped, it ends at once; see [`Node::drain`].
pub struct Node {
    activator: Arc<Activator>,
    dispatcher: Arc<Dispatcher>,
    ready: Ready,
    drain: Duration,
    drain_delay: Duration,
    access: Mutex<AccessLogs>,
    cores: Cores,
    admin_core: Option<Cores>,
    certificates: Arc<Certificates>,
    /// Of certificates.
    orders: Option<Arc<Orders>>,
    deployments: Option<Arc<Deployments>>,
    /// Bound; connections wait in them until [`Node::listen`].
    bound: Mutex<Vec<Listening>>,
    /// The operator's, where another process answers until then.
    quiet: Mutex<Option<Listening>>,
    /// All sockets once more, for a process that takes over.
    shared: Mutex<Vec<(SocketAddr, TcpListener)>>,
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
    pub isolates: u64,
}

/// How a node ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    /// Nobody serves here any more.
    Down,
    /// Another process does.
    Over,
}

/// What is left of logs and spans has this long to be written at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Node {
    /// Checks everything, binds, and starts to serve; nothing is half started when there is an error.
    ///
    /// # Errors
    /// Every fault of the configuration and of the components, together.
    pub fn start(read: &config::Read, options: Options) -> Result<Self, Diagnostics> {
        let running = Self::open(read, options)?;
        running.listen();
        Ok(running)
    }

    /// The same, but who connects waits for [`Node::listen`]; health and metrics answer.
    ///
    /// # Errors
    /// Every fault of the configuration and of the components, together.
    pub fn open(read: &config::Read, options: Options) -> Result<Self, Diagnostics> {
        Self::arrive(read, options, Arrival::default())
    }

    /// The same with what was there before. Where another process still answers, health and metrics wait for [`Node::listen`], too.
    ///
    /// # Errors
    /// Every fault of the configuration and of the components, together; or the other process keeps its place.
    pub fn arrive(read: &config::Read, options: Options, mut arrival: Arrival<'_>) -> Result<Self, Diagnostics> {
        let tails = options.log.tails().clone();
        let metrics = Arc::new(Metrics::new().map_err(|error| internal("the metrics", &error))?);
        metrics.adopt(options.log_lost).map_err(|error| internal("the metrics", &error))?;
        // What is wrong anyhow takes no port, not even for a moment.
        let purpose = if read.faults.is_empty() { Purpose::Serve } else { Purpose::Check };
        if purpose == Purpose::Serve {
            // From here on state may be opened, and not before.
            arrival.take_state()?;
        }
        let made = make(read, purpose, options.log, options.egress, options.compiler, &metrics, &mut arrival.given)?;
        let Made { node, activator, activated, kept, listening, operator, credentials, authority, challenges } = made;
        let (limits, activator) = (node.limits.node_limits(), Arc::new(activator));
        let Activated { active, served, ground, to_load, to_compile } = activated;
        let addresses: Vec<_> = listening.iter().map(Listening::address).collect();
        let admin = operator.as_ref().map(Listening::address);
        let shared = handover::shared(listening.iter().chain(&operator), &arrival)?;
        let dispatcher = Arc::new(Dispatcher {
            active: ArcSwap::default(),
            activator: Arc::clone(&activator),
            serving: Serving::default(),
            gate: node_gate(&limits, activator.shares.node())?,
            limits: limits.clone(),
            origin_request_body: node.limits.worker_defaults().request_body,
            trusted_proxies: node.trusted_proxies.clone(),
            detail: options.detail,
            request_headers: options.request_headers,
            metrics: Arc::clone(&metrics),
            unrouted: metrics.target(observe::Target::None),
            tracer: Tracer::start(&node.telemetry, metrics.span_losses())
                .map_err(|error| internal("the span exporter", &error))?,
            tails: tails.clone(),
            previews: OnceLock::new(),
        });
        dispatcher.switch(active);
        let access = match options.access {
            Some((destination, form)) => AccessLogs::start(&destination, form, metrics.access_log_dropped())
                .map_err(|error| no_access_log(&destination, &error))?,
            None => AccessLogs::none(),
        };
        activator.loader.start(activator.cores).map_err(|error| internal("the threads that load", &error))?;
        activator.loader.load_ahead(to_load);
        activator.loader.compile_ahead(to_compile);
        let certificates = Arc::new(Certificates::new(credentials, metrics.certificates()));
        let orders = ordered::orders(node, authority, challenges, &certificates, &metrics);
        let (errands, errands_of_cores) = errands::desk();
        let deployments = kept.map(|Kept { store, deployed, secrets, fleet, left_out }| {
            kept::tell(&left_out);
            fleet.iter().for_each(|fleet| activator.data.share_with(Arc::clone(fleet)));
            let (own, shared) = (Arc::clone(&activator), Arc::clone(&dispatcher));
            let switch = Box::new(move |active| shared.switch(active));
            let found = Found { ground, served, left_out, secrets };
            let deployments =
                Deployments::new(store, own, node.clone(), (deployed, found), switch, (errands.ask(), fleet));
            if let Some(suffix) = node.preview.clone() {
                let previews = Previews { suffix, deployments: Arc::clone(&deployments) };
                // It is new, so nobody has set it before.
                let _ = dispatcher.previews.set(previews);
            }
            deployments
        });
        let ready = Ready::default();
        let cores = serve(&dispatcher, &access, &limits, errands_of_cores)?;
        let mut quiet = None;
        let admin_core = match operator {
            Some(operator) => {
                let (connections, fleet_metrics) = (cores.counter(), Arc::clone(&metrics));
                let page = move || {
                    metrics.connections(connections());
                    metrics.isolates_waiting(sandbox::waiting());
                    metrics.render()
                };
                let shared = Arc::clone(&dispatcher);
                let serving = move || shared.active.load_full();
                let defaults = node.limits.worker_defaults();
                let stock = Arc::new(Stock::new(Arc::clone(&activator), serving, defaults, deployments.clone()));
                let api = match deployments.clone() {
                    Some(own) => Some(Api::new(own, stock, orders.clone(), tails, ready.clone())),
                    None => options.open_api.then(|| Api::open(stock, tails)),
                };
                let fleet = deployments.as_ref().and_then(|deployments| deployments.fleet().cloned());
                let told = fleet.is_some().then(|| fleet_metrics.fleet()).transpose();
                let told = told.map_err(|error| internal("the metrics", &error))?;
                let panel = Panel::new(ready.clone(), page).with(api).with_orders(orders.clone()).with_fleet(fleet);
                let (deployments, orders) = (deployments.clone(), orders.clone());
                let upkeep = Upkeep { deployments, orders, fleet: told, dispatcher: Arc::clone(&dispatcher) };
                let admin_core = serve_admin(panel, upkeep, &limits)?;
                match arrival.predecessor {
                    Some(_) => quiet = Some(operator),
                    None => admin_core.listen([operator]),
                }
                Some(admin_core)
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
            certificates,
            orders,
            deployments,
            bound: Mutex::new(listening),
            quiet: Mutex::new(quiet),
            shared: Mutex::new(shared),
            addresses,
            admin,
        })
    }

    /// Takes connections from now on, those that wait first.
    pub fn listen(&self) {
        let bound = std::mem::take(&mut *self.bound.lock().unwrap_or_else(PoisonError::into_inner));
        self.cores.listen(bound);
        self.ready.set(true);
        if let Some(admin) = &self.admin_core {
            admin.listen(self.quiet.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
        if let Some(orders) = &self.orders {
            orders.start();
        }
        egress::read_roots_ahead();
    }

    /// Makes one worker ready, for [`Node::serve`].
    ///
    /// # Errors
    /// What is wrong with its component.
    pub fn prepare(&self, worker: &config::Worker) -> Result<Arc<Worker>, Diagnostics> {
        Ok(self.activator.prepare(worker)?)
    }

    /// Serves these workers, in the way that a configuration has them, from the next request on; requests that run finish on the old
    /// ones. Listeners and the limits of the node stay as they are.
    ///
    /// # Errors
    /// Every fault of what stands between the workers; what served before serves on.
    pub fn serve(&self, node: &config::Node, workers: Vec<Arc<Worker>>) -> Result<(), Diagnostics> {
        self.dispatcher.switch(self.activator.assemble(node, workers)?);
        Ok(())
    }

    /// Reads the certificates of all listeners again, and nothing else of the configuration. New handshakes use what is there now; if
    /// any file is bad, none of them is used, and the log says what is wrong.
    pub fn read_certificates_again(&self) {
        match self.certificates.read_again() {
            Ok(certificates) => tracing::info!(certificates, "certificates read again"),
            Err(Diagnostics(faults)) => {
                for Diagnostic { place, message, help } in faults {
                    let file = place.file.display();
                    tracing::error!(%file, help, "certificates not read again, those from before stay in use: {message}");
                }
            }
        }
    }

    /// How many workers serve.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.dispatcher.active.load().workers.len()
    }

    /// Is no longer ready, serves on for limit `drain_delay`, then takes no further connection, lets what runs finish within limit
    /// `drain`, and ends; at once when `at_once` resolves. Blocks while threads end, so it is nothing to do on a core.
    pub async fn drain(self, at_once: impl Future<Output = ()>) -> Cut {
        self.ready.set(false);
        self.end(Leaving::Down, at_once).await
    }

    /// The same where another process has begun to serve from the same sockets: there is nobody to whom `/readyz` would have to say no, and
    /// connections may ask once more within half of limit `drain`.
    pub async fn hand_over(self, at_once: impl Future<Output = ()>) -> Cut {
        self.end(Leaving::Over, at_once).await
    }

    async fn end(mut self, leaving: Leaving, at_once: impl Future<Output = ()>) -> Cut {
        if leaving == Leaving::Over {
            // What is to be seen is seen at the other process.
            self.dispatcher.tails.end();
        }
        tokio::select! {
            () = self.finish(leaving) => {}
            () = at_once => {}
        }
        let cut = Cut { connections: self.cores.connections(), isolates: self.dispatcher.gate.inside() };
        drop(self.cores);
        end_tails(&self.dispatcher.tails, self.admin_core.as_ref()).await;
        drop(self.admin_core);
        self.access.get_mut().unwrap_or_else(PoisonError::into_inner).close(LAST_WORDS);
        if let Some(tracer) = &self.dispatcher.tracer {
            tracer.shutdown(LAST_WORDS);
        }
        cut
    }

    /// Returns when everything is done, or when its time is over.
    async fn finish(&self, leaving: Leaving) {
        // What is not received yet is another process's, now or later.
        self.dispatcher.serving.stop();
        if leaving == Leaving::Down {
            tokio::time::sleep(self.drain_delay).await;
        }
        let done = async {
            if leaving == Leaving::Over {
                self.part().await;
            }
            self.cores.drain().await;
            self.dispatcher.gate.empty().await;
        };
        // What is not done by then is counted and cut.
        let _ = tokio::time::timeout(self.drain, done).await;
    }
}

/// Whoever looks on has seen the last requests, and is told that they were the last.
async fn end_tails(tails: &Tails, admin: Option<&Cores>) {
    if tails.end() > 0
        && let Some(admin) = admin
    {
        // Those who do not read are cut.
        let _ = tokio::time::timeout(LAST_WORDS, admin.drain()).await;
    }
}

fn node_gate(limits: &NodeLimits, memory: &Arc<NodeMemory>) -> Result<Arc<NodeGate>, Diagnostics> {
    let NodeLimits { node_concurrency, node_queue, node_queue_wait, .. } = *limits;
    watch_process(memory, limits.process_memory).map_err(|error| internal("the thread", &error))?;
    Ok(NodeGate::new(node_concurrency, node_queue, node_queue_wait, Arc::clone(memory)))
}

/// The log's own destinations cannot fail, so it is the file that somebody named.
fn no_access_log(destination: &Destination, error: &std::io::Error) -> Diagnostics {
    match destination {
        Destination::File(file) => {
            let message = format!("the access log cannot be written: {error}");
            Diagnostic::new(Place::file(file), message, "name a file in a folder that is there: --access-log FILE")
                .into()
        }
        Destination::Stdout | Destination::Stderr => internal("the access log", error),
    }
}

fn internal(what: &str, error: &dyn std::fmt::Display) -> Diagnostics {
    Diagnostic::new(Place::default(), format!("cannot create {what}: {error}"), "this is not a fault of your input")
        .into()
}
