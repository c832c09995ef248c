//! What `eyot dev` prints besides one line for each request.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};

use crate::config::{self, Diagnostics, Methods, Target};
use crate::node::Node;

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// The routes, with a curl line for each.
pub(super) fn routes(configuration: &config::Node, running: &Node) {
    let Some(address) = running.addresses.first() else { return };
    anstream::eprintln!("\n{BOLD}eyot dev{BOLD:#} {DIM}listens on{DIM:#} http://{address}/\n");
    for worker in &configuration.workers {
        for route in &worker.routes {
            let (method, flag) = method(&route.methods);
            let host = route.host.as_deref().unwrap_or("localhost");
            let path = route.path.replace("/*", "/");
            let name = match &route.target {
                Target::Worker(name) | Target::Origin(name) => name.as_str(),
                Target::Redirect { .. } => "redirect",
                Target::Respond { .. } => "respond",
            };
            let green = AnsiColor::Green.on_default();
            anstream::eprintln!(
                "  {green}{name:<16}{green:#} {method:<4} curl -i {flag}http://{host}:{}{path}",
                address.port()
            );
        }
    }
    if let Some(admin) = running.admin {
        anstream::eprintln!("\n  {DIM}metrics{DIM:#}               curl http://{admin}/metrics");
    }
    anstream::eprintln!("  {DIM}Ctrl-C ends it; a change in a worker's folder rebuilds and swaps it.{DIM:#}\n");
}

fn method(methods: &Methods) -> (&str, String) {
    match methods {
        Methods::Only(methods) if !methods.contains(&http::Method::GET) => {
            let method = methods.first().map_or("GET", http::Method::as_str);
            (method, format!("-X {method} "))
        }
        _ => ("GET", String::new()),
    }
}

/// What made the node rebuild.
pub(super) fn changed(paths: &BTreeSet<PathBuf>) {
    let first = paths.first().and_then(|path| path.file_name()).unwrap_or_default().to_string_lossy();
    let more = if paths.len() > 1 { format!(" and {} more", paths.len() - 1) } else { String::new() };
    anstream::eprintln!("{DIM}{:>10}{DIM:#} {first}{more}", "changed");
}

/// The new versions serve.
pub(super) fn reloaded() {
    let green = AnsiColor::Green.on_default().bold();
    anstream::eprintln!(
        "{green}{:>10}{green:#} the new versions serve; requests that run finish on the old ones",
        "swapped"
    );
}

/// Something is wrong with the change; the old versions serve on.
pub(super) fn kept(error: &anyhow::Error) {
    match error.downcast_ref::<Diagnostics>() {
        Some(diagnostics) => anstream::eprint!("{}", diagnostics.render()),
        None => anstream::eprintln!("{error:#}"),
    }
    let yellow = AnsiColor::Yellow.on_default().bold();
    anstream::eprintln!("{yellow}{:>10}{yellow:#} the old versions serve on", "kept");
}
