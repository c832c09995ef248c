//! A compiled component, linked once: all that can be done before a request comes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use wasmtime::component::types::{self, ComponentFunc, ComponentItem};
use wasmtime::component::{Component, InstancePre, Linker, Resource};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};
use wasmtime_wasi_http::p3;
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;

use super::{Engines, Handler, Inspection, lane, sweep};
use crate::bindings::{Capabilities, ConsumerPre, Delivered, Guest, ScheduledPre};

/// One version of one worker, ready to be instantiated.
pub struct Prepared {
    pub(super) pre: Arc<Pre>,
    pub(super) engine: wasmtime::Engine,
    pub(super) id: lane::WorkerId,
    /// When it was asked last, in milliseconds since this process first asked.
    asked: AtomicU64,
    /// No isolate is made ahead before this, in the same time: the last one did not start at once.
    not_ahead_before: AtomicU64,
    /// What its isolates may touch.
    pub capabilities: Arc<Capabilities>,
}

/// A version that is asked more seldom gets no isolate made ahead.
const OFTEN: Duration = Duration::from_secs(1);

/// After a start that waited, failed or took long, the next isolates start with their requests for so long.
const RETRY: Duration = Duration::from_secs(5);

fn millis(now: Instant) -> u64 {
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    now.saturating_duration_since(*FIRST).as_millis() as u64
}

/// What a version can be asked; one of them at least.
#[derive(Default)]
pub(super) struct Pre {
    /// A request.
    pub(super) http: Option<HttpPre>,
    /// To work off messages of a queue.
    pub(super) queue: Option<ConsumerPre<Guest>>,
    /// What a schedule says.
    pub(super) scheduled: Option<ScheduledPre<Guest>>,
}

impl Pre {
    /// Whether it can be asked what this handler is for.
    fn has(&self, handler: Handler) -> bool {
        match handler {
            Handler::Http02 | Handler::Http03 => self.http.is_some(),
            Handler::Queue => self.queue.is_some(),
            Handler::Scheduled => self.scheduled.is_some(),
        }
    }
}

pub(super) enum HttpPre {
    /// WASI 0.2.
    Proxy(ProxyPre<Guest>),
    /// WASI 0.3.
    Service(ServicePre<Guest>),
}

/// Why a compiled component cannot be run. All but the first are the author's to solve.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// There is no engine to run it.
    #[error("no engine can be made for the component: {0:#}")]
    Engine(wasmtime::Error),
    /// It imports what we do not have.
    #[error("the component cannot be linked: {0:#}")]
    Import(wasmtime::Error),
    /// Its eyot.toml has routes, and nothing answers.
    #[error(
        "the worker has routes, and the component exports neither wasi:http/incoming-handler@0.2 nor wasi:http/handler@0.3"
    )]
    NoHttpHandler,
    /// Its eyot.toml has queues, and nothing works them off.
    #[error("the worker has [[queue]], and the component does not export eyot:worker/queue-handler@0.1")]
    NoQueueHandler,
    /// Its eyot.toml has schedules, and nothing does what they say.
    #[error("the worker has [[schedule]], and the component does not export eyot:worker/scheduled-handler@0.1")]
    NoScheduledHandler,
    /// What it exports under the name of a handler is something else.
    #[error("the component's export {export} is not a handler: {why:#}")]
    Export {
        /// With its version.
        export: String,
        /// What the check of its type said.
        why: wasmtime::Error,
    },
}

impl PrepareError {
    /// What to do.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::Engine(_) => "lower node_concurrency, or raise the limit on address space (ulimit -v)",
            Self::Import(_) => "remove the import, or build with a toolchain that targets wasi:http",
            Self::NoHttpHandler => "export an HTTP handler, for example with eyot-sdk's `serve!`, or remove [[route]]",
            Self::NoQueueHandler => "export the handler, for example with eyot-sdk's `consume!`, or remove [[queue]]",
            Self::NoScheduledHandler => {
                "export the handler, for example with eyot-sdk's `schedule!`, or remove [[schedule]]"
            }
            Self::Export { .. } => {
                "export the function `handle` as its interface has it: build with a toolchain that targets that one"
            }
        }
    }
}

impl Prepared {
    /// Links a component with what its capabilities grant.
    ///
    /// # Errors
    /// When it imports what we do not have, or has no handler of the right type.
    pub fn new(
        engines: &Engines,
        inspection: &Inspection,
        component: &Component,
        capabilities: Arc<Capabilities>,
    ) -> Result<Self, PrepareError> {
        fits(inspection, &capabilities)?;
        let made = engines.made(inspection.engine).map_err(PrepareError::Engine)?;
        let pre = pre(&made.linker, inspection, component)?;
        let id = capabilities.share.id;
        Ok(Self {
            pre: Arc::new(pre),
            engine: made.engine.clone(),
            id,
            asked: AtomicU64::new(u64::MAX),
            not_ahead_before: AtomicU64::new(0),
            capabilities,
        })
    }

    /// It is asked now. Whether it is asked so often that an isolate made ahead would not wait in vain, and can have one.
    pub(super) fn is_asked_often(&self, now: Instant) -> bool {
        let now = millis(now);
        let before = self.asked.load(Relaxed);
        if before != now {
            self.asked.store(now, Relaxed);
        }
        let is_often = now.saturating_sub(before) <= OFTEN.as_millis() as u64 && before != u64::MAX;
        let has_place = self.capabilities.reuse.is_none() && self.capabilities.share.node.waiting > 0;
        is_often && has_place && now >= self.not_ahead_before.load(Relaxed)
    }

