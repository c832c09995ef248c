//! What `eyot dev` prints besides one line for each request.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

use super::{curl, say};
use crate::config::{Diagnostics, Route, Worker};

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// Where names end and what they do begins.
const NAME: usize = 16;

/// Whether stderr shows colours: it is a terminal, and NO_COLOR and its kin do not forbid them.
pub(super) fn has_colours() -> bool {
    AutoStream::choice(&std::io::stderr()) != ColorChoice::Never
}

/// Something happened: one word in a column of its own, and what it happened to.
pub(super) fn word(colour: AnsiColor, word: &str, text: impl Display) {
    let style = colour.on_default().bold();
    say::line(format_args!("{style}{word:>10}{style:#} {text}"));
}

/// Where everything is: a curl line for each route, and the names of workers that do not serve.
pub(super) fn banner<'a>(
    workers: impl IntoIterator<Item = &'a Worker>,
    broken: impl IntoIterator<Item = &'a str>,
    address: SocketAddr,
    admin: Option<SocketAddr>,
) {
    say::line(format_args!("\n  {BOLD}eyot dev{BOLD:#} {DIM}listens on{DIM:#} http://{address}/\n"));
    for worker in workers {
        routes(worker, &worker.routes, address);
    }
    let red = AnsiColor::Red.on_default();
    for name in broken {
        say::line(format_args!("  {red}{name:<NAME$}{red:#} does not serve yet: see above"));
    }
    if let Some(admin) = admin {
        say::line(format_args!("\n  {DIM}{:<NAME$} curl http://{admin}/metrics{DIM:#}", "metrics"));
    }
    say::line(format_args!("\n  {DIM}Save a file, and its worker is rebuilt and swapped. Ctrl-C ends it.{DIM:#}\n"));
}

/// A curl line for each of these routes of a worker.
pub(super) fn routes<'a>(worker: &Worker, routes: impl IntoIterator<Item = &'a Route>, address: SocketAddr) {
    let green = AnsiColor::Green.on_default();
    for route in routes {
        let line = curl::line(route, address);
        let demand = match route.auth.as_ref().or(worker.auth.as_ref()) {
            Some(auth) => format!("  {DIM}# needs a token ({auth}){DIM:#}"),
            None => String::new(),
        };
        say::line(format_args!("  {green}{:<NAME$}{green:#} {line}{demand}", worker.name));
    }
}

/// Changes can no longer be seen.
pub(super) fn blind(error: &anyhow::Error) {
    word(AnsiColor::Red, "blind", format_args!("changes are no longer noticed; restart `eyot dev`: {error:#}"));
}

/// What made the node rebuild.
pub(super) fn changed(paths: &[&PathBuf]) {
    // With its folder: every worker has an eyot.toml.
    let tail = |path: &&PathBuf| {
        let mut tail: Vec<_> = path.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
        tail.reverse();
        tail.join("/")
    };
    let first = paths.first().map_or_else(|| "the workers".to_owned(), tail);
    let more = if paths.len() > 1 { format!(" and {} more", paths.len() - 1) } else { String::new() };
    say::line(format_args!("{DIM}{:>10} {first}{more}{DIM:#}", "changed"));
}

/// New versions serve in place of old ones.
pub(super) fn swapped(versions: &str) {
    word(AnsiColor::Green, "swapped", format_args!("{versions} {DIM}(what runs finishes on the old version){DIM:#}"));
}

/// Workers serve that did not before.
pub(super) fn serves(versions: &str) {
    word(AnsiColor::Green, "serves", versions);
}

/// Workers are no longer there.
pub(super) fn removed(folders: &str) {
    word(AnsiColor::Yellow, "removed", folders);
}

/// What is wrong, with its place.
pub(super) fn faults(faults: &Diagnostics) {
    say::line(format_args!("\n{}", faults.render().trim_end()));
}

/// A change is of no use; what served before serves on.
pub(super) fn kept(what: &str) {
    word(AnsiColor::Yellow, "kept", format_args!("{what} {DIM}(the old version serves on){DIM:#}"));
}

/// There is nothing older that could serve.
pub(super) fn broken(what: &str) {
    word(AnsiColor::Red, "broken", format_args!("{what} {DIM}(it serves once this is repaired){DIM:#}"));
}

/// It is not known what there is.
pub(super) fn failed(error: &anyhow::Error) {
    match error.downcast_ref::<Diagnostics>() {
        Some(diagnostics) => faults(diagnostics),
        None => say::line(format_args!("\n{error:#}")),
    }
    word(AnsiColor::Yellow, "kept", format_args!("everything {DIM}(as it was){DIM:#}"));
}

/// The file of limits has faults.
pub(super) fn kept_limits(diagnostics: &Diagnostics) {
    faults(diagnostics);
    word(AnsiColor::Yellow, "kept", format_args!("the limits {DIM}(as they were){DIM:#}"));
}
