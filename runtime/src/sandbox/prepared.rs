//! A compiled component, linked once: all that can be done before a request comes.

use std::sync::Arc;

use wasmtime::component::{Component, Linker};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use super::ticker::Ticker;
use super::{EngineKind, Engines, Handler, Inspection, lane};
use crate::bindings::{self, Capabilities, Guest};

/// One version of one worker, ready to be instantiated.
pub struct Prepared {
    pub(super) pre: Pre,
    pub(super) engine: wasmtime::Engine,
    pub(super) ticker: Arc<Ticker>,
    pub(super) id: lane::WorkerId,
    /// What its isolates may touch.
    pub capabilities: Arc<Capabilities>,
}

pub(super) enum Pre {
    /// WASI 0.2.
    Proxy(ProxyPre<Guest>),
    /// WASI 0.3.
    Service(ServicePre<Guest>),
}

/// Why a compiled component cannot be linked.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct PrepareError(wasmtime::Error);

impl Prepared {
    /// Links a component with what its capabilities grant.
    ///
    /// # Errors
    /// When it imports what we do not have.
    pub fn new(
        engines: &Engines,
        inspection: &Inspection,
        component: &Component,
        capabilities: Arc<Capabilities>,
    ) -> Result<Self, PrepareError> {
        let engine = engines.engine(inspection.engine);
        let pre = pre(engine, inspection, component).map_err(PrepareError)?;
        let id = capabilities.share.id;
        Ok(Self { pre, engine: engine.clone(), ticker: Arc::clone(engines.ticker()), id, capabilities })
    }

    /// Waits for a turn if guests spin on this core and this worker has had its share of it: a worker is rationed as a whole.
    pub async fn turn(&self) {
        if lane::is_rationed(self.id) {
            lane::turn(self.id).await;
        }
    }
}

fn pre(engine: &wasmtime::Engine, inspection: &Inspection, component: &Component) -> wasmtime::Result<Pre> {
    let mut linker = Linker::new(engine);
    match inspection.engine {
        EngineKind::Plain => bindings::link(&mut linker)?,
        EngineKind::Concurrent => bindings::link_async(&mut linker)?,
    }
    let instance = linker.instantiate_pre(component)?;
    Ok(match inspection.handler {
        Handler::Handler => Pre::Service(ServicePre::new(instance)?),
        Handler::IncomingHandler => Pre::Proxy(ProxyPre::new(instance)?),
    })
}
