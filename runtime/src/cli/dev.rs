//! `eyot dev`: the local edge node. Builds, serves, shows every request, rebuilds and swaps on change.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::build::Ends;
use super::serve::Ending;
use super::watch::Watch;
use super::{address, demo_origin, find, show};
use crate::activate::Mode;
use crate::config::{
    Admin, Backends, Diagnostics, HostPattern, LimitTable, Listener, Mentions, Methods, Node, Origin, PathPattern,
    Place, Route, Target, Telemetry, Worker,
};
use crate::dispatch::Detail;
use crate::node::{self, Options};
use crate::observe::{AccessForm, Destination, Format, GuestLog, logs};

mod workers;

/// Where workers keep what outlives their isolates, in the current folder.
const DATA: &str = ".eyot";

use workers::Workers;

/// Build every worker below the given folders and serve them, with reload.
#[derive(Args)]
#[command(after_help = "Examples:
  eyot dev examples
  eyot dev my-worker --listen 127.0.0.1:3000
  eyot dev . --limits strict.toml

A worker without routes of its own answers at http://NAME.localhost:8080/. One that is broken does not keep the others from
serving; it does so itself as soon as it is repaired. What workers write into `kv` is kept in the folder .eyot.

Exit codes: 0 after a signal, 1 when serving failed, 2 when the arguments are wrong or a port is in use.")]
pub(super) struct Dev {
    /// Folders that contain an eyot.toml, directly or below.
    #[arg(default_value = ".")]
    paths: Vec<PathBuf>,

    /// Address to listen on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = address)]
    listen: SocketAddr,

    /// Address of the admin listener: health, readiness, metrics.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090", value_parser = address)]
    admin: SocketAddr,

    /// Directory for compiled components.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// File that overrides individual limits. Changes in it are noticed too; limits of the node need a restart.
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,
}

impl Dev {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let log = logs::init(Format::Short)?;
        let mut ending = Ending::prepare(None)?;
        let demo = demo_origin::start()?;
        let limits = self.limits()?;
        find::workers(&self.paths)?;
        let empty = self.node(Vec::new(), limits.clone(), demo)?;
        let options = Options {
            detail: Detail::Full,
            egress: Mode::Listed,
            log: GuestLog::events(),
            access: Some((Destination::Stderr, AccessForm::Text { colour: show::has_colours() })),
            log_lost: log.lost(),
            open_api: true,
            request_headers: Vec::new(),
            compiler: node::compiler(&empty),
        };
        // Before anything is built, so that a port in use is told at once.
        let running = node::Node::open(&empty.into(), options)?;
        // Before anybody is told that they may change something.
        let (watch, stop) = Watch::start(&self.paths)?;
        let ended = Ends::default();
        std::thread::scope(|scope| {
            let workers = Workers::new(&self, &running, demo, limits, &ended);
            scope.spawn(move || serve(workers, watch));
            let waited = ending.wait();
            ended.end();
            stop.stop();
            waited
        })?;
        ending.end(running);
        Ok(())
    }

    fn limits(&self) -> Result<LimitTable, Diagnostics> {
        let mut limits = LimitTable::builtin();
        if let Some(file) = &self.limits {
            limits.override_from_file(file)?;
        }
        Ok(limits)
    }

    /// The node that serves these workers.
    fn node(&self, workers: Vec<Worker>, limits: LimitTable, demo: SocketAddr) -> anyhow::Result<Node> {
        let mut node = assemble(workers, limits)?;
        node.listeners = vec![Listener { address: self.listen, tls: None, http3: false }];
        node.admin = Some(Admin { address: self.admin });
        node.state.clone_from(&self.state);
        for origin in &mut node.origins {
            // Nobody has defined it, so the demo origin stands in.
            let url = format!("http://{demo}/{}", origin.name);
            origin.url = url.parse()?;
        }
        Ok(node)
    }
}

/// Builds and serves what is there, then what changes, until the end.
fn serve(mut workers: Workers<'_>, mut watch: Watch) {
    if let Err(error) = workers.update(&BTreeSet::new()) {
        show::failed(&error);
    }
    if !workers.begin() {
        return;
    }
    loop {
        if let Err(error) = watch.also(workers.other_sources()) {
            return show::blind(&error);
        }
        match watch.changes() {
            Ok(Some(changed)) => {
                if let Err(error) = workers.update(&changed) {
                    show::failed(&error);
                }
            }
            Ok(None) => return,
            Err(error) => return show::blind(&error),
        }
    }
}

/// A node out of workers alone: each without routes of its own at `NAME.localhost`, all origins that they name still open.
pub(super) fn assemble(mut workers: Vec<Worker>, limits: LimitTable) -> anyhow::Result<Node> {
    for worker in &mut workers {
        if worker.routes.is_empty() {
            worker.routes.push(default_route(worker));
        }
    }
    let origins: BTreeSet<String> = workers.iter().flat_map(|worker| worker.origins.iter().cloned()).collect();
    Ok(Node {
        listeners: Vec::new(),
        admin: None,
        state: None,
        store: None,
        data: Some(DATA.into()),
        backends: Backends::default(),
        backups: None,
        secrets_key: None,
        acme: None,
        preview: None,
        trusted_proxies: Vec::new(),
        origins: origins.into_iter().map(open_origin).collect::<anyhow::Result<_>>()?,
        workers,
        routes: Vec::new(),
        auths: Vec::new(),
        limits,
        telemetry: Telemetry::default(),
        mentions: Mentions::default(),
    })
}

fn default_route(worker: &Worker) -> Route {
    Route {
        host: Some(HostPattern::localhost(&worker.name)),
        path: PathPattern::everything(),
        methods: Methods::Any,
        target: Target::Worker(worker.name.clone()),
        auth: None,
        place: Place { file: worker.folder.join("eyot.toml"), line: 0, column: 0 },
    }
}

fn open_origin(name: String) -> anyhow::Result<Origin> {
    let url = format!("http://127.0.0.1/{name}").parse()?;
    Ok(Origin::new(name, url))
}
