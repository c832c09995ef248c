//! `eyot build`: makes the components of workers.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anstyle::AnsiColor;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::{Pid, Signal, kill_process_group};

use super::{find, say, show};
use crate::config::{Build as How, Diagnostic, Diagnostics, LimitTable, Place, Reading, Worker};

/// The target that workers in Rust are built for.
const TARGET: &str = "wasm32-wasip2";

/// Build the components of workers.
#[derive(Args)]
#[command(after_help = "Examples:
  eyot build examples
  eyot build examples/hello examples/router

Exit codes: 0 when all are built, 2 when something is wrong.")]
pub(super) struct Build {
    /// Folders that contain an eyot.toml, directly or below.
    #[arg(default_value = ".")]
    paths: Vec<PathBuf>,
}

impl Build {
    pub(super) fn run(self) -> anyhow::Result<()> {
        Ok(all(&workers(&find::workers(&self.paths)?, &LimitTable::builtin())?)?)
    }
}

/// A worker as it was read.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) worker: Worker,
    /// Where its name is written.
    pub(super) named: Place,
}

impl Found {
    /// Two workers cannot have one name.
    pub(super) fn has_the_name_of(&self, other: &Self) -> Diagnostic {
        let message = format!("there are two workers with the name `{}`", self.worker.name);
        let help = format!("the other one is at {}: rename one of them", other.named);
        Diagnostic::new(self.named.clone(), message, help)
    }
}

/// Reads the workers of these folders.
///
/// # Errors
/// Every fault of every worker, and two of one name.
pub(super) fn workers(folders: &[PathBuf], limits: &LimitTable) -> Result<Vec<Found>, Diagnostics> {
    let mut faults = Vec::new();
    let mut workers: Vec<Found> = Vec::new();
    for folder in folders {
        let Reading { worker, named, faults: more } = Worker::read(folder, limits);
        match (more, worker) {
            (Err(more), _) => faults.extend(more.0),
            (Ok(()), None) => {}
            (Ok(()), Some(worker)) => {
                let found = Found { worker, named };
                match workers.iter().find(|other| other.worker.name == found.worker.name) {
                    Some(other) => faults.push(found.has_the_name_of(other)),
                    None => workers.push(found),
                }
            }
        }
    }
    if faults.is_empty() { Ok(workers) } else { Err(Diagnostics(faults)) }
}

/// Builds all of them, also when some do not build.
///
/// # Errors
/// Which do not, after what their builds said.
pub(super) fn all(workers: &[Found]) -> Result<(), Diagnostics> {
    let of = workers.iter().filter(|found| found.worker.build != How::None).count();
    let mut faults = Vec::new();
    let mut count = 0;
    for found in workers {
        count += usize::from(found.worker.build != How::None);
        faults.extend(one(found, (count, of), None).err());
    }
    if faults.is_empty() { Ok(()) } else { Err(Diagnostics(faults)) }
}

/// Builds that another thread may end.
#[derive(Default)]
pub(super) struct Ends {
    ended: AtomicBool,
    running: Mutex<Option<Pid>>,
}

impl Ends {
    /// Ends the build that runs; no other begins.
    pub(super) fn end(&self) {
        let running = self.lock();
        self.ended.store(true, Relaxed);
        if let Some(group) = *running {
            // It may have ended by itself a moment ago.
            let _ = kill_process_group(group, Signal::TERM);
        }
    }

