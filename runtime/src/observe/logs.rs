//! The node's own log, on standard error: text for a person, JSON for machines, one line for each event.
//!
//! A [`Writer`] writes it, so that nobody who logs waits for a slow reader. What guests say comes in amounts that we do not choose,
//! so it has a lane of its own, and never takes the place of what the node says. A line that cannot be written is counted, and is no
//! reason for anything else to fail.

use std::env;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::IntCounter;
use tracing::{Dispatch, Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer as Formatted;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::util::SubscriberInitExt;

use super::guest::TARGET as GUEST;
use super::short::Short;
use super::writer::LAST_WAIT;
use super::{Destination, Lane, Writer, task};

/// The environment variable with the filter.
pub const ENVIRONMENT: &str = "EYOT_LOG";
/// What is shown when nothing is said: what we do, what guests say, what others warn of. The OTLP exporter warns of each batch that is
/// lost, without the cause; `otlp.rs` says it better.
pub const DEFAULT_FILTER: &str = "warn,notify=error,opentelemetry-otlp=error,eyot=info,guest=trace";

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text where standard error is a terminal, else JSON.
    Auto,
    /// For a person, coloured on a terminal.
    Text,
    /// One JSON object for each line.
    Json,
    /// For the one who watches `eyot dev`, also where that is no terminal.
    Short,
}

/// Why there is no log. The one who started the node is at fault, except for the thread.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not understood.
    #[error("the log filter {filter:?} is not understood: {reason}; it looks like `info` or `warn,eyot=debug`")]
    Filter {
        /// As it was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is a log already.
    #[error("the log was started twice")]
    Twice,
    /// The writer's thread or its counter could not be made.
    #[error("the log's writer cannot be started: {0}")]
    Writer(String),
}

/// Keeps the log's writer alive: dropping it writes what is left. Held by whoever owns the process's life.
#[derive(Debug)]
#[must_use = "lines are lost once this is dropped"]
pub struct LogGuard {
    writer: Writer,
    lost: IntCounter,
}

/// Starts the log of this process, and sends panics there: what `EYOT_LOG` asks for, else the default.
pub fn init(format: Format) -> Result<LogGuard, LogError> {
    let filter = chosen_filter(env::var(ENVIRONMENT).ok());
    let lost = IntCounter::new("eyot_log_lines_dropped_total", "Lines of the log that were lost.")
        .map_err(|error| LogError::Writer(error.to_string()))?;
    let writer = Writer::start(&Destination::Stderr, Duration::ZERO, lost.clone())
        .map_err(|error| LogError::Writer(error.to_string()))?;
    let colour = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    let format = match format {
        Format::Auto if io::stderr().is_terminal() => Format::Text,
        Format::Auto => Format::Json,
        chosen => chosen,
    };
    let output = Output { node: writer.lane(), guests: writer.lane() };
    dispatch(format, colour, &filter, output)?.try_init().map_err(|_| LogError::Twice)?;
    log::set_max_level(of_libraries(&filter));
    // The one place that tells of panics: whoever catches one only counts it.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = std::backtrace::Backtrace::capture();
        let said = panic.payload_as_str().unwrap_or("(not a text)");
        tracing::error!(task = task::current(), place, panic = said, %backtrace, "a thread panicked");
    }));
    Ok(LogGuard { writer, lost })
}

impl LogGuard {
    /// The counter of lines that were lost, for `Metrics::adopt`.
    #[must_use]
    pub fn lost(&self) -> IntCounter {
        self.lost.clone()
    }

    /// Writes what is left, within a bounded wait: for who ends the process without dropping this.
    pub fn close(&mut self) {
        self.writer.close(LAST_WAIT);
    }
}

fn chosen_filter(environment: Option<String>) -> String {
    environment.filter(|filter| !filter.trim().is_empty()).unwrap_or_else(|| DEFAULT_FILTER.to_owned())
}

fn dispatch<W>(format: Format, colour: bool, filter: &str, output: W) -> Result<Dispatch, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let wrong = |reason: String| LogError::Filter { filter: filter.to_owned(), reason };
    let filter = EnvFilter::builder().parse(filter).map_err(|error| wrong(error.to_string()))?;
    // tracing-subscriber would tell of its own errors on stderr, and panic where that cannot be written.
    let log = tracing_subscriber::fmt().log_internal_errors(false);
    let log = log.with_timer(Rfc3339).with_env_filter(filter).with_writer(output);
    Ok(match format {
        Format::Json => log.json().flatten_event(true).with_current_span(false).with_span_list(false).finish().into(),
        Format::Short => log.with_ansi(colour).event_format(Short).finish().into(),
        Format::Text | Format::Auto => log.with_ansi(colour).finish().into(),
    })
}

