//! W3C trace context (<https://www.w3.org/TR/trace-context-2/>): which trace a request belongs to, in and out.
//!
//! It costs a parse and a random number; whether spans are also exported is `spans.rs`' affair.

use std::fmt::{self, Debug, Display, Formatter};

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
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

/// The id of a trace; never all zero. Displays as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

/// The id of a span; never all zero. Displays as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SpanId([u8; 8]);

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
        let id = TraceId(RandomIdGenerator::default().new_trace_id().to_bytes());
        Self { id, span: SpanId::random(), parent: None, remote_parent: false, flags: SAMPLED | RANDOM, state: None }
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
            span: SpanId::random(),
            parent: Some(parent.span),
            remote_parent: true,
            // Flags that we do not know must be set to zero (§3.2.2.5.3).
            flags: parent.flags & (SAMPLED | RANDOM),
            state: state(headers),
        }
    }

    /// A span below this one: for each request that we send.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span: SpanId::random(), parent: Some(self.span), remote_parent: false, ..self.clone() }
    }

    /// Writes the context into the headers of a request that we send, in place of any that stood there.
    pub fn inject(&self, headers: &mut HeaderMap) {
        let text = self.traceparent();
        // Hexadecimal digits and dashes are always good in a header.
        if let Ok(value) = HeaderValue::from_bytes(&text) {
            headers.insert(TRACEPARENT.clone(), value);
        }
        match &self.state {
            Some(state) => drop(headers.insert(TRACESTATE.clone(), state.clone())),
            None => drop(headers.remove(&TRACESTATE)),
        }
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

    fn traceparent(&self) -> [u8; 55] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&self.id.0, &mut text[3..35]);
        write_hex(&self.span.0, &mut text[36..52]);
        write_hex(&[self.flags], &mut text[53..]);
        text
    }
}

impl TraceId {
    /// The bytes of the id.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl SpanId {
    fn random() -> Self {
        Self(RandomIdGenerator::default().new_span_id().to_bytes())
    }

    /// The bytes of the id.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        self.0
    }
}

impl Display for TraceId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        f.write_str(write_hex(&self.0, &mut text))
    }
}

impl Display for SpanId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut text = [0; 16];
        f.write_str(write_hex(&self.0, &mut text))
    }
}

impl Debug for TraceId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

impl Debug for SpanId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "SpanId({self})")
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
        if known[2] != b'-' || known[35] != b'-' || known[52] != b'-' {
            return None;
        }
        let [version] = read_hex(&known[..2])?;
        let later = match version {
            0xff => return None,
            0 => false,
            // Of a later version we read what we know; what follows must be set apart by a dash (§4.3).
            _ => true,
        };
        if !(more.is_empty() || later && more[0] == b'-') {
            return None;
        }
        let trace = read_hex(&known[3..35])?;
        let span = read_hex(&known[36..52])?;
        let [flags] = read_hex(&known[53..])?;
        (trace != [0; 16] && span != [0; 8]).then_some(Self { trace: TraceId(trace), span: SpanId(span), flags })
    }
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

fn write_hex<'a>(bytes: &[u8], out: &'a mut [u8]) -> &'a str {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    std::str::from_utf8(out).unwrap_or_default()
}

/// Lower case only: upper case makes a traceparent invalid (§3.2.2).
fn read_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
