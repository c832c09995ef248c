//! The span of a request that we answered.

use std::borrow::Cow;
use std::time::SystemTime;

use http::Version;
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;

use super::{Span, known_method, number, text};
use crate::observe::Record;

impl Span {
    /// The span of a request that we answered (semantic conventions, "HTTP server").
    #[must_use]
    pub fn server(record: &Record<'_>) -> Self {
        let (method, original) = known_method(record.method);
        let verb = if original.is_some() { "HTTP" } else { method };
        // Of the route as it is configured, the path: the host is `server.address`.
        let route = record.route.and_then(|route| route.find('/').map(|at| &route[at..]));
        let name = match route {
            Some(route) => Cow::Owned(format!("{verb} {route}")),
            None => Cow::Borrowed(verb),
        };
        let start = SystemTime::try_from(record.time).unwrap_or(SystemTime::UNIX_EPOCH);
        // Of a server, what the client did wrong is no error.
        let failed = record.status >= 500;
        let error = failed.then(|| record.failure.map_or_else(|| record.status.to_string(), str::to_owned));
        let mut attributes = Vec::with_capacity(24);
        let mut add = |key: &'static str, value: opentelemetry::Value| attributes.push(KeyValue::new(key, value));
        add("http.request.method", method.into());
        add("url.path", text(record.path));
        add("url.scheme", text(record.scheme));
        add("server.address", text(record.host));
        add("server.port", i64::from(record.port).into());
        add("network.protocol.version", version(record.protocol).into());
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
        maybe("http.route", route.map(text));
        maybe("error.type", error.map(opentelemetry::Value::from));
        maybe("eyot.failure", record.failure.map(opentelemetry::Value::from));
        maybe("eyot.worker", record.worker.map(text));
        maybe("eyot.version", record.version.map(text));
        maybe("eyot.caller", record.caller.map(text));
        maybe("eyot.start", record.start.map(|start| start.as_str().into()));
        maybe("eyot.cpu_us", record.cpu.map(|cpu| number(u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX))));
        maybe("eyot.peak_memory_bytes", record.peak_memory.map(number));
        Self { name, kind: SpanKind::Server, start, end: start + record.duration, attributes, failed }
    }
}

/// `network.protocol.version`, as ALPN and HTTP write it.
fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        _ => "3",
    }
}
