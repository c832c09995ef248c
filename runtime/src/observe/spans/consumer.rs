//! The spans of what no client waits for: messages that a worker has worked off, and what it does at times.

use std::borrow::Cow;
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;

use super::{Span, Tracer, number, text};
use crate::observe::Trace;
use crate::observe::trace::TRACEPARENT;

/// Messages that were delivered together, and what came of it (semantic conventions, "Messaging spans").
#[derive(Clone, Debug)]
pub struct Processed<'a> {
    /// The worker that works them off.
    pub worker: &'a str,
    /// Its version.
    pub version: &'a str,
    /// How it calls the queue.
    pub queue: &'a str,
    /// So many messages.
    pub messages: usize,
    /// The message, if it was one.
    pub id: Option<String>,
    /// When the invocation began.
    pub start: SystemTime,
    /// The code of its failure, or what the guest's own error is called.
    pub failure: Option<&'static str>,
}

/// What a worker has done because a schedule was due.
#[derive(Clone, Debug)]
pub struct Fired<'a> {
    /// The worker.
    pub worker: &'a str,
    /// How it calls the schedule.
    pub schedule: &'a str,
    /// When it began.
    pub start: SystemTime,
    /// The code of its failure.
    pub failure: Option<&'static str>,
}

impl Tracer {
    /// Records it.
    pub fn fired(&self, trace: &Trace, fired: &Fired<'_>) {
        let Fired { worker, schedule, start, failure } = fired;
        let mut attributes =
            vec![KeyValue::new("eyot.worker", text(worker)), KeyValue::new("eyot.schedule", text(schedule))];
        attributes.extend(failure.map(|failure| KeyValue::new("error.type", failure)));
        let (name, end) = (Cow::Owned(format!("scheduled {schedule}")), SystemTime::now());
        let kind = SpanKind::Internal;
        self.record(trace, Span { name, kind, start: *start, end, attributes, failed: failure.is_some() });
    }

    /// The span of messages that were sent in these traces: within theirs, if they have one in common, else at the root of one.
    #[must_use]
    pub fn trace_of_messages<'a>(tracer: Option<&Self>, sent_in: impl IntoIterator<Item = Option<&'a str>>) -> Trace {
        let mut sent_in = sent_in.into_iter();
        let first = sent_in.next().flatten();
        let mut headers = HeaderMap::new();
        if let Some(context) = first.filter(|first| sent_in.all(|other| other == Some(*first)))
            && let Ok(context) = HeaderValue::from_str(context)
        {
            headers.insert(TRACEPARENT.clone(), context);
        }
        Self::trace(tracer, &headers)
    }

    /// Records it.
    pub fn processed(&self, trace: &Trace, processed: &Processed<'_>) {
        if trace.is_sampled() {
            self.record(trace, Span::consumer(processed));
        }
    }
}

impl Span {
    fn consumer(processed: &Processed<'_>) -> Self {
        let Processed { worker, version, queue, messages, id, start, failure } = processed;
        let mut attributes = vec![
            KeyValue::new("messaging.system", "eyot"),
            KeyValue::new("messaging.operation.name", "process"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", text(&format!("{worker}/{queue}"))),
            KeyValue::new("messaging.batch.message_count", number(*messages as u64)),
            KeyValue::new("eyot.worker", text(worker)),
            KeyValue::new("eyot.version", text(version)),
        ];
        attributes.extend(id.as_deref().map(|id| KeyValue::new("messaging.message.id", text(id))));
        attributes.extend(failure.map(|failure| KeyValue::new("error.type", failure)));
        Self {
            name: Cow::Owned(format!("process {queue}")),
            kind: SpanKind::Consumer,
            start: *start,
            end: SystemTime::now(),
            attributes,
            failed: failure.is_some(),
        }
    }
}
