//! `eyot serve`: a node from its configuration, or one component with wasmtime serve's command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::say;
use super::single::{self, Parsed};
use crate::activate::{Compiler, Mode};
use crate::config::{self, Diagnostics};
use crate::dispatch::Detail;
use crate::node::{self, Cut, Node, Options};
use crate::observe::{AccessForm, Destination, Format, GuestLog, LogGuard, logs};
use crate::sandbox::Confined;

/// Run a node from node.toml, or serve one component.
#[derive(Args)]
#[command(
    override_usage = "eyot serve [OPTIONS] --config <FILE>\n       eyot serve [OPTIONS] <X.wasm>",
    after_help = "Examples:
  eyot serve --config node.toml
  eyot serve hello.wasm
  eyot serve hello.wasm --addr 0.0.0.0:8080 --env GREETING=hello -S config-var=color=blue -W timeout=5s
  eyot serve hello.wasm --egress deny

SIGHUP makes a node read its certificates again. Connections stay, and so does what was in use if a file is bad.

Exit codes: 0 after a signal, 1 when serving failed, 2 when the input is wrong."
)]
pub(super) struct Serve {
    /// The node's configuration.
    #[arg(long, value_name = "FILE")]
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

    /// Give up the rights that serving does not need, by Landlock and seccomp.
    #[arg(long, value_enum, default_value_t = Confine::Auto)]
    confine: Confine,

    #[command(flatten)]
    single: single::Single,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match (&self.config, &self.single.component) {
            (Some(config), _) => {
                let mut node = config::Node::read(config, self.limits.as_deref());
                if let Some(node) = &mut node.node
                    && self.state.is_some()
                {
                    node.state.clone_from(&self.state);
                }
                self.node(node)
            }
            (None, Some(component)) => self.single(component),
            (None, None) => Err(wrong(
                "there is nothing to serve".to_owned(),
                "name a node's configuration, eyot serve --config node.toml, or a component, eyot serve X.wasm",
            )),
        }
    }

    /// What comes before the first component is read: whoever compiles is started, this process is confined, then its first lasting
    /// thread begins, that of the log.
    fn begin(&self, read: &config::Read, access: Option<&(Destination, AccessForm)>) -> anyhow::Result<Begun> {
        let Some(node) = &read.node else { return Err(Diagnostics::together(read.faults.clone()).into()) };
        let compiler = node::compiler(node);
        let files: Vec<&Path> = [&self.config, &self.limits].into_iter().flatten().map(PathBuf::as_path).collect();
        // Started by a thread that still has its rights and ends with this; the two take their time together.
        let (started, confined) = std::thread::scope(|scope| {
            let started = scope.spawn(|| compiler.start());
            let confined = match self.confine {
                Confine::Off => Ok(None),
                Confine::Auto | Confine::Required => {
                    node::confine(node, &files, access.map(|(file, _)| file)).map(Some)
                }
            };
            (started.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), confined)
        });
        started?;
        let confined = confined?;
        if self.confine == Confine::Required && confined != Some(Confined { landlock: true, seccomp: true }) {
            return Err(wrong(
                "this kernel cannot confine the process as `--confine required` asks for".to_owned(),
                "take a kernel with Landlock (Linux 5.13) and seccomp, or leave the option out",
            ));
        }
        let warning = match confined {
            Some(Confined { landlock: true, seccomp: true }) => None,
            Some(confined) => Some(format!("this process is confined {confined}")),
            None => Some("this process is not confined (--confine off)".to_owned()),
        };
        Ok(Begun { compiler, log: logs::init(Format::Auto)?, warning })
    }

    fn node(&self, read: config::Read) -> anyhow::Result<()> {
        let access = self.access_log.clone().unwrap_or(AccessLog::To(Destination::Stdout)).sink();
        let mut ending = Ending::prepare(None)?;
        ending.hear_hangups()?;
        let Begun { compiler, mut log, warning } = self.begin(&read, access.as_ref())?;
        if let Some(warning) = warning {
            tracing::warn!("{warning}");
        }
        let options = Options {
            detail: Detail::Public,
            egress: Mode::Listed,
            log: GuestLog::events(),
            access,
            log_lost: log.lost(),
            request_headers: Vec::new(),
            compiler,
        };
        let running = ending.unless_it_comes(&mut log, || Node::start(&read, options))?;
        // What was written down for thousands of workers is of no more use.
        drop(read);
        for address in &running.addresses {
            tracing::info!(%address, workers = running.workers(), "listening");
        }
        if let Some(address) = running.admin {
            tracing::info!(%address, "admin");
        }
        tracing::info!("ready");
        ending.wait(|| running.read_certificates_again())?;
        ending.end(running);
        Ok(())
    }

    fn single(&self, component: &Path) -> anyhow::Result<()> {
        let Parsed { mut node, headers, notes } = self.single.parse(component, self.limits.as_deref())?;
        node.state.clone_from(&self.state);
        let node = node.into();
        let access = self.access_log.clone().unwrap_or(AccessLog::Off).sink();
        let mut ending = Ending::prepare(self.single.shutdown_address())?;
        let Begun { compiler, mut log, warning } = self.begin(&node, access.as_ref())?;
        let options = Options {
            detail: Detail::Public,
            egress: self.single.egress_mode(),
            log: self.single.guest_log(&log.lost())?,
            access,
            log_lost: log.lost(),
            request_headers: headers,
            compiler,
        };
        let running = ending.unless_it_comes(&mut log, || Node::start(&node, options))?;
        // Tools written for wasmtime serve read these two lines, in this order, before anything else on stderr.
        if let Some(address) = ending.address()? {
            say::line(format_args!("Listening for shutdown on tcp://{address}/"));
        }
        for address in &running.addresses {
            say::line(format_args!("Serving HTTP on http://{address}/"));
        }
        for note in warning.into_iter().chain(notes) {
            say::line(note);
        }
        ending.wait(|| {})?;
        ending.end(running);
        Ok(())
    }
}

