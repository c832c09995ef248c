//! The span of what a worker does when its response is over.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;

use super::{Span, Tracer, text};
use crate::observe::Trace;

/// Work after a response that is over just now.
#[derive(Clone, Debug)]
pub struct After<'a> {
    /// The worker.
    pub worker: &'a str,
    /// Its version.
    pub version: &'a str,
    /// How long it took.
    pub took: Duration,
    /// The code of its failure.
    pub failure: Option<&'static str>,
}

impl Tracer {
    /// Records it, below the span of its request.
    pub fn went_on(&self, request: &Trace, after: &After<'_>) {
        let After { worker, version, took, failure } = after;
        let mut attributes =
            vec![KeyValue::new("eyot.worker", text(worker)), KeyValue::new("eyot.version", text(version))];
        attributes.extend(failure.map(|failure| KeyValue::new("error.type", failure)));
        let (end, name) = (SystemTime::now(), Cow::Borrowed("wait_until"));
        let span =
            Span { name, kind: SpanKind::Internal, start: end - *took, end, attributes, failed: failure.is_some() };
        self.record(&request.child(), span);
    }
}
