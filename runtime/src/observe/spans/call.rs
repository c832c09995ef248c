//! A request that we send: the client's side of a call to an origin.

use std::borrow::Cow;
use std::time::{Instant, SystemTime};

use http::{Method, Uri};
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;

use super::{Span, Tracer, known_method, text};
use crate::observe::Trace;

/// A call that is under way, from its sending to the head of its answer. Its span is recorded when this is dropped: a call that
/// nobody waits for any longer is recorded too.
#[derive(Debug)]
#[must_use = "the call is over when this is dropped"]
pub struct Call(Option<Recording>);

#[derive(Debug)]
struct Recording {
    tracer: Tracer,
    trace: Trace,
    method: Method,
    /// Without query, which may hold secrets, and user information.
    url: Option<String>,
    start: SystemTime,
    began: Instant,
    /// The answer's status, or the code of the failure.
    outcome: Result<u16, &'static str>,
}

impl Call {
    /// Begins a call below a span, with the context that the callee is told. Where the trace is not recorded, the callee becomes a
    /// child of the span above, and nothing else is done.
    pub fn begin(
        tracer: Option<&Tracer>,
        parent: &Trace,
        method: &Method,
        url: impl FnOnce() -> Option<String>,
    ) -> (Self, Trace) {
        let Some(tracer) = tracer.filter(|_| parent.is_sampled()) else {
            return (Self(None), parent.clone());
        };
        let trace = parent.child();
        let recording = Recording {
            tracer: tracer.clone(),
            trace: trace.clone(),
            method: method.clone(),
            url: url(),
            start: SystemTime::now(),
            began: Instant::now(),
            outcome: Err("cancelled"),
        };
        (Self(Some(recording)), trace)
    }

    /// It is over: with the status of the answer, or the code of the failure.
    pub fn ended(mut self, outcome: Result<u16, &'static str>) {
        if let Some(recording) = &mut self.0 {
            recording.outcome = outcome;
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(recording) = self.0.take() {
            recording.tracer.record(&recording.trace, recording.span());
        }
    }
}

impl Recording {
    /// By the semantic conventions, "HTTP client".
    fn span(&self) -> Span {
        let (method, original) = known_method(self.method.as_str());
        let mut attributes = Vec::with_capacity(8);
        let mut add = |key: &'static str, value: opentelemetry::Value| attributes.push(KeyValue::new(key, value));
        add("http.request.method", method.into());
        if let Some(original) = original {
            add("http.request.method_original", text(original));
        }
        if let Some(url) = &self.url {
            add("url.full", text(url));
        }
        if let Some(uri) = self.url.as_ref().and_then(|url| url.parse::<Uri>().ok()) {
            let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
            add("server.address", text(uri.host().unwrap_or_default()));
            add("server.port", i64::from(uri.port_u16().unwrap_or(default)).into());
        }
        // Of a client's call, what the client did wrong is an error too.
        let error = match self.outcome {
            Ok(status) => {
                add("http.response.status_code", i64::from(status).into());
                (status >= 400).then(|| status.to_string())
            }
            Err(code) => Some(code.to_owned()),
        };
        let failed = error.is_some();
        if let Some(error) = error {
            add("error.type", error.into());
        }
        let name = Cow::Borrowed(if original.is_some() { "HTTP" } else { method });
        let end = self.start + self.began.elapsed();
        Span { name, kind: SpanKind::Client, start: self.start, end, attributes, failed }
    }
}
