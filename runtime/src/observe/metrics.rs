//! Counters for Prometheus: what the node does, by target, worker and code.
//!
//! Labels are looked up once, when a target is asked for the first time; a request that goes well then touches only atomics that it
//! holds handles to. A failure is looked up by its code when it is counted. Every label value is a name from the configuration or from a
//! list in our code, so a client or a guest cannot add series.

mod acme;
mod certificates;
mod fleet;
mod labels;
mod loads;
mod process;
mod queues;
mod schedules;
mod services;
mod status;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use super::{SpanLosses, task};
pub use acme::AcmeOrders;
pub use certificates::Certificates;
pub use fleet::FleetMetrics;
use labels::Counters;
pub use labels::{Start, Target};
pub use loads::Loads;
use process::Process;
pub use queues::{Delivered, QueueMetrics};
pub use schedules::ScheduleMetrics;
pub use services::{CallMetrics, Called, ServiceMetrics};

/// Seconds, from what an edge answer takes to what a slow origin takes.
const BUCKETS: [f64; 17] =
    [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// All metrics of a node.
pub struct Metrics {
    registry: Registry,
    requests: Counters<2>,
    failures: Counters<2>,
    durations: HistogramVec,
    in_use: IntGauge,
    waiting: IntGauge,
    starts: [IntCounter; Start::ALL.len()],
    loads: Loads,
    cpu: CounterVec,
    memory: CounterVec,
    log_dropped: Counters<1>,
    went_on: Counters<2>,
    went_on_for: CounterVec,
    limits: Counters<2>,
    connections: IntGauge,
    cuts: Counters<1>,
    certificates: Certificates,
    acme_orders: AcmeOrders,
    queues: QueueMetrics,
    schedules: ScheduleMetrics,
    services: ServiceMetrics,
    access_log_dropped: IntCounter,
    span_losses: SpanLosses,
    tasks: IntGaugeVec,
    task_panics: Counters<1>,
    process: Process,
    targets: Mutex<HashMap<String, Arc<TargetMetrics>>>,
    workers: Mutex<HashMap<String, Arc<WorkerMetrics>>>,
    rendering: Mutex<()>,
}

/// Handles to what is counted for one target. There may be thousands that are never asked, so its series begin with its first answer.
pub struct TargetMetrics {
    name: String,
    requests: Counters<2>,
    failures: Counters<2>,
    durations: HistogramVec,
    /// The statuses that it answers with first. Hardly any target has more.
    by_status: [OnceLock<(usize, IntCounter)>; 4],
    duration: OnceLock<Histogram>,
}

/// Handles to what is counted for one worker, from its first isolate on.
pub struct WorkerMetrics {
    target: Arc<TargetMetrics>,
    cpus: CounterVec,
    memories: CounterVec,
    used: OnceLock<(Counter, Counter)>,
    log_dropped: Counters<1>,
    went_on: Counters<2>,
    went_on_for: CounterVec,
    limits: Counters<2>,
    queues: QueueMetrics,
    services: ServiceMetrics,
}

/// An isolate that exists; dropping it lowers `eyot_isolates_in_use`.
#[derive(Debug)]
#[must_use = "the isolate is counted for as long as this lives"]
pub struct InUse(IntGauge);

impl Metrics {
    /// All metrics, at zero. It fails only if two of the names in this file are the same or one is malformed.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let starts = Counters::register(
            &registry,
            "eyot_isolates_started_total",
            "Isolates, by where they came from.",
            ["start"],
        )?;
        let build = gauges(&registry, "eyot_build_info", "What is running; always 1.", &["version", "wasmtime"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), wasmtime_environ::VERSION]).set(1);
        let went_on_for = Opts::new("eyot_wait_until_seconds_total", "For how long they did.");
        let cpu = Opts::new("eyot_guest_cpu_seconds_total", "CPU time of guests.");
        let memory =
            Opts::new("eyot_guest_gigabyte_seconds_total", "Peak memory of isolates, times how long they lived.");
        let durations =
            HistogramOpts::new("eyot_request_duration_seconds", "From a request's head to its response's end.");
        Ok(Self {
            requests: Counters::register(&registry, "eyot_requests_total", "Requests answered.", ["target", "status"])?,
            failures: Counters::register(
                &registry,
                "eyot_failures_total",
                "Failures, by their code.",
                ["code", "target"],
            )?,
            durations: register(&registry, HistogramVec::new(durations.buckets(BUCKETS.to_vec()), &["target"])?)?,
            in_use: register(&registry, IntGauge::new("eyot_isolates_in_use", "Isolates that have a request.")?)?,
            waiting: register(
                &registry,
                IntGauge::new("eyot_isolates_waiting", "Isolates that are there for requests to come.")?,
            )?,
            starts: Start::ALL.map(|start| starts.of([start.as_str()])),
            loads: Loads::register(&registry)?,
            cpu: register(&registry, CounterVec::new(cpu, &["worker"])?)?,
            memory: register(&registry, CounterVec::new(memory, &["worker"])?)?,
            log_dropped: Counters::register(
                &registry,
                "eyot_guest_log_bytes_dropped_total",
                "Bytes of guest output past the limit.",
                ["worker"],
            )?,
            went_on: Counters::register(
                &registry,
                "eyot_wait_until_total",
                "Invocations that went on when their response was over, by how they ended.",
                ["worker", "outcome"],
            )?,
            went_on_for: register(&registry, CounterVec::new(went_on_for, &["worker"])?)?,
            limits: Counters::register(
                &registry,
                "eyot_limits_reached_total",
                "Limits reached without a failure.",
                ["worker", "code"],
            )?,
            connections: register(&registry, IntGauge::new("eyot_connections", "Client connections that are open.")?)?,
            cuts: Counters::register(
                &registry,
                "eyot_connections_cut_total",
                "Client connections that the node ended, by why.",
                ["reason"],
            )?,
            certificates: Certificates::register(&registry)?,
            acme_orders: AcmeOrders::register(&registry)?,
            queues: QueueMetrics::register(&registry)?,
            schedules: ScheduleMetrics::register(&registry)?,
            services: ServiceMetrics::register(&registry)?,
            access_log_dropped: register(
                &registry,
                IntCounter::new("eyot_access_log_dropped_total", "Lines of the access log that were lost.")?,
            )?,
            span_losses: SpanLosses {
                dropped: register(
                    &registry,
                    IntCounter::new("eyot_spans_dropped_total", "Spans that did not reach the collector.")?,
                )?,
                failed_exports: register(
                    &registry,
                    IntCounter::new(
                        "eyot_span_exports_failed_total",
                        "Batches of spans that the collector did not take.",
                    )?,
                )?,
            },
            tasks: gauges(&registry, "eyot_tasks", "Tasks that exist now.", &["name"])?,
            task_panics: Counters::register(&registry, "eyot_task_panics_total", "Tasks that panicked.", ["name"])?,
            process: Process::register(&registry)?,
            targets: Mutex::default(),
            workers: Mutex::default(),
            rendering: Mutex::default(),
            registry,
        })
    }

    /// Everything in the text format of Prometheus (`text/plain; version=0.0.4`).
    #[must_use]
    pub fn render(&self) -> String {
        let _one_at_a_time = self.rendering.lock().unwrap_or_else(PoisonError::into_inner);
        self.process.update();
        for (name, running) in task::running_tasks() {
            self.tasks.with_label_values(&[name]).set(i64::try_from(running).unwrap_or(i64::MAX));
        }
        for (name, panics) in task::task_panics() {
            let counter = self.task_panics.of([name]);
            counter.inc_by(panics.saturating_sub(counter.get()));
        }
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_else(|error| format!("# not rendered: {error}\n"))
    }

    /// Adds a counter that someone else made, such as the one of `logs::init`.
    pub fn adopt(&self, counter: IntCounter) -> prometheus::Result<()> {
        register(&self.registry, counter).map(drop)
    }

    /// The handles of a worker: asked for when it is activated, kept with it.
    #[must_use]
    pub fn worker(&self, name: &str) -> Arc<WorkerMetrics> {
        let target = self.target(Target::Worker(name));
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            Arc::new(WorkerMetrics {
                target,
                cpus: self.cpu.clone(),
                memories: self.memory.clone(),
                used: OnceLock::new(),
                log_dropped: self.log_dropped.clone(),
                went_on: self.went_on.clone(),
                went_on_for: self.went_on_for.clone(),
                limits: self.limits.clone(),
                queues: self.queues.clone(),
                services: self.services.clone(),
            })
        };
        Arc::clone(workers.entry(name.to_owned()).or_insert_with(make))
    }

    /// The handles of a target: asked for when the route table is built, kept with it.
    #[must_use]
    pub fn target(&self, target: Target<'_>) -> Arc<TargetMetrics> {
        let name = target.label();
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            Arc::new(TargetMetrics {
                name: name.clone(),
                requests: self.requests.clone(),
                failures: self.failures.clone(),
                durations: self.durations.clone(),
                by_status: Default::default(),
                duration: OnceLock::new(),
            })
        };
        Arc::clone(targets.entry(name.clone()).or_insert_with(make))
    }

    /// Counts an isolate as started, and as in use until the guard is dropped.
    pub fn isolate_started(&self, start: Start) -> InUse {
        self.starts[start as usize].inc();
        self.in_use.inc();
        InUse(self.in_use.clone())
    }

    /// How many client connections are open: whoever counts them says so before a scrape.
    pub fn connections(&self, open: usize) {
        self.connections.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// How many isolates wait for a request, likewise.
    pub fn isolates_waiting(&self, waiting: usize) {
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// Counts a connection that was ended for what its client did or did not do.
    pub fn connection_cut(&self, why: &'static str) {
        self.cuts.of([why]).inc();
    }

    /// What is counted where components are loaded.
    #[must_use]
    pub fn loads(&self) -> Loads {
        self.loads.clone()
    }

    /// What is counted of queues.
    #[must_use]
    pub fn queues(&self) -> QueueMetrics {
        self.queues.clone()
    }

    /// What is counted of schedules.
    #[must_use]
    pub fn schedules(&self) -> ScheduleMetrics {
        self.schedules.clone()
    }

    /// What is told of a fleet, by a node that is in one.
    ///
    /// # Errors
    /// When it was asked for before.
    pub fn fleet(&self) -> prometheus::Result<FleetMetrics> {
        FleetMetrics::register(&self.registry)
    }

    /// What is counted of orders of certificates.
    #[must_use]
    pub fn acme_orders(&self) -> AcmeOrders {
        self.acme_orders.clone()
    }

    /// What is told of the certificates of listeners.
    #[must_use]
    pub fn certificates(&self) -> Certificates {
        self.certificates.clone()
    }

    /// The counters of lost spans, for `Tracer::start`.
    #[must_use]
    pub fn span_losses(&self) -> SpanLosses {
        self.span_losses.clone()
    }

    /// The counter of lost lines, for `AccessLogs::start`.
    #[must_use]
    pub fn access_log_dropped(&self) -> IntCounter {
        self.access_log_dropped.clone()
    }
}

impl TargetMetrics {
    /// Counts a request that was answered.
    pub fn finished(&self, status: u16, duration: Duration) {
        let slot = status::slot(status);
        let counter = || self.requests.of([&self.name, &status::label(slot)]);
        let mut first = self.by_status.iter().map(|known| known.get_or_init(|| (slot, counter())));
        match first.find(|(known, _)| *known == slot) {
            Some((_, counter)) => counter.inc(),
            None => counter().inc(),
        }
        let duration_of = || self.durations.with_label_values(&[&self.name]);
        self.duration.get_or_init(duration_of).observe(duration.as_secs_f64());
    }

    /// Counts a failure; `code` is `Failure::code()`.
    pub fn failed(&self, code: &'static str) {
        self.failures.of([code, &self.name]).inc();
    }
}

impl WorkerMetrics {
    /// What is counted for every target.
    #[must_use]
    pub fn target(&self) -> &Arc<TargetMetrics> {
        &self.target
    }

    /// Counts what one isolate used: CPU time, and its peak memory for as long as it was there.
    pub fn used(&self, cpu: Duration, peak_memory: u64, lifetime: Duration) {
        let name = [&*self.target.name];
        let counters = || (self.cpus.with_label_values(&name), self.memories.with_label_values(&name));
        let (used_cpu, used_memory) = self.used.get_or_init(counters);
        used_cpu.inc_by(cpu.as_secs_f64());
        used_memory.inc_by(peak_memory as f64 / 1e9 * lifetime.as_secs_f64());
    }

    /// What is counted of queues.
    #[must_use]
    pub fn queues(&self) -> &QueueMetrics {
        &self.queues
    }

    /// What is counted of calls.
    #[must_use]
    pub fn services(&self) -> &ServiceMetrics {
        &self.services
    }

    /// Counts output of the guest that was dropped.
    pub fn log_dropped(&self, bytes: u64) {
        self.log_dropped.of([&self.target.name]).inc_by(bytes);
    }

    /// Counts an invocation that went on for so long when its response was over.
    pub fn went_on(&self, took: Duration, failed: bool) {
        let name = &*self.target.name;
        self.went_on.of([name, if failed { "failed" } else { "done" }]).inc();
        self.went_on_for.with_label_values(&[name]).inc_by(took.as_secs_f64());
    }

    /// Counts a limit that was reached without ending the invocation; `code` is its code in limits.toml.
    pub fn limit_reached(&self, code: &'static str) {
        self.limits.of([&self.target.name, code]).inc();
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Debug for Metrics {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Debug for TargetMetrics {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("TargetMetrics").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Debug for WorkerMetrics {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerMetrics").field("name", &self.target.name).finish_non_exhaustive()
    }
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
    register(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
