//! Everything of a node that can be made before it serves, and what is wrong with it: the same for checking and for starting.

use std::path::PathBuf;
use std::sync::Arc;

use super::kept::{self, Kept};
use super::{certificates, internal, ordered, room};
use crate::acme::Authority;
use crate::activate::{Activated, Activator, CompileLimits, CompiledStore, Compiler, Components, Data, Loader, Mode};
use crate::bindings::{NodeMemory, WorkerShares};
use crate::config::{self, Diagnostic, Diagnostics, Place};
use crate::egress::Own;
use crate::ingress::{self, Challenges, Credentials, Given, ListenError, Listening};
use crate::observe::{GuestLog, Metrics};
use crate::sandbox::Engines;

/// What was found of a configuration that is valid.
#[derive(Debug)]
pub struct Checked {
    /// A line for each worker.
    pub lines: Vec<String>,
    /// What is no reason not to start, and should be seen to.
    pub warnings: Vec<Diagnostic>,
}

/// What starting would find wrong, without binding a port or writing anything.
///
/// # Errors
/// Every fault of the configuration and of the components, together.
pub fn check(read: &config::Read) -> Result<Checked, Diagnostics> {
    let metrics = Arc::new(Metrics::new().map_err(|error| internal("the metrics", &error))?);
    let Some(node) = &read.node else { return Err(Diagnostics::together(read.faults.clone())) };
    let (compiler, given) = (compiler(node), &mut Given::default());
    let made = make(read, Purpose::Check, GuestLog::events(), Mode::Listed, compiler, &metrics, given)?;
    let workers = made.activated.active.workers.iter();
    let lines = workers.map(|worker| format!("{}@{} is valid", worker.name, worker.version));
    let lines = lines.chain(ordered::would_be(node, &made.credentials)).collect();
    let warnings = certificates::warnings(&made.credentials);
    Ok(Checked { lines, warnings: warnings.into_iter().map(|warning| node.mentions.locate(warning)).collect() })
}

/// What a node is made for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Serve,
    /// Binds no port and writes nothing.
    Check,
}

/// All of a node that can be made before it serves.
pub(super) struct Made<'a> {
    pub(super) node: &'a config::Node,
    pub(super) activator: Activator,
    pub(super) activated: Activated,
    pub(super) kept: Option<Kept>,
    pub(super) listening: Vec<Listening>,
    pub(super) operator: Option<Listening>,
    pub(super) credentials: Vec<Credentials>,
    /// Who issues, and what it is to be answered.
    pub(super) authority: Option<Authority>,
    pub(super) challenges: Challenges,
}

/// What check and serve have in common: everything is looked at, whatever has been found wrong before.
pub(super) fn make<'a>(
    read: &'a config::Read,
    purpose: Purpose,
    log: GuestLog,
    egress: Mode,
    compiler: Compiler,
    metrics: &Arc<Metrics>,
    given: &mut Given,
) -> Result<Made<'a>, Diagnostics> {
    let mut faults = read.faults.clone();
    let Some(node) = &read.node else { return Err(Diagnostics::together(faults)) };
    let limits = node.limits.node_limits();
    let challenges = Challenges::default();
    let credentials = credentials(node, &challenges, &mut faults);
    let authority = authority(node, &mut faults);
    let (listening, operator) = bind(node, &credentials, purpose, given, &mut faults);
    let credentials: Vec<_> = credentials.into_iter().flatten().flatten().collect();
    let own = Own::new(listening.iter().chain(&operator).map(Listening::address));
    let room = room::look(node).map_err(|fault| faults.push(fault)).ok();
    let compiled = match purpose {
        Purpose::Check => Some(CompiledStore::read_only(state_folder(node).as_deref())),
        Purpose::Serve => compiled_store(node).map_err(|fault| faults.push(fault)).ok(),
    };
    let kept = match purpose {
        Purpose::Check => Some(None),
        Purpose::Serve => kept::open(node).map_err(|fault| faults.push(fault)).ok(),
    };
    let made = room.zip(compiled).zip(kept).and_then(|((room, compiled), mut kept)| {
        let deployed = kept.as_ref().map(|kept| &*kept.deployed).unwrap_or_default();
        if purpose == Purpose::Serve {
            let workers = (node.workers.len() + deployed.len()) as u64;
            ingress::raise_descriptors(limits.connections, room.bounds.components.min(workers));
        }
        let (metrics, cores) = (Arc::clone(metrics), ingress::available());
        let waiting = usize::try_from(limits.waiting_isolates).unwrap_or(usize::MAX);
        let shares = WorkerShares::new(NodeMemory::new(limits.node_memory, waiting));
        let (engines, component_size) = (Engines::new(room.pool), limits.component_size);
        let components = Components { engines, compiled, compiler, component_size };
        let loader = Loader::new(components, room.bounds, limits.load_queue, metrics.loads());
        let data = match purpose {
            Purpose::Check => Data::unseen(node.data.clone(), node.backends.clone()),
            Purpose::Serve => Data::new(node.data.clone(), node.backends.clone()),
        };
        let activator = Activator { loader, metrics, shares, log, data, own, cores, egress };
        match activator.activate(node, deployed) {
            Ok((activated, more)) => {
                kept.iter_mut().for_each(|kept| kept.left_out.extend(more.iter().cloned()));
                Some(Made { node, activator, activated, kept, listening, operator, credentials, authority, challenges })
            }
            Err(more) => {
                add_new(&mut faults, more);
                None
            }
        }
    });
    match made {
        Some(made) if faults.is_empty() => Ok(made),
        _ => Err(Diagnostics::together(faults)),
    }
}

