//! What an isolate holds until it is gone.

use std::sync::Arc;

use super::body::Broken;
use super::respond;
use crate::activate::Worker;
use crate::bindings::Usage;
use crate::failure::Failure;
use crate::observe::{After, InUse, RequestId, Trace, TraceId, Tracer};
use crate::sandbox::Ledger;

/// `P` is its permit.
pub(super) struct Held<P> {
    pub(super) permit: P,
    pub(super) in_use: InUse,
    pub(super) worker: Arc<Worker>,
    pub(super) id: RequestId,
    pub(super) trace: TraceId,
    /// Where a span is recorded, if its trace is: of work after the response.
    pub(super) spans: Option<Box<(Tracer, Trace)>>,
    /// Of the request's body.
    pub(super) broken: Broken,
}

impl<P: Send> Ledger for Held<P> {
    fn close(self: Box<Self>, usage: &Usage, late: Option<&Failure>) {
        let Self { permit: _held, in_use: _counted, worker, id, trace, spans, broken } = *self;
        let metrics = &worker.metrics;
        metrics.used(usage.cpu_time(), usage.peak_memory(), usage.age());
        if let Some(failure) = late.map(|late| broken.cause(late))
            && usage.fail(failure.code())
        {
            respond::tell(failure, &id, trace, Some(&*worker.name));
            metrics.target().failed(failure.code());
        }
        if let Some(took) = usage.went_on() {
            metrics.went_on(took, late.is_some());
            if let Some((tracer, request)) = spans.as_deref() {
                let (worker, version, failure) = (&*worker.name, &*worker.version, late.map(Failure::code));
                tracer.went_on(request, &After { worker, version, took, failure });
            }
        }
        if let Some(met) = usage.met()
            && usage.failure().is_none()
        {
            metrics.limit_reached(met.code());
        }
    }
}
