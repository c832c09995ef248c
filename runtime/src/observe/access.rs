//! The access log: one line for each request, as JSON for machines or aligned for the one who runs `eyot dev`.
//!
//! A line is made in place, in the buffer of its core; `writer.rs` carries it out.

use std::fmt::{self, Display, Formatter};
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use http::Version;
use jiff::Timestamp;
use prometheus::IntCounter;
use serde::{Serialize, Serializer};

use super::escape::{Escaped, EscapingJson, write_padded};
use super::{Destination, Lane, RequestId, Start, TraceId, Writer};

/// How long lines of the access log are gathered before they are written.
const PAUSE: Duration = Duration::from_millis(100);
/// The same where a person watches.
const PAUSE_WATCHED: Duration = Duration::from_millis(10);

/// How wide host and path are together in text; longer ones move what follows.
const PLACE: usize = 44;

/// The form of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessForm {
    /// One JSON object for each line.
    Json,
    /// Columns for a person.
    Text {
        /// With ANSI colours.
        colour: bool,
    },
}

/// What is told of one request. It borrows everything, so that making one costs nothing.
#[derive(Clone, Debug, Serialize)]
pub struct Record<'a> {
    /// When its head had been read.
    #[serde(serialize_with = "rfc3339")]
    pub time: Timestamp,
    /// Its id.
    #[serde(serialize_with = "as_text")]
    pub request_id: &'a RequestId,
    /// The trace that it belongs to.
    #[serde(serialize_with = "hexadecimal")]
    pub trace_id: TraceId,
    /// Who sent it: the peer, or whom a trusted proxy vouches for.
    #[serde(serialize_with = "short")]
    pub client: IpAddr,
    /// Its method.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The host that it asked for.
    pub host: &'a str,
    /// The port that it asked for; for its span only.
    #[serde(skip)]
    pub port: u16,
    /// Its version of HTTP; for its span only.
    #[serde(skip)]
    pub protocol: Version,
    /// The path, without the query, which may hold secrets.
    pub path: &'a str,
    /// The status of the answer.
    pub status: u16,
    /// The code of the failure, if we answered in place of the worker or the origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<&'static str>,
    /// Bytes of the request body that were read.
    pub bytes_in: u64,
    /// Bytes of the response body that were sent.
    pub bytes_out: u64,
    /// From the request's head to the end of the response.
    #[serde(rename = "duration_us", serialize_with = "micros")]
    pub duration: Duration,
    /// CPU time of the guest.
    #[serde(rename = "cpu_us", serialize_with = "maybe_micros", skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Duration>,
    /// The most memory that the guest had, in bytes.
    #[serde(rename = "peak_memory_bytes", skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// Where the isolate came from, if one ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// The worker that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<&'a str>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<&'a str>,
    /// The route that led there, as configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<&'a str>,
    /// The worker that has called it, if one has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<&'a str>,
}

/// The access log of the node: its writer, from which each core takes an [`AccessLog`]. Dropping it writes what is left.
#[derive(Debug)]
pub struct AccessLogs {
    writer: Option<Writer>,
    form: AccessForm,
}

/// One core's end of the access log.
#[derive(Clone, Debug)]
pub struct AccessLog {
    lane: Option<Lane>,
    form: AccessForm,
}

impl AccessLogs {
    /// Starts the writer. `lost` counts the lines that were dropped: `Metrics::access_log_dropped`.
    pub fn start(destination: &Destination, form: AccessForm, lost: IntCounter) -> io::Result<Self> {
        let pause = if form == AccessForm::Json { PAUSE } else { PAUSE_WATCHED };
        Ok(Self { writer: Some(Writer::start(destination, pause, lost)?), form })
    }

    /// No access log: a record costs one comparison.
    #[must_use]
    pub fn none() -> Self {
        Self { writer: None, form: AccessForm::Json }
    }

    /// The end for one core.
    #[must_use]
    pub fn core(&self) -> AccessLog {
        AccessLog { lane: self.writer.as_ref().map(Writer::lane), form: self.form }
    }

