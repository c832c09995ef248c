//! What `eyot dev` prints besides one line for each request.

use std::net::SocketAddr;
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};

use crate::config::{self, Diagnostics, HostPattern, Methods, PathPattern, Route, Target};
use crate::node::Node;

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// The routes, with a curl line for each.
pub(super) fn routes(configuration: &config::Node, running: &Node) {
    let Some(address) = running.addresses.first() else { return };
    anstream::eprintln!("\n{BOLD}eyot dev{BOLD:#} {DIM}listens on{DIM:#} http://{address}/\n");
    for worker in &configuration.workers {
        lines(&worker.routes, address);
    }
    if let Some(admin) = running.admin {
        anstream::eprintln!("\n  {DIM}metrics{DIM:#}               curl http://{admin}/metrics");
    }
    anstream::eprintln!("  {DIM}Ctrl-C ends it; a change in a worker's folder rebuilds and swaps it.{DIM:#}\n");
}

/// The curl lines of what was not there before.
pub(super) fn new_routes(before: &config::Node, now: &config::Node, running: &Node) {
    let Some(address) = running.addresses.first() else { return };
    let known: Vec<_> = before.workers.iter().flat_map(|worker| &worker.routes).map(what).collect();
    let routes = now.workers.iter().flat_map(|worker| &worker.routes);
    lines(routes.filter(|route| !known.contains(&what(route))), address);
}

/// What a route is, without the place where it is written.
fn what(route: &Route) -> (&Option<HostPattern>, &PathPattern, &Methods) {
    (&route.host, &route.path, &route.methods)
}

fn lines<'a>(routes: impl IntoIterator<Item = &'a Route>, address: &SocketAddr) {
    let green = AnsiColor::Green.on_default();
    for route in routes {
        let (method, flag) = method(&route.methods);
        let host = route.host.as_ref().map_or_else(|| "localhost".to_owned(), ToString::to_string);
        let path = route.path.to_string().replace("/*", "/");
        let name = match &route.target {
            Target::Worker(name) | Target::Origin(name) => name.as_str(),
            Target::Redirect { .. } => "redirect",
            Target::Respond { .. } => "respond",
        };
        let port = address.port();
        anstream::eprintln!("  {green}{name:<16}{green:#} {method:<4} curl -i {flag}http://{host}:{port}{path}");
    }
}

/// Changes can no longer be seen.
pub(super) fn blind(error: &anyhow::Error) {
    let red = AnsiColor::Red.on_default().bold();
    anstream::eprintln!("{red}{:>10}{red:#} file watching stopped; restart `eyot dev`: {error:#}", "stopped");
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
pub(super) fn changed(paths: &[&PathBuf]) {
    let first =
        paths.first().and_then(|path| path.file_name()).map_or("a worker".into(), |name| name.to_string_lossy());
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
