//! `eyot serve`: a node from its configuration, or one component with wasmtime serve's command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::single;
use crate::activate::Mode;
use crate::config::{self, Diagnostics};
use crate::dispatch::Detail;
use crate::node::{Node, Options};
use crate::observe::{AccessForm, Destination, GuestLog, LogGuard, logs};

/// Run a node from node.toml, or serve one component.
#[derive(Args)]
#[command(after_help = "Examples:
  eyot serve --config node.toml
  eyot serve hello.wasm
  eyot serve hello.wasm --addr 0.0.0.0:8080 --env GREETING=hello -S config-var=color=blue -W timeout=5s
  eyot serve hello.wasm --egress deny

Exit codes: 0 after a signal, 1 when serving failed, 2 when the input is wrong.")]
pub(super) struct Serve {
    /// The node's configuration.
    #[arg(long, value_name = "FILE", conflicts_with = "component", required_unless_present = "component")]
    config: Option<PathBuf>,

    /// File that overrides individual limits.
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,

    /// Directory for compiled components.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Destination of the access log: stdout, stderr, off, or a file.
    #[arg(long, value_name = "WHERE", value_parser = access_log)]
    access_log: Option<AccessLog>,

    #[command(flatten)]
    single: single::Single,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let log = logs::init()?;
        match &self.config {
            Some(path) => {
                let mut node = config::Node::load(path, self.limits.as_deref())?;
                if self.state.is_some() {
                    node.state.clone_from(&self.state);
                }
                let options = Options {
                    detail: Detail::Public,
                    egress: Mode::Listed,
                    log: GuestLog::events(),
                    access: self.access_log.unwrap_or(AccessLog::To(Destination::Stdout)).sink(),
                    log_lost: log.lost(),
                };
                let ending = Ending::prepare(None)?;
                let running = Node::start(&node, options)?;
                for address in &running.addresses {
                    tracing::info!(%address, workers = node.workers.len(), "listening");
                }
                if let Some(address) = running.admin {
                    tracing::info!(%address, "admin");
                }
                tracing::info!("ready");
                ending.wait()?;
                finish(running)
            }
            None => self.single(&log),
        }
    }

    fn single(self, log: &LogGuard) -> anyhow::Result<()> {
        let mut node = self.single.node(self.limits.as_deref())?;
        node.state = self.state;
        let options = Options {
            detail: Detail::Public,
            egress: self.single.egress_mode(),
            log: self.single.guest_log(&log.lost())?,
            access: self.access_log.unwrap_or(AccessLog::Off).sink(),
            log_lost: log.lost(),
        };
        let ending = Ending::prepare(self.single.shutdown_address())?;
        let running = Node::start(&node, options)?;
        for address in &running.addresses {
            // Tools written for wasmtime serve wait for this line, the first on stderr.
            eprintln!("Serving HTTP on http://{address}/");
        }
        self.single.announce();
        ending.wait()?;
        finish(running)
    }
}

/// What `--access-log` says.
#[derive(Clone)]
enum AccessLog {
    Off,
    To(Destination),
}

impl AccessLog {
    fn sink(self) -> Option<(Destination, AccessForm)> {
        match self {
            Self::Off => None,
            Self::To(destination) => Some((destination, AccessForm::Json)),
        }
    }
}

fn access_log(text: &str) -> Result<AccessLog, String> {
    Ok(match text {
        "" => return Err("write stdout, stderr, off, or the name of a file".to_owned()),
        "off" => AccessLog::Off,
        "stdout" => AccessLog::To(Destination::Stdout),
        "stderr" => AccessLog::To(Destination::Stderr),
        file => AccessLog::To(Destination::File(file.into())),
    })
}

fn finish(running: Node) -> anyhow::Result<()> {
    let cut = running.drain();
    if cut > 0 {
        tracing::warn!(connections = cut, "closed before their requests were done");
    }
    Ok(())
}

/// What ends a process that serves: SIGINT or SIGTERM, or a connection to an address, as with wasmtime serve. Prepared before anything
/// is said to be ready, so that whoever waits for that may end it at once.
pub(super) struct Ending {
    runtime: tokio::runtime::Runtime,
    interrupt: Signal,
    terminate: Signal,
    listener: Option<TcpListener>,
}

impl Ending {
    pub(super) fn prepare(shutdown: Option<SocketAddr>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let listener = match shutdown.map(|address| (address, runtime.block_on(TcpListener::bind(address)))) {
            None => None,
            Some((_, Ok(listener))) => Some(listener),
            Some((address, Err(error))) => {
                return Err(wrong(
                    format!("--shutdown-addr {address}: {error}"),
                    "give an address of this machine that is free",
                ));
            }
        };
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(entered);
        Ok(Self { runtime, interrupt, terminate, listener })
    }

    /// Waits for one of them.
    pub(super) fn wait(self) -> anyhow::Result<()> {
        let Self { runtime, mut interrupt, mut terminate, listener } = self;
        if let Some(listener) = &listener {
            eprintln!("Listening for shutdown on tcp://{}/", listener.local_addr()?);
        }
        let asked = async {
            match &listener {
                Some(listener) => listener.accept().await.map(|_| ()),
                None => std::future::pending().await,
            }
        };
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                asked = asked => asked?,
            }
            Ok(())
        })
    }
}

/// Diagnostics of one message, for faults of arguments.
pub(super) fn wrong(message: String, help: &str) -> anyhow::Error {
    let place = config::Place::default();
    Diagnostics(vec![config::Diagnostic { place, message, help: Some(help.to_owned()) }]).into()
}
