//! `eyot build`: makes the components of workers.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::find;
use crate::config::{Build as How, Diagnostic, Diagnostics, LimitTable, Place, Worker};

/// The target that workers in Rust are built for.
const TARGET: &str = "wasm32-wasip2";

/// Build the components of workers.
#[derive(Args)]
#[command(after_help = "Examples:\n  eyot build examples\n  eyot build examples/hello examples/router")]
pub(super) struct Build {
    /// Folders that contain an eyot.toml, directly or below.
    #[arg(default_value = ".")]
    paths: Vec<PathBuf>,
}

impl Build {
    pub(super) fn run(self) -> anyhow::Result<()> {
        all(&workers(&find::workers(&self.paths)?, &LimitTable::builtin())?)
    }
}

/// Reads the workers of these folders.
///
/// # Errors
/// Every fault of every worker, and two of one name.
pub(super) fn workers(folders: &[PathBuf], limits: &LimitTable) -> Result<Vec<Worker>, Diagnostics> {
    let mut faults = Vec::new();
    let mut workers: Vec<Worker> = Vec::new();
    for folder in folders {
        match Worker::load(folder, limits) {
            Ok(worker) => match workers.iter().find(|other| other.name == worker.name) {
                Some(other) => {
                    let message = format!("there are two workers with the name `{}`", worker.name);
                    let help = format!("the other one is in {}: rename one of them", other.folder.display());
                    faults.push(Diagnostic::new(Place::file(worker.folder.join("eyot.toml")), message, help));
                }
                None => workers.push(worker),
            },
            Err(more) => faults.extend(more.0),
        }
    }
    if faults.is_empty() { Ok(workers) } else { Err(Diagnostics(faults)) }
}

/// Builds all of them, also when some do not build.
///
/// # Errors
/// Which do not, after what their builds said.
pub(super) fn all<'a>(workers: impl IntoIterator<Item = &'a Worker>) -> anyhow::Result<()> {
    let failed: Vec<_> = workers.into_iter().filter_map(|worker| build(worker).err()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    bail!("{}", failed.iter().map(|error| format!("{error:#}")).collect::<Vec<_>>().join("; "))
}

/// Builds one worker's component, if there is something to build.
fn build(worker: &Worker) -> anyhow::Result<()> {
    let mut command = match &worker.build {
        How::None => return Ok(()),
        How::Command(line) => shell(line, &worker.folder),
        How::Cargo => {
            install_target(&worker.folder)?;
            cargo(&worker.folder)
        }
    };
    let progress = spinner(format!("building {}", worker.name));
    let began = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("cannot run {:?} to build {}", command.get_program(), worker.name))?;
    progress.finish_and_clear();
    if !output.status.success() {
        anstream::eprint!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("{} does not build ({})", worker.name, output.status);
    }
    let Ok(size) = worker.component.metadata().map(|data| data.len()) else {
        let component = worker.component.display();
        bail!("the build of {} did not make {component}: correct `component`, or the build", worker.name);
    };
    let bold = anstyle::AnsiColor::Green.on_default().bold();
    anstream::eprintln!(
        "{bold}{:>10}{bold:#} {} ({}, {:.1} s)",
        "built",
        worker.name,
        bytesize::ByteSize(size),
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

fn cargo(folder: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--target", TARGET]).current_dir(folder);
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

/// Installs the target with rustup when it is missing; without rustup, cargo's own message must do.
fn install_target(folder: &Path) -> anyhow::Result<()> {
    let installed = Command::new("rustup").args(["target", "list", "--installed"]).current_dir(folder).output();
    let Ok(installed) = installed else { return Ok(()) };
    if String::from_utf8_lossy(&installed.stdout).lines().any(|line| line == TARGET) {
        return Ok(());
    }
    let progress = spinner(format!("installing the target {TARGET}"));
    let output = Command::new("rustup").args(["target", "add", TARGET]).current_dir(folder).output()?;
    progress.finish_and_clear();
    if !output.status.success() {
        bail!("rustup target add {TARGET} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn spinner(message: String) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner:.cyan} {msg} {elapsed:.dim}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let progress = ProgressBar::new_spinner().with_style(style).with_message(message);
    progress.enable_steady_tick(Duration::from_millis(100));
    progress
}
