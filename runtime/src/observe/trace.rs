//! W3C trace context (<https://www.w3.org/TR/trace-context-2/>): which trace a request belongs to, in and out.
//!
//! It costs a parse and a random number; whether spans are also exported is `spans.rs`' affair.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
pub use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

/// The header with the ids of the trace and of the caller's span, and the flags.
pub static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header with what other tracing systems want carried along.
pub static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

const SAMPLED: u8 = 0b01;
/// Level 2: the right half of the trace id is random, so that others may sample by it.
const RANDOM: u8 = 0b10;
/// At least this much of tracestate must be carried (§3.3.1.5); we carry no more.
const MAX_STATE: usize = 512;
const MAX_STATE_MEMBERS: usize = 32;

/// The span of one request, and the trace that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    id: TraceId,
    span: SpanId,
    parent: Option<SpanId>,
    remote_parent: bool,
    flags: u8,
    state: Option<HeaderValue>,
}

impl Trace {
    /// A trace that starts here. It is sampled, as it would be by the next service if we had sent nothing.
    #[must_use]
    pub fn root() -> Self {
        let ids = RandomIdGenerator::default();
        let (id, span) = (ids.new_trace_id(), ids.new_span_id());
        Self { id, span, parent: None, remote_parent: false, flags: SAMPLED | RANDOM, state: None }
    }

    /// Joins the caller's trace, or starts a new one where it sent no context, a bad one, or more than one.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let mut sent = headers.get_all(&TRACEPARENT).iter();
        let parent = match (sent.next(), sent.next()) {
            (Some(one), None) => Parent::parse(one.as_bytes()),
            _ => None,
        };
        // Without a good traceparent, tracestate must not be looked at (§4.3).
        let Some(parent) = parent else { return Self::root() };
        Self {
            id: parent.trace,
            span: RandomIdGenerator::default().new_span_id(),
            parent: Some(parent.span),
            remote_parent: true,
            // Flags that we do not know must be set to zero (§3.2.2.5.3).
            flags: parent.flags & (SAMPLED | RANDOM),
            state: state(headers),
        }
    }

    /// A span below this one, to be recorded.
    #[must_use]
    pub fn child(&self) -> Self {
        let span = RandomIdGenerator::default().new_span_id();
        Self { span, parent: Some(self.span), remote_parent: false, ..self.clone() }
    }

    /// The span of whoever is asked with this context, as if it had come in the fields of a request.
    #[must_use]
    pub fn received(&self) -> Self {
        Self { remote_parent: true, ..self.child() }
    }

    /// The same trace where nobody will record this span: what is sent on names the caller's, so that the trace has no hole.
    #[must_use]
    pub fn unrecorded(mut self) -> Self {
        self.span = self.parent.unwrap_or(self.span);
        self
    }

    /// The same trace with our own decision whether spans are recorded, where no caller has decided.
    #[must_use]
    pub fn sampled(mut self, sampled: bool) -> Self {
        self.flags = if sampled { self.flags | SAMPLED } else { self.flags & !SAMPLED };
        self
    }

    /// Writes the context into the headers of a request that we send, in place of any that stood there.
    pub fn inject(&self, headers: &mut HeaderMap) {
        headers.insert(TRACEPARENT.clone(), self.traceparent());
        match &self.state {
            Some(state) => drop(headers.insert(TRACESTATE.clone(), state.clone())),
            None => drop(headers.remove(&TRACESTATE)),
        }
    }

    /// The context as it is kept beside a message: its `traceparent`.
    #[must_use]
    pub fn text(&self) -> String {
        self.traceparent().to_str().unwrap_or_default().to_owned()
    }

    /// `00-TRACE-SPAN-FLAGS` (§3.2.2), written in place: formatting is dear, and each request has one.
    fn traceparent(&self) -> HeaderValue {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let parts: [(&[u8], _); 3] =
            [(&self.id.to_bytes(), 3..35), (&self.span.to_bytes(), 36..52), (&[self.flags], 53..55)];
        for (bytes, place) in parts {
            // Two digits for each byte: each place has the right length.
            let _ = hex::encode_to_slice(bytes, &mut text[place]);
        }
        // Hexadecimal digits and dashes are always good in a header.
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(""))
    }

    /// The trace that this span is in.
    #[must_use]
    pub fn id(&self) -> TraceId {
        self.id
    }

    /// This span.
    #[must_use]
    pub fn span(&self) -> SpanId {
        self.span
    }

    /// The span above it, if it is not the root.
    #[must_use]
    pub fn parent(&self) -> Option<SpanId> {
        self.parent
    }

    /// Whether the span above it is in another process.
    #[must_use]
    pub fn has_remote_parent(&self) -> bool {
        self.remote_parent
    }

    /// Whether spans of this trace are recorded: the caller's decision, or ours at the root.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The flags as sent.
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// The tracestate that is carried along.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_ref().and_then(|state| state.to_str().ok())
    }
}

/// What a traceparent says (§3.2).
struct Parent {
    trace: TraceId,
    span: SpanId,
    flags: u8,
}

impl Parent {
    fn parse(text: &[u8]) -> Option<Self> {
        let (known, more) = text.split_at_checked(55)?;
        let known = std::str::from_utf8(known).ok().filter(|text| text.bytes().all(is_hex_or_dash))?;
        let mut parts = known.split('-');
        let mut part = |length: usize| parts.next().filter(|part| part.len() == length);
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let later = match version {
            "ff" => return None,
            "00" => false,
            // Of a later version we read what we know; what follows must be set apart by a dash (§4.3).
            _ => true,
        };
        if !(more.is_empty() || later && more[0] == b'-') {
            return None;
        }
        let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
        let flags = u8::from_str_radix(flags, 16).ok()?;
        (trace != TraceId::INVALID && span != SpanId::INVALID).then_some(Self { trace, span, flags })
    }
}

/// Lower case only: upper case makes a traceparent invalid (§3.2.2).
fn is_hex_or_dash(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')
}

/// The tracestate to carry along: all of it, or none where it breaks the grammar or has more members than it may.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(&TRACESTATE).iter();
    let (first, second) = (lines.next()?, lines.next());
    let mut joined;
    let text = if let Some(second) = second {
        joined = first.to_str().ok()?.to_owned();
        for line in std::iter::once(second).chain(lines) {
            joined.push(',');
            joined.push_str(line.to_str().ok()?);
        }
        joined.as_str()
    } else {
        first.to_str().ok()?
    };
    let members = || text.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty());
    let count = members().count();
    if count == 0 || count > MAX_STATE_MEMBERS || !members().all(is_member) {
        return None;
    }
    if second.is_none() && text.len() <= MAX_STATE {
        return Some(first.clone());
    }
    HeaderValue::try_from(shortened(members().collect())).ok()
}

/// Drops the members of more than 128 characters first, then the rightmost, until the rest fits (§3.3.1.5).
fn shortened(mut members: Vec<&str>) -> String {
    let length = |members: &[&str]| members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1);
    while length(&members) > MAX_STATE {
        let long = members.iter().rposition(|member| member.len() > 128);
        members.remove(long.unwrap_or(members.len() - 1));
    }
    members.join(",")
}

/// `key=value` by the grammar of §3.3.1.3.
fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let starts_well = key.bytes().next().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit());
    let goes_on_well = key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/@".contains(&b));
    let value_is_good = value.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b',' && b != b'=');
    starts_well && goes_on_well && key.len() <= 256 && value_is_good && (1..=256).contains(&value.len())
}

#[cfg(test)]
mod tests;