/// What stands before the first component is read.
struct Begun {
    compiler: Compiler,
    log: LogGuard,
    /// That the process is not confined as it should be.
    warning: Option<String>,
}

/// Whether the process is confined.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Confine {
    /// As far as the kernel can.
    Auto,
    /// By Landlock and seccomp, or it does not start.
    Required,
    /// Not at all.
    Off,
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

/// What ends a process that serves: SIGINT or SIGTERM, or a connection to an address, as with wasmtime serve. Prepared before anything
/// is said to be ready, so that whoever waits for that may end it at once.
pub(super) struct Ending {
    runtime: tokio::runtime::Runtime,
    interrupt: Signal,
    terminate: Signal,
    /// Where SIGHUP, too, is ours; else it ends the process.
    hangup: Option<Signal>,
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
        Ok(Self { runtime, interrupt, terminate, hangup: None, listener })
    }

    /// Takes SIGHUP for [`Self::wait`]. One that comes before is not lost.
    pub(super) fn hear_hangups(&mut self) -> std::io::Result<()> {
        let _entered = self.runtime.enter();
        self.hangup = Some(signal(SignalKind::hangup())?);
        Ok(())
    }

    /// Where a connection would end this process.
    pub(super) fn address(&self) -> std::io::Result<Option<SocketAddr>> {
        self.listener.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Does what has to be done before there is anything to drain: a signal that comes meanwhile ends the process at once, with the
    /// status that a shell gives to it. The handlers stand already, since the first process of a container has no default ones.
    fn unless_it_comes<T: Send>(&mut self, log: &mut LogGuard, work: impl FnOnce() -> T + Send) -> T {
        let Self { runtime, interrupt, terminate, .. } = self;
        std::thread::scope(|scope| {
            let (done, is_done) = tokio::sync::oneshot::channel::<()>();
            let worker = scope.spawn(move || {
                let _done = done;
                work()
            });
            let signal = runtime.block_on(async {
                tokio::select! {
                    _ = is_done => None,
                    _ = interrupt.recv() => Some(SignalKind::interrupt()),
                    _ = terminate.recv() => Some(SignalKind::terminate()),
                }
            });
            if let Some(signal) = signal {
                log.close();
                std::process::exit(128 + signal.as_raw_value());
            }
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Waits for one of them; meanwhile, does this whenever a SIGHUP comes.
    pub(super) fn wait(&mut self, hung_up: impl Fn()) -> anyhow::Result<()> {
        let Self { runtime, interrupt, terminate, hangup, listener } = self;
        let asked = async {
            match listener {
                Some(listener) => listener.accept().await.map(|_| ()),
                None => std::future::pending().await,
            }
        };
        let hangups = async {
            let Some(hangup) = hangup else { return std::future::pending().await };
            while hangup.recv().await.is_some() {
                hung_up();
            }
            std::future::pending::<()>().await;
        };
        runtime.block_on(async {
            tokio::select! {
                () = signalled(interrupt, terminate) => {}
                () = hangups => {}
                asked = asked => asked?,
            }
            Ok(())
        })
    }

    /// Ends the node in good order; a second signal ends it at once.
    pub(super) fn end(self, node: Node) {
        let Self { runtime, mut interrupt, mut terminate, .. } = self;
        let Cut { connections, isolates } = runtime.block_on(node.drain(signalled(&mut interrupt, &mut terminate)));
        if connections > 0 || isolates > 0 {
            tracing::warn!(connections, isolates, "ended before all work was done");
        }
    }
}

async fn signalled(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Diagnostics of one message, for faults of arguments.
pub(super) fn wrong(message: String, help: &str) -> anyhow::Error {
    Diagnostics::from(config::Diagnostic::new(config::Place::default(), message, help)).into()
}
