//! What an isolate holds until it is gone.

use std::sync::Arc;

use super::body::Broken;
use super::respond;
use crate::activate::Worker;
use crate::bindings::Usage;
use crate::failure::Failure;
use crate::observe::{InUse, RequestId, TraceId};
use crate::sandbox::Ledger;

/// `P` is its permit.
pub(super) struct Held<P> {
    pub(super) permit: P,
    pub(super) in_use: InUse,
    pub(super) worker: Arc<Worker>,
    pub(super) id: RequestId,
    pub(super) trace: TraceId,
    /// Of the request's body.
    pub(super) broken: Broken,
}

impl<P: Send> Ledger for Held<P> {
    fn close(self: Box<Self>, usage: &Usage, late: Option<&Failure>) {
        let Self { permit: _held, in_use: _counted, worker, id, trace, broken } = *self;
        let metrics = &worker.metrics;
        metrics.used(usage.cpu_time(), usage.peak_memory(), usage.age());
        if let Some(failure) = late.map(|late| broken.cause(late))
            && usage.fail(failure.code())
        {
            respond::tell(failure, &id, trace, Some(&*worker.name));
            metrics.target().failed(failure.code());
        }
        if let Some(met) = usage.met()
            && usage.failure().is_none()
        {
            metrics.limit_reached(met.code());
        }
    }
}