    /// An isolate is about to be made ahead. Unless it is ready at once, the next one is not tried soon.
    pub(super) fn tries_ahead(&self, now: Instant) {
        self.not_ahead_before.store(millis(now + RETRY), Relaxed);
    }

    /// It was ready at once.
    pub(super) fn is_quick(&self) {
        self.not_ahead_before.store(0, Relaxed);
    }

    /// Its guest failed before its answer, after so much time: the answer waits for a turn, as that of [`refused`] does.
    pub(super) async fn failed(&self, time: Duration) {
        lane::charge_failed(self.id, time);
        if lane::is_crowded(self.id) {
            turn_to_answer(&self.capabilities).await;
        }
    }
}

/// Whether a component exports what its worker's configuration needs.
///
/// # Errors
/// It does not.
pub fn fits(inspection: &Inspection, capabilities: &Capabilities) -> Result<(), PrepareError> {
    let exports = |wanted: &[Handler]| inspection.handlers.iter().any(|(handler, _)| wanted.contains(handler));
    match () {
        () if capabilities.works_off && !exports(&[Handler::Queue]) => Err(PrepareError::NoQueueHandler),
        () if capabilities.has_schedules && !exports(&[Handler::Scheduled]) => Err(PrepareError::NoScheduledHandler),
        () if capabilities.is_asked && !exports(&[Handler::Http02, Handler::Http03]) => {
            Err(PrepareError::NoHttpHandler)
        }
        () => Ok(()),
    }
}

/// Waits for a turn if guests spin on this core and this worker has had its share of it: a worker is rationed as a whole. Then the
/// places of the last isolate are free: the next one takes them while they are in the caches, and before its own time begins.
pub async fn turn(capabilities: &Capabilities) {
    let id = capabilities.share.id;
    if lane::is_rationed(id) {
        lane::turn(id).await;
    }
    sweep::clear_what_waits();
}

/// A request was refused before its guest began. Its answer waits for a turn likewise: else whoever asks again and again would
/// take more of the core by being refused than by being served.
pub async fn refused(capabilities: &Capabilities) {
    let id = capabilities.share.id;
    lane::charge_failed(id, Duration::ZERO);
    if lane::has_had_its_share(id) {
        turn_to_answer(capabilities).await;
    }
}

/// An answer that is no work of a guest waits no longer than a request may wait to be served.
async fn turn_to_answer(capabilities: &Capabilities) {
    let _late = tokio::time::timeout(capabilities.limits.queue_wait, lane::turn(capabilities.share.id)).await;
}

fn pre(linker: &Linker<Guest>, inspection: &Inspection, component: &Component) -> Result<Pre, PrepareError> {
    let instance = linker.instantiate_pre(component).map_err(PrepareError::Import)?;
    let (mut pre, mut first) = (Pre::default(), None);
    for (handler, export) in &inspection.handlers {
        // As wasmtime serve does: what cannot be used of the newer interface gives way to the older, and that to nothing.
        if pre.has(*handler) {
            continue;
        }
        match add(&mut pre, *handler, export, linker, component, instance.clone()) {
            Ok(()) => {}
            Err(why) => _ = first.get_or_insert(PrepareError::Export { export: export.clone(), why }),
        }
    }
    match inspection.handlers.iter().all(|(handler, _)| pre.has(*handler)) {
        true => Ok(pre),
        false => Err(first.unwrap_or_else(|| PrepareError::Import(wasmtime::Error::msg("it exports no handler")))),
    }
}

/// Instantiation would find a wrong type too, but not before the first request.
fn add(
    pre: &mut Pre,
    handler: Handler,
    export: &str,
    linker: &Linker<Guest>,
    component: &Component,
    instance: InstancePre<Guest>,
) -> wasmtime::Result<()> {
    let types = linker.substituted_component_type(component)?;
    let function = handle(&types, component.engine(), export)?;
    match handler {
        Handler::Http03 => {
            function.typecheck::<(Resource<p3::Request>,), (Result<Resource<p3::Response>, ErrorCode>,)>(
                &types.instance_type(),
            )?;
            pre.http = Some(HttpPre::Service(ServicePre::new(instance)?));
        }
        Handler::Http02 => {
            function.typecheck::<(Resource<HostIncomingRequest>, Resource<HostResponseOutparam>), ()>(
                &types.instance_type(),
            )?;
            pre.http = Some(HttpPre::Proxy(ProxyPre::new(instance)?));
        }
        Handler::Queue => {
            function.typecheck::<(String, Vec<Resource<Delivered>>), (Result<(), String>,)>(&types.instance_type())?;
            pre.queue = Some(ConsumerPre::new(instance)?);
        }
        Handler::Scheduled => {
            function.typecheck::<(String, u64), (Result<(), String>,)>(&types.instance_type())?;
            pre.scheduled = Some(ScheduledPre::new(instance)?);
        }
    }
    Ok(())
}

/// The function `handle` of an exported interface.
fn handle(types: &types::Component, engine: &wasmtime::Engine, export: &str) -> wasmtime::Result<ComponentFunc> {
    let exported = types.get_export(engine, export).map(|found| found.ty);
    let Some(ComponentItem::ComponentInstance(interface)) = exported else {
        return Err(wasmtime::Error::msg("it is not an interface"));
    };
    match interface.get_export(engine, "handle").map(|found| found.ty) {
        Some(ComponentItem::ComponentFunc(function)) => Ok(function),
        _ => Err(wasmtime::Error::msg("it has no function `handle`")),
    }
}
