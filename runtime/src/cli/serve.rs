//! `eyot serve`: a node from its configuration, or one component with wasmtime serve's command line.

mod ending;
mod place;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::say;
use super::single::{self, Parsed};
use crate::activate::{Compiler, Mode};
use crate::config::{self, Diagnostics};
use crate::dispatch::Detail;
use crate::ingress::Given;
use crate::life::{Handover, Supervisor, Watchdog};
use crate::node::{self, Node, Options};
use crate::observe::{AccessForm, Destination, Format, GuestLog, LogGuard, logs};
use crate::sandbox::Confined;

pub(super) use ending::Ending;
use ending::{Asked, Why};
use place::Place;

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
SIGUSR2 starts this command once more, with the binary, node.toml and components that are there now, to take the place of the node
that runs: no connection is refused or cut, and if anything is wrong the node serves on. It needs a state folder of the node's own.

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

    /// Take the place of the node that runs from the same state folder, if there is one, without a lost request.
    #[arg(long, requires = "config")]
    take_over: bool,

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
        let given = given()?;
        let supervisor = Arc::new(supervisor()?);
        let mut ending = Ending::prepare(None)?;
        ending.hear_operators()?;
        // What is wrong is told without asking anybody for anything.
        let mut place = match &read.node {
            Some(node) if read.faults.is_empty() => Place::take(node, self.take_over, given)?,
            _ => Place::default(),
        };
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
            open_api: false,
            request_headers: Vec::new(),
            compiler,
        };
        let arrival = place.arrival();
        let running = ending.unless_it_comes(&mut log, || Node::arrive(&read, options, arrival))?;
        // What was written down for thousands of workers is of no more use.
        drop(read);
        place.may_serve()?;
        running.listen();
        for address in &running.addresses {
            tracing::info!(%address, workers = running.workers(), "listening");
        }
        if let Some(address) = running.admin {
            tracing::info!(%address, "admin");
        }
        let handover = place.serves(&running);
        tracing::info!("ready");
        serve_on(running, ending, &place, handover, &supervisor)
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
            open_api: false,
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
        ending.wait()?;
        ending.end(running);
        Ok(())
    }
}

/// Until a signal comes, or another process serves; and then to the end.
fn serve_on(
    running: Node,
    mut ending: Ending,
    place: &Place,
    mut handover: Option<Handover>,
    supervisor: &Arc<Supervisor>,
) -> anyhow::Result<()> {
    let watchdog = Watchdog::start(supervisor, running.answering())?;
    let status = format!("serving {} workers", running.workers());
    supervisor.ready(&status);
    let asked = |asked| match asked {
        Asked::ReadAgain => {
            supervisor.reloading();
            running.read_certificates_again();
            supervisor.ready(&status);
        }
        Asked::Upgrade => place.start_successor(),
    };
    let taken = async {
        match &mut handover {
            Some(handover) => handover.taken().await,
            None => std::future::pending().await,
        }
    };
    match ending.wait_or(asked, taken)? {
        Why::Signal => {
            supervisor.stopping();
            if let Some(handover) = handover {
                handover.withdraw();
            }
            ending.end(running);
        }
        Why::Taken(heir) => {
            // Whoever waits for the end of this process should know by then that it is not the node's.
            supervisor.main_process(heir.process);
            drop(watchdog);
            heir.farewell();
            ending.hand_over(running);
        }
    }
    Ok(())
}

/// The sockets that systemd has given to this process.
fn given() -> Result<Given, Diagnostics> {
    Given::by_systemd().map_err(|faults| Diagnostics::together(faults.into_iter().map(Into::into).collect()))
}

fn supervisor() -> anyhow::Result<Supervisor> {
    Supervisor::of_environment().map_err(|error| {
        wrong(
            format!("the supervisor that NOTIFY_SOCKET names cannot be reached: {error}"),
            "start this process by it, or without that variable",
        )
    })
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

/// Diagnostics of one message, for faults of arguments.
pub(super) fn wrong(message: String, help: &str) -> anyhow::Error {
    Diagnostics::from(config::Diagnostic::new(config::Place::default(), message, help)).into()
}
