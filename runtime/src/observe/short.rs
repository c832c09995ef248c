//! The log as one reads it beside `eyot dev`: a level in the column of what dev itself says, who speaks, and what.

use std::fmt::{self, Debug, Write};

use anstyle::{AnsiColor, Style};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// `      WARN worker: message key=value`.
pub(super) struct Short;

impl<S, N> FormatEvent<S, N> for Short
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut said = Said::default();
        event.record(&mut said);
        let level = *event.metadata().level();
        let (style, dim) = match out.has_ansi_escapes() {
            true => (style(level), Style::new().dimmed()),
            false => (Style::new(), Style::new()),
        };
        write!(out, "{style}{:>10}{style:#} ", level.as_str().to_ascii_lowercase())?;
        if let Some(worker) = &said.worker {
            write!(out, "{worker}: ")?;
        }
        writeln!(out, "{}{dim}{}{dim:#}", said.message, said.rest)
    }
}

fn style(level: Level) -> Style {
    let colour = match level {
        Level::ERROR => AnsiColor::Red,
        Level::WARN => AnsiColor::Yellow,
        Level::INFO => AnsiColor::Cyan,
        _ => return Style::new().dimmed(),
    };
    colour.on_default().bold()
}

/// An event's parts. The id of the request and the guest's stream are left to the JSON form.
#[derive(Default)]
struct Said {
    worker: Option<String>,
    message: String,
    rest: String,
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "worker" => self.worker = Some(value.to_owned()),
            _ => self.record_debug(field, &format_args!("{value}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a String does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "request_id" | "trace_id" | "stream" => Ok(()),
            name => write!(self.rest, " {name}={value:?}"),
        };
    }
}
