//! `eyot dev`: the local edge node. Builds, serves, shows every request, rebuilds and swaps on change.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
use notify::{RecursiveMode, Watcher};

use super::{build, demo_origin, find, show};
use crate::activate::Mode;
use crate::config::{
    self, Admin, Diagnostics, LimitTable, Listener, Methods, Node, Origin, Place, Route, Target, Telemetry, Worker,
};
use crate::dispatch::Detail;
use crate::node::{self, Options};
use crate::observe::{AccessForm, Destination, Format, GuestLog, logs};

/// Changes within this time are one change: editors and compilers write several files.
const SETTLE: Duration = Duration::from_millis(200);

/// Build every worker below the given folders and serve them, with reload.
#[derive(Args)]
#[command(after_help = "Examples:
  eyot dev examples
  eyot dev my-worker --listen 127.0.0.1:3000
  eyot dev . --limits strict.toml

A worker without routes of its own answers at http://NAME.localhost:8080/.")]
pub(super) struct Dev {
    /// Folders with an eyot.toml, or above such folders.
    #[arg(default_value = ".")]
    paths: Vec<PathBuf>,

    /// Where to listen.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// Where health, readiness and metrics are.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    admin: SocketAddr,

    /// Where compiled components are kept.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Override limits, key by key, as in limits.toml.
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,
}

impl Dev {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let log = logs::init(Format::Auto, "")?;
        let demo = demo_origin::start()?;
        let folders = find::workers(&self.paths)?;
        let configuration = self.configuration(&folders, demo)?;
        let options = Options {
            detail: Detail::Full,
            egress: Mode::Listed,
            log: GuestLog::events(),
            access: Some((Destination::Stderr, AccessForm::Text { colour: std::io::stderr().is_terminal() })),
            log_lost: log.lost(),
        };
        let running = node::Node::start(&configuration, options)?;
        show::routes(&configuration, &running);
        let changes = watch(&folders)?;
        std::thread::scope(|scope| {
            let running = &running;
            let this = &self;
            let folders = &folders;
            // Ends with the process; the scope ends when a signal has come and the watcher is dropped.
            scope.spawn(move || this.reload(running, folders, demo, &changes.receiver));
            let ended = super::serve::until_signal(None);
            drop(changes.watcher);
            ended
        })?;
        let _ = running.drain();
        Ok(())
    }

    fn reload(&self, running: &node::Node, folders: &[PathBuf], demo: SocketAddr, changes: &mpsc::Receiver<PathBuf>) {
        while let Ok(first) = changes.recv() {
            let mut changed = BTreeSet::from([first]);
            while let Ok(next) = changes.recv_timeout(SETTLE) {
                changed.insert(next);
            }
            show::changed(&changed);
            let result = self.configuration(folders, demo).and_then(|node| running.replace(&node).map_err(Into::into));
            match result {
                Ok(()) => show::reloaded(),
                Err(error) => show::kept(&error),
            }
        }
    }

    fn configuration(&self, folders: &[PathBuf], demo: SocketAddr) -> anyhow::Result<Node> {
        let mut limits = LimitTable::builtin();
        if let Some(file) = &self.limits {
            limits.override_from_file(file)?;
        }
        let mut node = assemble(folders, limits, build::build)?;
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

/// A node out of workers alone: each without routes of its own at `NAME.localhost`, all origins that they name still open.
pub(super) fn assemble(
    folders: &[PathBuf],
    limits: LimitTable,
    build: impl Fn(&Worker) -> anyhow::Result<()>,
) -> anyhow::Result<Node> {
    let mut faults = Vec::new();
    let mut workers = Vec::new();
    for folder in folders {
        match config::Worker::load(folder, &limits) {
            Ok(worker) => workers.push(worker),
            Err(more) => faults.extend(more.0),
        }
    }
    if !faults.is_empty() {
        return Err(Diagnostics(faults).into());
    }
    for worker in &mut workers {
        build(worker)?;
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
        host: Some(format!("{}.localhost", worker.name)),
        path: "/*".to_owned(),
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

struct Changes {
    watcher: notify::RecommendedWatcher,
    receiver: mpsc::Receiver<PathBuf>,
}

/// Watches the workers' sources, not what their builds write.
fn watch(folders: &[PathBuf]) -> anyhow::Result<Changes> {
    let (sender, receiver) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        if event.kind.is_access() {
            return;
        }
        for path in event.paths.into_iter().filter(|path| !is_output(path)) {
            let _ = sender.send(path);
        }
    })?;
    for folder in folders {
        watcher.watch(folder, RecursiveMode::Recursive)?;
    }
    Ok(Changes { watcher, receiver })
}

fn is_output(path: &Path) -> bool {
    let hidden =
        |name: &str| name.starts_with('.') || name.ends_with('~') || name == "target" || name == "node_modules";
    path.components().any(|part| part.as_os_str().to_str().is_some_and(hidden))
        || path.file_name().is_some_and(|name| name == "Cargo.lock")
        || path.extension().is_some_and(|extension| extension == "wasm")
}