    pub(super) fn have_come(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// Starts a command in a process group of its own, so that what it starts ends with it.
    fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let mut running = self.lock();
        if self.have_come() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let child = command.process_group(0).spawn()?;
        *running = Some(Pid::from_child(&child));
        Ok(child)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Pid>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Builds one worker's component, if there is something to build; it is the `count`th of so many.
///
/// # Errors
/// Why there is no component, after what the build said.
pub(super) fn one(found: &Found, (count, of): (usize, usize), ends: Option<&Ends>) -> Result<(), Diagnostic> {
    let Found { worker, named } = found;
    let fault = |message: String, help: &str| Diagnostic::new(named.clone(), message, help);
    let command = match &worker.build {
        How::None => return Ok(()),
        How::Command(line) => shell(line, &worker.folder),
        How::Cargo => {
            install_target(&worker.folder).map_err(|why| fault(why, "install it by hand, or go online"))?;
            cargo(&worker.folder)
        }
    };
    let progress = spinner(format!("{:>10} {} [{count}/{of}]", "building", worker.name));
    let began = Instant::now();
    let program = command.get_program().to_string_lossy().into_owned();
    let run = watched(command, ends, |line| progress.set_message(line.chars().take(60).collect::<String>()));
    progress.finish_and_clear();
    let (status, said) = run.map_err(|error| {
        let help = if program == "cargo" { "install Rust: https://rustup.rs" } else { "install it" };
        fault(format!("`{program}`, which builds {}, cannot be run: {error}", worker.name), help)
    })?;
    if !status.success() {
        if ends.is_some_and(Ends::have_come) {
            return Err(fault("it was ended".to_owned(), "start again"));
        }
        say::line(said.trim_end());
        let help = match said.contains("target may not be installed") || said.contains("can't find crate for `core`") {
            true => "install the target: `rustup target add wasm32-wasip2`, or by what your Rust came from",
            false => "what its build said stands above",
        };
        return Err(fault(format!("{} does not build ({status})", worker.name), help));
    }
    let Ok(size) = worker.component.metadata().map(|data| data.len()) else {
        let message = format!("the build of {} did not make {}", worker.name, worker.component.display());
        return Err(fault(message, "correct `component`, or the build"));
    };
    let size = bytesize::ByteSize(size).to_string();
    let took = format!("{:.1} s", began.elapsed().as_secs_f64());
    show::word(AnsiColor::Green, "built", format_args!("{:<16} {size:>10} {took:>8}", worker.name));
    Ok(())
}

/// Runs a command and returns what it said, both streams in their order; each line also goes to `hear` as it comes.
fn watched(mut command: Command, ends: Option<&Ends>, hear: impl Fn(&str)) -> io::Result<(ExitStatus, String)> {
    let (reader, writer) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = match ends {
        Some(ends) => ends.spawn(&mut command)?,
        None => command.spawn()?,
    };
    // It holds our ends for writing; without this the reader would never see the end.
    drop(command);
    let mut said = String::new();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        hear(anstream::adapter::strip_str(text.trim()).to_string().as_str());
        said.push_str(&text);
        line.clear();
    }
    let status = child.wait();
    if let Some(ends) = ends {
        *ends.lock() = None;
    }
    Ok((status?, said))
}

fn cargo(folder: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--target", TARGET]).current_dir(folder);
    if show::has_colours() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    // What cargo set for our own run is not meant for the guest.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    command
}

fn shell(line: &str, folder: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args([OsStr::new("-c"), OsStr::new(line)]).current_dir(folder);
    command
}

/// Installs the target with rustup when it is missing. Without rustup the build tells whether it is.
fn install_target(folder: &Path) -> Result<(), String> {
    let rustup = |arguments: &[&str]| Command::new("rustup").args(arguments).current_dir(folder).output();
    let Ok(installed) = rustup(&["target", "list", "--installed"]) else { return Ok(()) };
    if !installed.status.success() || String::from_utf8_lossy(&installed.stdout).lines().any(|line| line == TARGET) {
        return Ok(());
    }
    let progress = spinner(format!("{:>10} the target {TARGET}", "installing"));
    let added = rustup(&["target", "add", TARGET]);
    progress.finish_and_clear();
    match added {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            Err(format!("`rustup target add {TARGET}` failed: {}", why.trim()))
        }
        Err(error) => Err(format!("`rustup target add {TARGET}` cannot be run: {error}")),
    }
}

fn spinner(what: String) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:.cyan} {spinner:.cyan} {elapsed:.dim} {msg:.dim}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let progress = ProgressBar::new_spinner().with_style(style).with_prefix(what);
    progress.enable_steady_tick(Duration::from_millis(100));
    progress
}
