//! The data behind one store: everything that one invocation may reach.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::log::GuestStream;
use super::{Event, Meter, NodeMemory, Outbound, Usage, WorkerShare};
use crate::config::{self, WorkerLimits};
use crate::egress::{Egress, Policy};
use crate::observe::{GuestLog, WorkerMetrics};

/// What one version of a worker may touch: made once when it is activated, shared by its invocations.
pub struct Capabilities {
    /// The worker's name.
    pub worker: Arc<str>,
    /// What it is held to.
    pub limits: Arc<WorkerLimits>,
    /// What its isolates have of the node, together with those of its other versions.
    pub share: Arc<WorkerShare>,
    /// Whether growing past limit `memory` ends it.
    pub trap_on_grow_failure: bool,
    /// Where it may send requests.
    pub policy: Arc<Policy>,
    /// Where its standard streams go.
    pub log: GuestLog,
    /// What is counted for it.
    pub metrics: Arc<WorkerMetrics>,
    env: Vec<(String, String)>,
    config: WasiConfigVariables,
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
    ) -> Self {
        Self {
            worker: worker.name.as_str().into(),
            limits: Arc::new(worker.limits.clone()),
            share,
            trap_on_grow_failure: worker.trap_on_grow_failure,
            policy: Arc::new(policy),
            log,
            metrics,
            env: worker.env.clone().into_iter().collect(),
            config: variables(&worker.config),
        }
    }
}

fn variables(config: &BTreeMap<String, String>) -> WasiConfigVariables {
    config.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The data of one store.
pub struct Guest {
    /// What it has used, and its limits.
    pub meter: Meter,
    /// The request's circumstances.
    pub event: Event,
    pub(super) capabilities: Arc<Capabilities>,
    pub(super) table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outbound: Outbound,
}

impl Guest {
    /// The data for one invocation of a worker with these capabilities.
    #[must_use]
    pub fn new(
        capabilities: &Arc<Capabilities>,
        event: Event,
        usage: &Arc<Usage>,
        node_memory: &Arc<NodeMemory>,
        egress: &Egress,
    ) -> Self {
        let limits = &capabilities.limits;
        let mut table = ResourceTable::new();
        table.set_max_capacity(saturating(limits.resource_table));
        let mut http = WasiHttpCtx::new();
        // What counts is checked on the finished head, and what is held is charged to the meter. The library counts at least 73
        // bytes for a field that takes 5 in a head: its bound is never the first that is met.
        http.set_field_size_limit(saturating(limits.response_header.saturating_mul(16)));
        Self {
            meter: Meter::new(
                Arc::clone(usage),
                Arc::clone(limits),
                Arc::clone(node_memory),
                Arc::clone(&capabilities.share),
                capabilities.trap_on_grow_failure,
            ),
            wasi: wasi(capabilities, &event),
            outbound: Outbound::new(capabilities, egress, usage, &event),
            capabilities: Arc::clone(capabilities),
            event,
            table,
            http,
        }
    }

    /// What `wasi:config/store` answers.
    pub(super) fn config(&self) -> &WasiConfigVariables {
        &self.capabilities.config
    }
}

/// No directory, no socket, no argument; an environment only from configuration.
fn wasi(capabilities: &Arc<Capabilities>, event: &Event) -> WasiCtx {
    let mut builder = WasiCtx::builder();
    builder.max_random_size(capabilities.limits.random_bytes);
    if !capabilities.env.is_empty() {
        builder.envs(&capabilities.env);
    }
    let [stdout, stderr] = GuestStream::pair(capabilities, event);
    builder.stdout(stdout).stderr(stderr);
    builder.build()
}

fn saturating(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outbound, table: &mut self.table, ctx: &mut self.http }
    }
}
