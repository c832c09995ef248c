//! What guests write to standard output and standard error.
//!
//! A node logs it as events with the target `guest`, one for each line, with everything dangerous escaped. `eyot serve X.wasm`
//! prints it as `wasmtime serve` does: bytes as they are, each line behind `stdout [N] :: `, or without that.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus::IntCounter;
use serde::Serialize;
use tracing::Level;

use super::tail::Said;
use super::{Destination, EscapedBytes, Lane, RequestId, Tails, TraceId, Writer};

/// The target of guests' events, for filters.
pub const TARGET: &str = "guest";

/// A longer line is logged in pieces, so that what is held for a guest that never ends its line is bounded.
const MAX_LINE: usize = 8 * 1024;

/// Which of the two streams of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Where the output of all guests goes; clones go to the same place.
#[derive(Clone, Debug)]
pub struct GuestLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    sink: Sink,
    tails: Tails,
    next: AtomicU64,
}

#[derive(Debug)]
enum Sink {
    Events,
    Console { prefixed: bool, stdout: Lane, stderr: Lane, _writers: Mutex<[Writer; 2]> },
}

/// One stream of one invocation. Dropping it logs a line that was begun.
#[derive(Debug)]
pub struct GuestStream {
    log: GuestLog,
    stream: Stream,
    worker: Arc<str>,
    request: RequestId,
    trace: TraceId,
    number: u64,
    begun: Vec<u8>,
    at_line_start: bool,
}

impl GuestLog {
    /// Into the node's log.
    #[must_use]
    pub fn events() -> Self {
        Self::to(Sink::Events)
    }

    /// To our own standard output and error as `wasmtime serve` prints it; not `prefixed` is its `--no-logging-prefix`.
    /// `lost` counts what was dropped because nobody read it: the counter of `logs::init`.
    pub fn console(prefixed: bool, lost: &IntCounter) -> io::Result<Self> {
        let stdout = Writer::start(&Destination::Stdout, Duration::ZERO, lost.clone())?;
        let stderr = Writer::start(&Destination::Stderr, Duration::ZERO, lost.clone())?;
        Ok(Self::on(prefixed, stdout, stderr))
    }

    fn on(prefixed: bool, stdout: Writer, stderr: Writer) -> Self {
        let (out, err) = (stdout.lane(), stderr.lane());
        Self::to(Sink::Console { prefixed, stdout: out, stderr: err, _writers: Mutex::new([stdout, stderr]) })
    }

    fn to(sink: Sink) -> Self {
        Self(Arc::new(Shared { sink, tails: Tails::default(), next: AtomicU64::new(0) }))
    }

    /// Those who look at lines while they are written. A console has none: it shows bytes, not lines.
    #[must_use]
    pub fn tails(&self) -> &Tails {
        &self.0.tails
    }

    /// Numbers the invocations that write something, from 0, as `wasmtime serve` numbers its requests.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.next.fetch_add(1, Relaxed)
    }

    /// Opens a stream of the invocation with this number.
    #[must_use]
    pub fn open(
        &self,
        stream: Stream,
        worker: Arc<str>,
        request: RequestId,
        trace: TraceId,
        number: u64,
    ) -> GuestStream {
        GuestStream {
            log: self.clone(),
            stream,
            worker,
            request,
            trace,
            number,
            begun: Vec::new(),
            at_line_start: true,
        }
    }
}

impl GuestStream {
    /// Takes what the guest wrote. Never waits. Counting the bytes against limit `log` is the caller's part.
    pub fn write(&mut self, bytes: &[u8]) {
        let log = self.log.clone();
        match &log.0.sink {
            Sink::Events => bytes.split_inclusive(|byte| *byte == b'\n').for_each(|piece| self.gather(piece)),
            Sink::Console { prefixed, stdout, stderr, .. } => {
                let lane = if self.stream == Stream::Stdout { stdout } else { stderr };
                if *prefixed {
                    let (lines, at_line_start) = self.prefixed(bytes);
                    // What was dropped began no line.
                    if lane.append(|out| out.extend_from_slice(&lines)) {
                        self.at_line_start = at_line_start;
                    }
                } else if !bytes.is_empty() {
                    lane.append(|out| out.extend_from_slice(bytes));
                }
            }
        }
    }

    /// A piece with at most one line feed, at its end.
    fn gather(&mut self, mut piece: &[u8]) {
        while self.begun.len() + piece.len() > MAX_LINE {
            let (fits, rest) = piece.split_at(MAX_LINE - self.begun.len());
            self.begun.extend_from_slice(fits);
            self.end_line();
            piece = rest;
        }
        if let Some(line) = piece.strip_suffix(b"\n") {
            if self.begun.is_empty() {
                self.event(line.strip_suffix(b"\r").unwrap_or(line));
            } else {
                self.begun.extend_from_slice(line);
                self.end_line();
            }
        } else {
            self.begun.extend_from_slice(piece);
        }
    }

    fn end_line(&mut self) {
        if !self.begun.is_empty() {
            let line = mem::take(&mut self.begun);
            self.event(line.strip_suffix(b"\r").unwrap_or(&line));
        }
    }

    fn event(&self, line: &[u8]) {
        let (worker, request_id) = (&*self.worker, self.request.as_str());
        let (trace_id, stream) = (tracing::field::display(self.trace), self.stream.name());
        let (level, line) = level(line);
        let Self { request, trace, .. } = self;
        self.log.0.tails.line(Said { worker, request, trace: *trace, stream: self.stream }, level, line);
        macro_rules! log {
            ($level:expr) => {
                tracing::event!(target: TARGET, $level, worker, request_id, trace_id, stream, "{}", EscapedBytes(line))
            };
        }
        // The level of an event is part of its place in the code.
        match level {
            Level::ERROR => log!(Level::ERROR),
            Level::WARN => log!(Level::WARN),
            Level::INFO => log!(Level::INFO),
            Level::DEBUG => log!(Level::DEBUG),
            Level::TRACE => log!(Level::TRACE),
        }
    }