/// What is wrong at one place of a file has been said by who found it first: a file that is not there is no certificate either.
fn add_new(faults: &mut Vec<Diagnostic>, Diagnostics(more): Diagnostics) {
    let known: Vec<Place> = faults.iter().map(|fault| fault.place.clone()).filter(|place| place.line > 0).collect();
    faults.extend(more.into_iter().filter(|fault| !known.contains(&fault.place)));
}

/// What each listener proves its names with, if it does; `None` where that could not be read.
fn credentials(
    node: &config::Node,
    challenges: &Challenges,
    faults: &mut Vec<Diagnostic>,
) -> Vec<Option<Option<Credentials>>> {
    let mut load = |listener: &config::Listener| {
        let loaded = listener.tls.as_ref().map(|tls| ingress::load_tls(tls, challenges)).transpose();
        let failed = |Diagnostics(more)| {
            let more = more.into_iter().map(|fault| node.mentions.locate(fault)).collect();
            add_new(faults, Diagnostics(more));
        };
        loaded.map_err(failed).ok()
    };
    node.listeners.iter().map(&mut load).collect()
}

/// Who issues the certificates that are ordered.
fn authority(node: &config::Node, faults: &mut Vec<Diagnostic>) -> Option<Authority> {
    let authority = node.acme.as_ref().map(Authority::new).transpose();
    let failed = |Diagnostics(more): Diagnostics| {
        add_new(faults, Diagnostics(more.into_iter().map(|fault| node.mentions.locate(fault)).collect()));
    };
    authority.map_err(failed).ok().flatten()
}

/// Binds every listener whose certificates and keys are good, or takes the socket that was given for it, to serve.
fn bind(
    node: &config::Node,
    credentials: &[Option<Option<Credentials>>],
    purpose: Purpose,
    given: &mut Given,
    faults: &mut Vec<Diagnostic>,
) -> (Vec<Listening>, Option<Listening>) {
    // Who gave them may serve HTTP/3 for a while yet.
    let is_handed_over = given.is_handed_over();
    let mut bind = |address, tls, http3| {
        let listening = match (purpose, given.take(address)) {
            (Purpose::Check, _) => return None,
            (Purpose::Serve, Some(socket)) => {
                Listening::given(socket, address, tls).and_then(|listening| match (http3, is_handed_over) {
                    (false, _) => Ok(listening),
                    (true, false) => listening.with_http3(),
                    (true, true) => Ok(listening.with_http3_later()),
                })
            }
            (Purpose::Serve, None) if http3 => Listening::bind_with_http3(address, tls),
            (Purpose::Serve, None) => Listening::bind(address, tls),
        };
        let fault = |error: ListenError| Diagnostic { place: node.mentions.address(address), ..error.into() };
        listening.map_err(|error| faults.push(fault(error))).ok()
    };
    let usable = node.listeners.iter().zip(credentials);
    let listening = usable.filter_map(|(listener, tls)| bind(listener.address, tls.clone()?, listener.http3)).collect();
    let operator = node.admin.as_ref().and_then(|admin| bind(admin.address, None, false));
    if purpose == Purpose::Serve {
        faults.extend(given.unnamed().map(Diagnostic::from));
        for address in given.left() {
            tracing::warn!(%address, "the process before listens there, and this one will not");
        }
    }
    (listening, operator)
}

/// Who compiles for this node; nothing is started before the first component, or [`Compiler::start`].
#[must_use]
pub fn compiler(node: &config::Node) -> Compiler {
    let limits = node.limits.node_limits();
    let (memory, cpu, time) = (limits.compile_memory, limits.compile_cpu, limits.compile_time);
    Compiler::new(CompileLimits { memory, cpu, time })
}

fn compiled_store(node: &config::Node) -> Result<CompiledStore, Diagnostic> {
    let folder = state_folder(node).ok_or_else(|| {
        let message = "no folder for compiled components: neither XDG_CACHE_HOME nor HOME is an absolute path";
        Diagnostic::new(Place::default(), message, "give one with --state DIR")
    })?;
    CompiledStore::open(&folder).map_err(|error| {
        let message = format!("the folder for compiled components cannot be used: {error}");
        Diagnostic::new(Place::file(folder), message, "give another with --state DIR")
    })
}

pub(super) fn state_folder(node: &config::Node) -> Option<PathBuf> {
    node.state.clone().or_else(cache_folder)
}

/// A path that is empty or relative counts as not set (XDG Base Directory Specification).
fn cache_folder() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
    Some(cache.join("eyot"))
}