/// What the libraries say that use the crate `log`: it asks anew for each record whether somebody wants it, so guests' lines, of which
/// all are wanted, must not make wasmtime ask about each of its traces.
fn of_libraries(filter: &str) -> log::LevelFilter {
    let directives = filter.split(',').filter(|directive| directive.split('=').next() != Some(GUEST));
    let directives = directives.collect::<Vec<_>>().join(",");
    let most = EnvFilter::builder().parse(directives).ok().and_then(|filter| filter.max_level_hint());
    match most.and_then(LevelFilter::into_level) {
        None => log::LevelFilter::Off,
        Some(Level::ERROR) => log::LevelFilter::Error,
        Some(Level::WARN) => log::LevelFilter::Warn,
        Some(Level::INFO) => log::LevelFilter::Info,
        Some(Level::DEBUG) => log::LevelFilter::Debug,
        Some(Level::TRACE) => log::LevelFilter::Trace,
    }
}

struct Rfc3339;

impl FormatTime for Rfc3339 {
    fn format_time(&self, out: &mut Formatted<'_>) -> fmt::Result {
        write!(out, "{:.6}", Timestamp::now())
    }
}

/// Chooses the lane by who speaks.
struct Output {
    node: Lane,
    guests: Lane,
}

struct Event<'a>(&'a Lane);

impl<'a> MakeWriter<'a> for Output {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Event(&self.node)
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        if metadata.target() == GUEST { Event(&self.guests) } else { self.make_writer() }
    }
}

impl Write for Event<'_> {
    // One call is one event: tracing-subscriber formats it first.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        // Whether there was room is for the counter, not for the one who speaks.
        self.0.append(|out| out.extend_from_slice(event));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged while `run` runs on this thread.
    pub(in crate::observe) fn captured(json: bool, run: impl FnOnce()) -> String {
        let captured = Captured::default();
        let shared = captured.clone();
        let format = if json { Format::Json } else { Format::Text };
        let dispatch = dispatch(format, false, DEFAULT_FILTER, move || shared.clone()).unwrap();
        tracing::dispatcher::with_default(&dispatch, run);
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_json_event_is_one_line_with_flat_fields_and_an_rfc_3339_time() {
        let text = captured(true, || {
            tracing::info!(worker = "hello", requests = 3, "a\nb");
            tracing::debug!("too quiet to be shown");
            tracing::info!(target: "hyper", "not ours");
        });
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&event["level"], &event["message"]), (&"INFO".into(), &"a\nb".into()));
        assert_eq!((&event["worker"], &event["requests"]), (&"hello".into(), &3.into()));
        let time = event["timestamp"].as_str().unwrap();
        assert!(time.parse::<Timestamp>().is_ok() && time.len() == "2026-02-03T04:05:06.789000Z".len(), "{time}");
    }

    #[test]
    fn a_text_event_has_no_colours_where_there_is_no_terminal() {
        let text = captured(false, || tracing::warn!(limit = "128MiB", "near its limit"));
        assert!(text.contains("WARN") && text.contains("near its limit limit=\"128MiB\""), "{text}");
        assert!(!text.contains('\x1b'), "{text:?}");
    }

    #[test]
    fn the_short_form_has_the_level_who_speaks_and_what() {
        let captured = Captured::default();
        let shared = captured.clone();
        let dispatch = dispatch(Format::Short, false, DEFAULT_FILTER, move || shared.clone()).unwrap();
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::warn!(worker = "hello", request_id = "r", code = "worker_trapped", "it trapped: {}", 7);
        });
        let bytes = captured.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text, "      warn hello: it trapped: 7 code=worker_trapped\n");
    }

    #[test]
    fn libraries_are_asked_for_no_more_than_somebody_wants_of_them() {
        assert_eq!(of_libraries(DEFAULT_FILTER), log::LevelFilter::Info);
        assert_eq!(of_libraries("warn,wasmtime=trace,guest=info"), log::LevelFilter::Trace);
        assert_eq!(of_libraries("off,guest=trace"), log::LevelFilter::Off);
    }

    #[test]
    fn a_filter_is_taken_from_the_environment_then_the_default() {
        assert_eq!(chosen_filter(Some("trace".to_owned())), "trace");
        assert_eq!(chosen_filter(Some(" ".to_owned())), DEFAULT_FILTER);
        assert_eq!(chosen_filter(None), DEFAULT_FILTER);
    }

    #[test]
    fn a_filter_that_is_not_understood_is_refused() {
        let error = dispatch(Format::Json, false, "eyot=loud", io::sink).unwrap_err();
        assert!(error.to_string().contains("eyot=loud"), "{error}");
    }
}
