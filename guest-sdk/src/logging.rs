//! The `log` macros, written to stderr: the node takes each line up into its own log, with request id and worker.

use std::fmt::Write as _;
use std::io::Write as _;

use log::{LevelFilter, Log, Metadata, Record};

struct Stderr;

/// Takes effect once for each isolate; the worker may change the level by `log::set_max_level`.
pub(crate) fn start() {
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // stderr has no buffer, so the line is made first and written in one call.
            let _ = std::io::stderr().write_all(line(record).as_bytes());
        }
    }

    fn flush(&self) {}
}

/// `LEVEL target: message`, on one line: a message with line breaks must not pass for two entries.
fn line(record: &Record<'_>) -> String {
    let mut line = String::new();
    // Writing to a String does not fail; a Display of the worker's that does leaves the line short.
    let _ = write!(line, "{} {}: {}", record.level(), record.target(), record.args());
    let mut line = line.replace('\n', "\\n");
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_message_with_line_breaks_is_one_line() {
        let record = log::Record::builder().level(log::Level::Warn).target("w").args(format_args!("a\nb")).build();
        assert_eq!(line(&record), "WARN w: a\\nb\n");
    }
}
