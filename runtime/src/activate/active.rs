//! What serves right now: one immutable snapshot that every request reads without a lock.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;

use super::code::Code;
use super::split::Split;
use super::tally::Watched;
use crate::auth::Verifier;
use crate::bindings::Capabilities;
use crate::config::{self, Location};
use crate::deploy::RouteTable;
use crate::egress::{Egress, OriginId};
use crate::observe::{TargetMetrics, WorkerMetrics};
use crate::store::{QueueLimits, QueueName, ScheduleName};

/// Everything that a request is decided by. The empty one serves nothing.
#[derive(Default)]
pub struct Active {
    /// Host + path + method → index into `destinations`.
    pub routes: RouteTable,
    /// In the order of the routes that the table was built from.
    pub destinations: Vec<Destination>,
    /// The versions that serve.
    pub workers: Vec<Arc<Worker>>,
    /// The queues that they work off.
    pub queues: HashMap<QueueName, Consumed>,
    /// What they do at times.
    pub schedules: HashMap<ScheduleName, Planned>,
    /// Those that other workers may call, by name.
    pub callable: HashMap<Arc<str>, Callable>,
    /// One for each core, with connection pools of its own.
    pub egress: Vec<Egress>,
}

/// So many routes of a host are looked at before its client has asked, and so many workers loaded.
const LOOKED_AT: usize = 32;
const LOADED: usize = 4;

impl Active {
    /// A client will probably ask for this canonical host in a moment: what it will then wait for is loaded, as far as there is room. It
    /// is called on a core, where all is in memory for a look at each route.
    pub fn expect(&self, host: &str) {
        let routes = self.routes.of_host(host).take(LOOKED_AT);
        let splits = routes.filter_map(|route| match &self.destinations.get(route)?.target {
            Target::Worker(split) => Some(split),
            _ => None,
        });
        let versions = splits.flat_map(|split| split.versions());
        versions.filter(|version| !version.code.is_loaded()).take(LOADED).for_each(|version| version.code.expect());
    }
}

/// A queue that is worked off here.
#[derive(Clone)]
pub struct Consumed {
    /// Which.
    pub name: QueueName,
    /// How, by the version that decides about its worker's routes.
    pub queue: Arc<config::Queue>,
    /// What it holds.
    pub limits: QueueLimits,
    /// Who works it off.
    pub by: Arc<Split>,
}

/// What a worker does at times.
#[derive(Clone)]
pub struct Planned {
    /// Which schedule.
    pub name: ScheduleName,
    /// When, by the version that decides about its worker's routes.
    pub schedule: Arc<config::Schedule>,
    /// Who does it.
    pub by: Arc<Split>,
}

/// A worker that others may call.
#[derive(Clone)]
pub struct Callable {
    /// Who answers.
    pub by: Arc<Split>,
    /// The workers that may, by the version that decides about its worker's routes.
    pub callers: Arc<[String]>,
}

/// Where a route leads, with all names resolved.
pub struct Destination {
    /// The route as configured, for logs and traces.
    pub pattern: Arc<str>,
    /// Who must be asking.
    pub verifier: Option<Arc<Verifier>>,
    /// What answers.
    pub target: Target,
    /// Counts what happens here.
    pub metrics: Arc<TargetMetrics>,
}

/// What answers.
pub enum Target {
    /// An isolate of one of these versions.
    Worker(Arc<Split>),
    /// This origin.
    Origin(OriginId),
    /// Another place.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: StatusCode,
        /// The other place.
        location: Location,
    },
    /// A fixed answer.
    Respond {
        /// Any final status.
        status: StatusCode,
        /// Header fields.
        headers: Vec<(HeaderName, HeaderValue)>,
        /// The body.
        body: Bytes,
    },
}

/// One version of a worker: what it takes to route, to admit and to count its requests. Its code is in memory while it is used.
pub struct Worker {
    /// Its name.
    pub name: Arc<str>,
    /// Its number, if it was deployed; else the first twelve digits of its component's SHA-256.
    pub version: Arc<str>,
    /// What its isolates may touch.
    pub capabilities: Arc<Capabilities>,
    /// What they run.
    pub code: Arc<Code>,
    /// Client addresses that are allowed. Empty: all.
    pub allow_addresses: Vec<IpNet>,
    /// Counts its invocations.
    pub metrics: Arc<WorkerMetrics>,
    /// How its requests end, while somebody looks.
    pub watched: Watched,
}