    /// The bytes with a prefix where a line begins, and whether the next ones begin a line.
    fn prefixed(&self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let prefix = format!("{} [{}] :: ", self.stream.name(), self.number);
        let mut out = Vec::with_capacity(bytes.len() + prefix.len());
        let mut at_line_start = self.at_line_start;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if at_line_start {
                out.extend_from_slice(prefix.as_bytes());
            }
            out.extend_from_slice(piece);
            at_line_start = piece.ends_with(b"\n");
        }
        (out, at_line_start)
    }
}

/// The level that a line begins with, as those of the SDK do, and the rest of it.
fn level(line: &[u8]) -> (Level, &[u8]) {
    let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
    let found = levels.into_iter().find_map(|level| {
        let rest = line.strip_prefix(level.as_str().as_bytes())?.strip_prefix(b" ")?;
        Some((level, rest))
    });
    found.unwrap_or((Level::INFO, line))
}

impl Drop for GuestStream {
    fn drop(&mut self) {
        self.end_line();
    }
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::observe::logs::tests::captured;

    /// The messages of the events that `run` makes.
    fn events(run: impl FnOnce(&mut GuestStream)) -> Vec<String> {
        let text = captured(true, || {
            let id = RequestId::parse(b"req-1").unwrap();
            let mut stream = GuestLog::events().open(Stream::Stdout, "hello".into(), id, TraceId::from(7), 0);
            run(&mut stream);
        });
        let message = |line: &str| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!((&event["worker"], &event["request_id"]), (&"hello".into(), &"req-1".into()));
            assert_eq!(event["trace_id"], "00000000000000000000000000000007");
            assert_eq!((&event["stream"], &event["target"]), (&"stdout".into(), &"guest".into()));
            event["message"].as_str().unwrap().to_owned()
        };
        text.lines().map(message).collect()
    }

    /// What two invocations print to standard output and standard error.
    fn console(prefixed: bool, run: impl FnOnce(&GuestLog)) -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        let lost = IntCounter::new("lost", "lines").unwrap();
        let paths = ["out", "err"].map(|name| folder.path().join(name));
        let [out, err] =
            paths.clone().map(|path| Writer::start(&Destination::File(path), Duration::ZERO, lost.clone()).unwrap());
        run(&GuestLog::on(prefixed, out, err));
        (fs::read_to_string(&paths[0]).unwrap(), fs::read_to_string(&paths[1]).unwrap())
    }

    #[test]
    fn each_line_is_one_event_however_it_was_written() {
        let lines = events(|stream| {
            stream.write(b"one\ntwo\r\nth");
            stream.write(b"ree\n\nrest");
        });
        assert_eq!(lines, ["one", "two", "three", "", "rest"]);
    }

    #[test]
    fn a_line_that_begins_with_a_level_has_it() {
        let text = captured(true, || {
            let mut stream =
                GuestLog::events().open(Stream::Stderr, "hello".into(), RequestId::fresh(), TraceId::INVALID, 0);
            stream.write(b"WARN app: careful\nDEBUG app: detail\nWARNING\n");
        });
        let events = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let events: Vec<_> = events.map(|event| (event["level"].clone(), event["message"].clone())).collect();
        let expected = [("WARN", "app: careful"), ("DEBUG", "app: detail"), ("INFO", "WARNING")];
        assert_eq!(events, expected.map(|(level, message)| (level.into(), message.into())));
    }

    #[test]
    fn a_guest_cannot_forge_a_line_or_drive_a_terminal() {
        let lines = events(|stream| {
            stream.write(b"fine\r{\"level\":\"ERROR\"}\n");
            stream.write(b"\x1b[2J\0\xff\n");
        });
        assert_eq!(lines, ["fine\\r{\"level\":\"ERROR\"}", "\\x1b[2J\\x00\\xff"]);
    }

    #[test]
    fn a_line_without_end_is_logged_in_pieces() {
        let lines = events(|stream| stream.write(&[b'x'; 2 * MAX_LINE + 1]));
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [MAX_LINE, MAX_LINE, 1]);
    }

    #[test]
    fn the_console_shows_what_wasmtime_serve_shows() {
        let (id, trace) = (RequestId::fresh(), TraceId::from(7));
        let (out, err) = console(true, |log| {
            let mut first = log.open(Stream::Stdout, "hello".into(), id.clone(), trace, 0);
            first.write(b"a");
            first.write(b"b\nc\n");
            log.open(Stream::Stderr, "hello".into(), id, trace, 1).write(b"oh\n\nno");
            first.write(b"d\ne\n");
        });
        assert_eq!(out, "stdout [0] :: ab\nstdout [0] :: c\nstdout [0] :: d\nstdout [0] :: e\n");
        assert_eq!(err, "stderr [1] :: oh\nstderr [1] :: \nstderr [1] :: no");
    }

    #[test]
    fn without_a_prefix_the_bytes_are_the_guests() {
        let (out, _) = console(false, |log| {
            log.open(Stream::Stdout, "hello".into(), RequestId::fresh(), TraceId::from(7), 0).write(b"a\n\x1b[1mb");
        });
        assert_eq!(out, "a\n\x1b[1mb");
    }
}
