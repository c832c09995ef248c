//! Spans, exported over OTLP/HTTP when an endpoint is configured.
//!
//! A span is recorded when it is over, with the ids of its [`Trace`], and put into the bounded queue of the SDK's batch
//! processor, whose thread sends it. Without an endpoint there is no [`Tracer`], and nothing happens for a request.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor};

use super::otlp::OtlpClient;
use super::{Record, Trace};
use crate::config::Telemetry;

/// Where a collector takes spans (OTLP specification, "OTLP/HTTP Request").
const PATH: &str = "/v1/traces";

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
pub struct Tracer {
    processor: Arc<BatchSpanProcessor>,
    scope: InstrumentationScope,
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
    /// What else is known, by OpenTelemetry's semantic conventions.
    pub attributes: Vec<KeyValue>,
    /// Why it failed, if it did.
    pub error: Option<Cow<'static, str>>,
}

impl Tracer {
    /// Starts the exporter, if an endpoint is configured. `/v1/traces` is added to an endpoint that does not end with it.
    pub fn start(telemetry: &Telemetry) -> Result<Option<Self>, SpanError> {
        let Some(endpoint) = &telemetry.otlp_endpoint else { return Ok(None) };
        let base = endpoint.as_str().trim_end_matches('/');
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(OtlpClient::new()?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}{PATH}", base.strip_suffix(PATH).unwrap_or(base)))
            .build()?;
        let resource = Resource::builder()
            .with_service_name(telemetry.service_name.clone().unwrap_or_else(|| "eyot".to_owned()))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        processor.set_resource(&resource);
        let scope = InstrumentationScope::builder("eyot").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Some(Self { processor: Arc::new(processor), scope }))
    }

    /// Records a span that is over, if its trace is sampled. Never waits; a full queue drops it, and the exporter says so.
    #[allow(dead_code, reason = "until subrequests have spans")]
    pub fn record(&self, trace: &Trace, span: Span) {
        if trace.is_sampled() {
            self.processor.on_end(self.data(trace, span));
        }
    }

    /// Records the span of a request that we answered, from its line in the access log.
    pub fn request(&self, trace: &Trace, record: &Record<'_>) {
        if trace.is_sampled() {
            self.processor.on_end(self.data(trace, Span::server(record)));
        }
    }

    /// Sends what is left and ends the exporter. Says whether that was done in time.
    pub fn shutdown(&self, wait: Duration) -> bool {
        self.processor.shutdown_with_timeout(wait).is_ok()
    }

    fn data(&self, trace: &Trace, span: Span) -> SpanData {
        let state = trace.state().and_then(|state| state.parse().ok()).unwrap_or(TraceState::NONE);
        let flags = TraceFlags::new(trace.flags());
        let (id, own) = (TraceId::from_bytes(trace.id().to_bytes()), SpanId::from_bytes(trace.span().to_bytes()));
        let status = match span.error {
            Some(error) => Status::error(error),
            None => Status::Unset,
        };
        SpanData {
            span_context: SpanContext::new(id, own, flags, false, state),
            parent_span_id: trace.parent().map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.to_bytes())),
            parent_span_is_remote: trace.has_remote_parent(),
            span_kind: span.kind,
            name: span.name,
            start_time: span.start,
            end_time: span.end,
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

impl Span {
    /// The span of a request that we answered (semantic conventions, "HTTP server").
    #[must_use]
    pub fn server(record: &Record<'_>) -> Self {
        let (method, original) = known_method(record.method);
        let verb = if original.is_some() { "HTTP" } else { method };
        let name = match record.route {
            Some(route) => Cow::Owned(format!("{verb} {route}")),
            None => Cow::Borrowed(verb),
        };
        let start = SystemTime::try_from(record.time).unwrap_or(SystemTime::UNIX_EPOCH);
        // Of a server, what the client did wrong is no error.
        let failed = record.status >= 500;
        let error = failed.then(|| record.failure.map_or_else(|| record.status.to_string().into(), Cow::Borrowed));
        let mut attributes = Vec::with_capacity(20);
        let mut add = |key: &'static str, value: opentelemetry::Value| attributes.push(KeyValue::new(key, value));
        add("http.request.method", method.into());
        add("url.path", text(record.path));
        add("url.scheme", text(record.scheme));
        add("server.address", text(record.host));
        add("client.address", record.client.to_string().into());
        add("http.response.status_code", i64::from(record.status).into());
        add("http.request.body.size", number(record.bytes_in));
        add("http.response.body.size", number(record.bytes_out));
        add("eyot.request_id", text(record.request_id.as_str()));
        let mut maybe = |key, value: Option<opentelemetry::Value>| {
            if let Some(value) = value {
                add(key, value);
            }
        };
        maybe("http.request.method_original", original.map(text));
        maybe("http.route", record.route.map(text));
        maybe("error.type", error.clone().map(|error| error.into_owned().into()));
        maybe("eyot.failure", record.failure.map(opentelemetry::Value::from));
        maybe("eyot.worker", record.worker.map(text));
        maybe("eyot.version", record.version.map(text));
        maybe("eyot.start", record.start.map(|start| start.as_str().into()));
        maybe("eyot.cpu_us", record.cpu.map(|cpu| number(u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX))));
        maybe("eyot.peak_memory_bytes", record.peak_memory.map(number));
        Self { name, kind: SpanKind::Server, start, end: start + record.duration, attributes, error }
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

#[cfg(test)]
mod tests;
