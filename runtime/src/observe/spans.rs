//! Spans, exported over OTLP/HTTP when an endpoint is configured.
//!
//! A span is recorded when it is over, with the ids of its [`Trace`], and put into the bounded queue of the SDK's batch
//! processor, whose thread sends it. Without an endpoint there is no [`Tracer`]: nothing is recorded, and what is sent on names the
//! caller's span as its parent.

mod after;
mod call;
mod consumer;
mod server;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SamplingDecision, ShouldSample, SpanData, SpanEvents, SpanLinks,
    SpanProcessor,
};
use prometheus::IntCounter;

pub use after::After;
pub use call::Call;
pub use consumer::{Fired, Processed};

use super::otlp::{Counted, OtlpClient};
use super::{Record, Trace};
use crate::config::Telemetry;

/// Where a collector takes spans (OTLP specification, "OTLP/HTTP Request").
const PATH: &str = "/v1/traces";
/// How many spans wait to be sent (the SDK's default): a few MiB. What comes then is dropped and counted.
const QUEUE: usize = 2048;

/// Why spans cannot be exported. The operator's configuration or the system is at fault.
#[derive(Debug, thiserror::Error)]
pub enum SpanError {
    /// The endpoint or the environment variables of OTLP are not good.
    #[error("the span exporter cannot be made: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The client could not be made.
    #[error("the span exporter's HTTP client cannot be made: {0}")]
    Client(#[from] std::io::Error),
}

/// The way into the exporter; clones share it.
#[derive(Clone, Debug)]
pub struct Tracer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    sampler: Sampler,
    /// How many spans are in the queue. The processor counts for itself, and tells nobody.
    waiting: Arc<AtomicUsize>,
    dropped: IntCounter,
}

/// What is lost on the way to the collector.
#[derive(Clone, Debug)]
pub struct SpanLosses {
    /// Spans that were not delivered.
    pub dropped: IntCounter,
    /// Batches that the collector did not take.
    pub failed_exports: IntCounter,
}

/// What is told of something that took time. Its ids come from a [`Trace`].
#[derive(Clone, Debug)]
pub struct Span {
    /// What it was, with few different values: `GET /cart/*`, not `GET /cart/4711`.
    pub name: Cow<'static, str>,
    /// Which side of a call it was.
    pub kind: SpanKind,
    /// When it began.
    pub start: SystemTime,
    /// When it was over.
    pub end: SystemTime,
    /// What else is known, by OpenTelemetry's semantic conventions. `error.type` says why it failed.
    pub attributes: Vec<KeyValue>,
    /// Whether it failed.
    pub failed: bool,
}

impl Tracer {
    /// Starts the exporter, if an endpoint is configured. `/v1/traces` is added to an endpoint that does not end with it.
    pub fn start(telemetry: &Telemetry, losses: SpanLosses) -> Result<Option<Self>, SpanError> {
        let Some(endpoint) = &telemetry.otlp_endpoint else { return Ok(None) };
        let base = endpoint.as_str().trim_end_matches('/');
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(OtlpClient::new()?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}{PATH}", base.strip_suffix(PATH).unwrap_or(base)))
            .build()?;
        let resource = Resource::builder()
            .with_service_name(telemetry.service_name.clone().unwrap_or_else(|| "eyot".to_owned()))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let waiting = Arc::new(AtomicUsize::new(0));
        let dropped = losses.dropped.clone();
        let mut processor = BatchSpanProcessor::builder(Counted::new(exporter, Arc::clone(&waiting), losses))
            .with_batch_config(BatchConfigBuilder::default().with_max_queue_size(QUEUE).build())
            .build();
        processor.set_resource(&resource);
        let scope = InstrumentationScope::builder("eyot").with_version(env!("CARGO_PKG_VERSION")).build();
        let sampler = Sampler::TraceIdRatioBased(telemetry.sample.unwrap_or(1.0));
        Ok(Some(Self(Arc::new(Inner { processor, scope, sampler, waiting, dropped }))))
    }

    /// The span of a request with these headers. Whether it is recorded is the caller's decision, where it has sent one.
    #[must_use]
    pub fn trace(tracer: Option<&Self>, headers: &HeaderMap) -> Trace {
        let trace = Trace::from_headers(headers);
        match tracer {
            None => trace.unrecorded(),
            Some(_) if trace.parent().is_some() => trace,
            Some(tracer) => {
                let sampled = tracer.0.sampler.should_sample(None, trace.id(), "", &SpanKind::Server, &[], &[]);
                trace.sampled(sampled.decision == SamplingDecision::RecordAndSample)
            }
        }
    }

    /// The span of a worker that another calls with this context: who called has decided.
    #[must_use]
    pub fn called(tracer: Option<&Self>, by: &Trace) -> Trace {
        let trace = by.received();
        if tracer.is_some() { trace } else { trace.unrecorded() }
    }

    /// Records a span that is over, if its trace is sampled. Never waits: with a full queue the span is dropped and counted.
    pub fn record(&self, trace: &Trace, span: Span) {
        if !trace.is_sampled() {
            return;
        }
        let Inner { processor, waiting, dropped, .. } = &*self.0;
        if waiting.fetch_add(1, Relaxed) < QUEUE {
            processor.on_end(self.data(trace, span));
        } else {
            waiting.fetch_sub(1, Relaxed);
            dropped.inc();
        }
    }

    /// Records the span of a request that we answered, from its line in the access log.
    pub fn request(&self, trace: &Trace, record: &Record<'_>) {
        if trace.is_sampled() {
            self.record(trace, Span::server(record));
        }
    }

    /// Sends what is left and ends the exporter. Says whether that was done in time.
    pub fn shutdown(&self, wait: Duration) -> bool {
        self.0.processor.shutdown_with_timeout(wait).is_ok()
    }

    fn data(&self, trace: &Trace, span: Span) -> SpanData {
        let state = trace.state().and_then(|state| state.parse().ok()).unwrap_or(TraceState::NONE);
        let flags = TraceFlags::new(trace.flags());
        SpanData {
            span_context: SpanContext::new(trace.id(), trace.span(), flags, false, state),
            parent_span_id: trace.parent().unwrap_or(SpanId::INVALID),
            parent_span_is_remote: trace.has_remote_parent(),
            span_kind: span.kind,
            name: span.name,
            start_time: span.start,
            end_time: span.end,
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            // No description: the status code or `error.type` says it already (semantic conventions, "HTTP spans", Status).
            status: if span.failed { Status::error("") } else { Status::Unset },
            instrumentation_scope: self.0.scope.clone(),
        }
    }
}

fn text(text: &str) -> opentelemetry::Value {
    text.to_owned().into()
}

fn number(number: u64) -> opentelemetry::Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

/// A client may send any method; only the known ones become values of `http.request.method`. Else the original follows.
fn known_method(method: &str) -> (&'static str, Option<&str>) {
    const KNOWN: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];
    match KNOWN.iter().find(|known| **known == method) {
        Some(known) => (known, None),
        None => ("_OTHER", Some(method)),
    }
}
