//! The data behind one store: everything that one invocation may reach.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};
use wasmtime_wasi_io::IoView;

use super::held::is_charged;
use super::log::Output;
use super::service::{Services, services};
use super::{AskedBy, Batch, Delivered, Event, Granted, Meter, Outbound, Queueing, Usage, WorkerShare};
use crate::config::{self, WorkerLimits};
use crate::egress::{Egress, Policy};
use crate::observe::{GuestLog, WorkerMetrics};
use crate::store::{Kv, Queues};

/// What one version of a worker may touch: made once when it is activated, shared by its invocations.
pub struct Capabilities {
    /// The worker's name.
    pub worker: Arc<str>,
    /// What it is held to.
    pub limits: Arc<WorkerLimits>,
    /// The same where no client waits: `cpu_time` and `wall_time` are those of events.
    pub event_limits: Arc<WorkerLimits>,
    /// What its isolates have of the node, together with those of its other versions.
    pub share: Arc<WorkerShare>,
    /// Whether, and for how long, its isolates are asked again.
    pub reuse: Option<Reuse>,
    /// Whether growing past limit `memory` ends it.
    pub trap_on_grow_failure: bool,
    /// Where it may send requests.
    pub policy: Arc<Policy>,
    /// Where its standard streams go.
    pub log: GuestLog,
    /// What is counted for it.
    pub metrics: Arc<WorkerMetrics>,
    /// Its keys and values, if it has any.
    pub(super) kv: Option<Arc<Granted>>,
    /// Whether its author has written routes for it.
    pub is_asked: bool,
    /// Whether it works off queues.
    pub works_off: bool,
    /// Whether it has schedules.
    pub has_schedules: bool,
    /// The queues that it works off or sends to, if there are any.
    pub(super) queueing: Option<Queueing>,
    /// The workers that it may call.
    pub(super) services: Services,
    env: Vec<(String, String)>,
    config: BTreeMap<String, String>,
    /// The configuration with the secrets, of which a value may change while isolates run.
    answers: ArcSwap<WasiConfigVariables>,
}

impl Capabilities {
    /// What the worker's configuration grants, and nothing else.
    #[must_use]
    pub fn new(
        worker: &config::Worker,
        share: Arc<WorkerShare>,
        policy: Policy,
        log: GuestLog,
        metrics: Arc<WorkerMetrics>,
        kv: Option<&Arc<Kv>>,
        queues: Option<&Arc<Queues>>,
    ) -> Self {
        let WorkerLimits { event_cpu_time, event_wall_time, .. } = worker.limits;
        let event_limits =
            WorkerLimits { cpu_time: event_cpu_time, wall_time: event_wall_time, ..worker.limits.clone() };
        Self {
            worker: worker.name.as_str().into(),
            limits: Arc::new(worker.limits.clone()),
            event_limits: Arc::new(event_limits),
            share,
            reuse: worker.reuse.then(|| Reuse::of(&worker.limits)),
            trap_on_grow_failure: worker.trap_on_grow_failure,
            policy: Arc::new(policy),
            log,
            services: services(worker, metrics.services()),
            metrics,
            kv: kv.filter(|_| !worker.kv.is_empty()).map(|kv| Arc::new(Granted::new(worker, kv))),
            is_asked: worker.routes.iter().any(|route| route.place.line > 0),
            works_off: !worker.queues.is_empty(),
            has_schedules: !worker.schedules.is_empty(),
            queueing: queues.and_then(|queues| Queueing::new(worker, queues)),
            env: worker.env.clone().into_iter().collect(),
            config: worker.config.clone(),
            answers: ArcSwap::from_pointee(variables(&worker.config)),
        }
    }

    /// Whether it may call other workers.
    #[must_use]
    pub fn calls_others(&self) -> bool {
        !self.services.is_empty()
    }

    /// From now on `wasi:config/store` answers these secrets, too, in isolates that run as well.
    pub fn know<'a>(&self, secrets: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let secrets = secrets.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.answers.store(Arc::new(variables(&self.config.clone().into_iter().chain(secrets).collect())));
    }
}

/// How long an isolate is kept for further requests.
#[derive(Clone, Copy, Debug)]
pub struct Reuse {
    /// So many it answers.
    pub requests: u64,
    /// From its start to its last request.
    pub age: Duration,
    /// From one request to the next.
    pub idle: Duration,
}

impl Reuse {
    fn of(limits: &WorkerLimits) -> Self {
        Self { requests: limits.reuse_requests, age: limits.reuse_age, idle: limits.reuse_idle }
    }
}