    /// Writes what is left and stops. Says whether that was done in time.
    pub fn close(&mut self, wait: Duration) -> bool {
        self.writer.as_mut().is_none_or(|writer| writer.close(wait))
    }
}

impl AccessLog {
    #[cfg(test)]
    pub(super) fn on(lane: Lane, form: AccessForm) -> Self {
        Self { lane: Some(lane), form }
    }

    /// Logs one request. Never waits: a line for which there is no room is dropped and counted.
    pub fn record(&self, record: &Record<'_>) {
        if let Some(lane) = &self.lane {
            lane.append(|out| record.write(self.form, out));
        }
    }
}

impl Record<'_> {
    /// Appends the line, with its line feed.
    pub fn write(&self, form: AccessForm, out: &mut Vec<u8>) {
        // Neither can fail: the Vec grows, and all keys are strings.
        match form {
            AccessForm::Json => {
                drop(self.serialize(&mut serde_json::Serializer::with_formatter(&mut *out, EscapingJson)))
            }
            AccessForm::Text { colour } => drop(self.write_text(colour, out)),
        }
        out.push(b'\n');
    }

    fn write_text(&self, colour: bool, out: &mut Vec<u8>) -> io::Result<()> {
        let (good, dim) = if colour { (status_style(self.status), Style::new().dimmed()) } else { Default::default() };
        write_padded(out, self.method, 7);
        write!(out, " {dim}{}{dim:#}", Escaped(self.host))?;
        // A host is ASCII.
        write_padded(out, self.path, PLACE.saturating_sub(self.host.len()));
        write!(out, " {good}{}{good:#} {:>9.2} ms", self.status, self.duration.as_secs_f64() * 1e3)?;
        write!(out, " {:>11}", Or(self.cpu.map(|cpu| Unit(cpu.as_micros(), "µs CPU"))))?;
        write!(out, " {:>9}", Or(self.peak_memory.map(|bytes| Unit(u128::from(bytes.div_ceil(1024)), "KiB"))))?;
        write!(out, "  {:<8}", self.start.map_or("-", Start::as_str))?;
        if let (Some(worker), Some(version)) = (self.worker, self.version) {
            write!(out, " {dim}{}@{}{dim:#}", Escaped(worker), Escaped(version))?;
        }
        if let Some(caller) = self.caller {
            write!(out, " {dim}called by {}{dim:#}", Escaped(caller))?;
        }
        if let Some(failure) = self.failure {
            write!(out, " {good}{failure}{good:#}")?;
        }
        Ok(())
    }
}

/// The colour of a status on a terminal.
#[must_use]
pub fn status_style(status: u16) -> Style {
    let colour = match status {
        0..=299 => AnsiColor::Green,
        300..=399 => AnsiColor::Cyan,
        400..=499 => AnsiColor::Yellow,
        _ => AnsiColor::Red,
    };
    colour.on_default()
}

/// A number and its unit, as one column.
struct Unit(u128, &'static str);

/// The column, or a dash.
struct Or(Option<Unit>);

impl Display for Or {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(Unit(number, unit)) = &self.0 else { return f.pad("-") };
        let width = f.width().unwrap_or(0).saturating_sub(unit.chars().count() + 1);
        write!(f, "{number:>width$} {unit}")
    }
}

pub(super) fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    short(&format_args!("{time:.6}"), serializer)
}

fn as_text<S: Serializer>(id: &RequestId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.as_str())
}

pub(super) fn hexadecimal<S: Serializer>(id: &TraceId, serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = [0; 32];
    // The room is what sixteen bytes take.
    let _ = hex::encode_to_slice(id.to_bytes(), &mut text);
    serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
}

/// What is shorter than a line of text: made whole first, because each piece would be looked through for what must be escaped.
fn short<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = [0; 64];
    let mut rest = &mut text[..];
    let fits = write!(rest, "{value}").is_ok();
    let left = rest.len();
    match std::str::from_utf8(&text[..text.len() - left]) {
        Ok(text) if fits => serializer.serialize_str(text),
        _ => serializer.collect_str(value),
    }
}

fn micros<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

fn maybe_micros<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    micros(&duration.unwrap_or_default(), serializer)
}

#[cfg(test)]
mod tests;
