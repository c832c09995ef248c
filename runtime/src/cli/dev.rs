//! `eyot dev`: the local edge node. Builds, serves, shows every request, rebuilds and swaps on change.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::serve::Ending;
use super::watch::Watch;
use super::{build, demo_origin, find, show};
use crate::activate::Mode;
use crate::config::{
    Admin, Build, HostPattern, LimitTable, Listener, Methods, Node, Origin, PathPattern, Place, Route, Target,
    Telemetry, Worker,
};
use crate::dispatch::Detail;
use crate::node::{self, Options};
use crate::observe::{AccessForm, Destination, GuestLog, logs};

/// Build every worker below the given folders and serve them, with reload.
#[derive(Args)]
#[command(after_help = "Examples:
  eyot dev examples
  eyot dev my-worker --listen 127.0.0.1:3000
  eyot dev . --limits strict.toml

A worker without routes of its own answers at http://NAME.localhost:8080/.")]
pub(super) struct Dev {
    /// Folders that contain an eyot.toml, directly or below.
    #[arg(default_value = ".")]
    paths: Vec<PathBuf>,

    /// Address to listen on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// Address of the admin listener: health, readiness, metrics.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    admin: SocketAddr,

    /// Directory for compiled components.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// File that overrides individual limits.
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,
}

impl Dev {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let log = logs::init()?;
        let ending = Ending::prepare(None)?;
        let demo = demo_origin::start()?;
        let folders = find::workers(&self.paths)?;
        let configuration = self.configuration(&folders, demo, |_| true)?;
        // Before anybody is told that they may change something.
        let (mut watch, stop) = Watch::start(&self.paths)?;
        watch.also(given_components(&configuration))?;
        let options = Options {
            detail: Detail::Full,
            egress: Mode::Listed,
            log: GuestLog::events(),
            access: Some((Destination::Stderr, AccessForm::Text { colour: std::io::stderr().is_terminal() })),
            log_lost: log.lost(),
        };
        let running = node::Node::start(&configuration, options)?;
        show::routes(&configuration, &running);
        std::thread::scope(|scope| {
            let folders = folders.iter().map(|folder| find::canonical(folder)).collect();
            let reload = Reload { dev: &self, running: &running, demo, folders, stale: BTreeSet::new() };
            scope.spawn(move || reload.run(watch, configuration));
            let ended = ending.wait();
            stop.stop();
            ended
        })?;
        let _ = running.drain();
        Ok(())
    }

    /// Reads all workers, and builds those that have to be built.
    fn configuration(
        &self,
        folders: &[PathBuf],
        demo: SocketAddr,
        is_stale: impl Fn(&Worker) -> bool,
    ) -> anyhow::Result<Node> {
        let mut limits = LimitTable::builtin();
        if let Some(file) = &self.limits {
            limits.override_from_file(file)?;
        }
        let workers = build::workers(folders, &limits)?;
        build::all(workers.iter().filter(|worker| is_stale(worker)))?;
        let mut node = assemble(workers, limits)?;
        node.listeners = vec![Listener { address: self.listen, tls: None }];
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

/// Serves what the folders hold, again and again.
struct Reload<'a> {
    dev: &'a Dev,
    running: &'a node::Node,
    demo: SocketAddr,
    /// Of the workers that were there last.
    folders: BTreeSet<PathBuf>,
    /// Of those that have changed since they last built well.
    stale: BTreeSet<PathBuf>,
}

impl Reload<'_> {
    fn run(mut self, mut watch: Watch, mut serving: Node) {
        loop {
            let changed = match watch.changes() {
                Ok(Some(changed)) => changed,
                Ok(None) => return,
                Err(error) => return show::blind(&error),
            };
            match self.reload(&changed, &serving) {
                Ok(Some(node)) => {
                    if let Err(error) = watch.also(given_components(&node)) {
                        return show::blind(&error);
                    }
                    show::reloaded();
                    show::new_routes(&serving, &node, self.running);
                    serving = node;
                }
                Ok(None) => {}
                Err(error) => show::kept(&error),
            }
        }
    }

    /// Nothing, when no worker was changed, added or taken away.
    fn reload(&mut self, changed: &BTreeSet<PathBuf>, serving: &Node) -> anyhow::Result<Option<Node>> {
        let found = find::workers(&self.dev.paths)?;
        let folders: BTreeSet<PathBuf> = found.iter().map(|folder| find::canonical(folder)).collect();
        let mut places: Vec<PathBuf> = given_components(serving).map(|component| find::canonical(&component)).collect();
        places.extend(self.folders.union(&folders).cloned());
        let changed: Vec<&PathBuf> =
            changed.iter().filter(|path| places.iter().any(|place| path.starts_with(place))).collect();
        if changed.is_empty() && folders == self.folders {
            return Ok(None);
        }
        show::changed(&changed);
        let is_stale =
            |folder: &&PathBuf| !self.folders.contains(*folder) || changed.iter().any(|path| path.starts_with(folder));
        self.stale.extend(folders.iter().filter(is_stale).cloned());
        self.folders = folders;
        let is_stale = |worker: &Worker| self.stale.contains(&find::canonical(&worker.folder));
        let node = self.dev.configuration(&found, self.demo, is_stale)?;
        self.running.replace(&node)?;
        self.stale.clear();
        Ok(Some(node))
    }
}

/// The components that no build of ours makes.
fn given_components(node: &Node) -> impl Iterator<Item = PathBuf> {
    node.workers.iter().filter(|worker| worker.build == Build::None).map(|worker| worker.component.clone())
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
        trusted_proxies: Vec::new(),
        origins: origins.into_iter().map(open_origin).collect::<anyhow::Result<_>>()?,
        workers,
        routes: Vec::new(),
        auths: Vec::new(),
        limits,
        telemetry: Telemetry::default(),
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
    Ok(Origin {
        url: format!("http://127.0.0.1/{name}").parse()?,
        name,
        preserve_host: false,
        connect_timeout: Duration::from_secs(1),
        first_byte_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(30),
        http2: false,
        certificate_authority: None,
    })
}