fn variables(config: &BTreeMap<String, String>) -> WasiConfigVariables {
    config.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The data of one store.
pub struct Guest {
    /// What it has used, and its limits.
    pub meter: Meter,
    pub(super) capabilities: Arc<Capabilities>,
    pub(super) table: ResourceTable,
    /// How often it has asked for keys and values in this invocation.
    pub(super) kv_asked: u64,
    /// How many messages it has sent in this invocation.
    pub(super) queue_sent: u64,
    /// Made when the guest first asks for any of it: a guest that answers from its own memory never does.
    wasi: Option<(WasiCtx, Arc<Output>)>,
    http: WasiHttpCtx,
    pub(super) outbound: Outbound,
    /// What was answered last.
    answers: Option<Arc<WasiConfigVariables>>,
}

impl Guest {
    /// The data of an isolate of a worker with these capabilities, held to `limits`, which are some of theirs; nobody has asked it yet, and
    /// its start is charged to `usage`.
    #[must_use]
    pub fn new(capabilities: &Arc<Capabilities>, limits: &Arc<WorkerLimits>, usage: Arc<Usage>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(saturating(limits.resource_table));
        let mut http = WasiHttpCtx::new();
        // What counts is checked on the finished head, and what is held is charged to the meter. The library counts at least 73
        // bytes for a field that takes 5 in a head: its bound is never the first that is met.
        http.set_field_size_limit(saturating(limits.response_header.saturating_mul(16)));
        let share = Arc::clone(&capabilities.share);
        Self {
            meter: Meter::new(usage, Arc::clone(limits), share, capabilities.trap_on_grow_failure),
            wasi: None,
            outbound: Outbound::new(capabilities),
            capabilities: Arc::clone(capabilities),
            table,
            kv_asked: 0,
            queue_sent: 0,
            http,
            answers: None,
        }
    }

    /// It is about to be asked.
    pub fn begin(&mut self, event: Event, egress: Egress) {
        (self.kv_asked, self.queue_sent) = (0, 0);
        if let Some((_, output)) = &self.wasi {
            output.begin(&event);
        }
        self.outbound.begin(event, egress, Arc::clone(&self.meter.usage));
    }

    /// It has answered, and may be asked again: nothing of the request stays on this side. What the guest holds of it counts on.
    pub fn end(&mut self) {
        self.outbound.end();
        if let Some((_, output)) = &self.wasi {
            output.end();
        }
        if !self.table.iter_mut().any(|entry| is_charged(&*entry)) {
            self.meter.let_go();
        }
    }

    /// The circumstances of the request that it answers. `None` before the first one, and between two.
    pub(super) fn event(&self) -> Option<&Event> {
        self.outbound.event()
    }

    /// Takes in the messages of a batch, as the guest gets them.
    ///
    /// # Errors
    /// When it holds too much already.
    pub fn hold(&mut self, batch: &Arc<Batch>) -> wasmtime::Result<Vec<Resource<Delivered>>> {
        let pushed = batch.delivered().map(|delivered| Ok(self.table.push(delivered)?));
        pushed.collect()
    }

    /// Who sent the request that it answers, if it answers one.
    pub(super) fn asked_by(&self) -> Option<&AskedBy> {
        self.event()?.asked_by.as_ref()
    }

    /// What it may touch.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What `wasi:config/store` answers.
    pub(super) fn config(&mut self) -> &WasiConfigVariables {
        self.answers.insert(self.capabilities.answers.load_full())
    }
}

/// No directory, no socket, no argument; an environment only from configuration.
fn wasi(capabilities: &Arc<Capabilities>, event: Option<&Event>) -> (WasiCtx, Arc<Output>) {
    let output = Output::new(capabilities);
    if let Some(event) = event {
        output.begin(event);
    }
    let mut builder = WasiCtx::builder();
    builder.max_random_size(capabilities.limits.random_bytes);
    if !capabilities.env.is_empty() {
        builder.envs(&capabilities.env);
    }
    let [stdout, stderr] = output.streams();
    builder.stdout(stdout).stderr(stderr);
    (builder.build(), output)
}

fn saturating(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let Self { wasi, table, capabilities, outbound, .. } = self;
        let (ctx, _) = wasi.get_or_insert_with(|| self::wasi(capabilities, outbound.event()));
        WasiCtxView { ctx, table }
    }
}

impl IoView for Guest {
    fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outbound, table: &mut self.table, ctx: &mut self.http }
    }
}
