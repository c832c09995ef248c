//! `eyot check`: everything that starting would find wrong, without binding a port.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::serve::wrong;
use super::{build, find, say};
use crate::config::{self, Diagnostic, Diagnostics, LimitTable, Place};
use crate::node::{self, Checked};
use crate::store::{DATABASE, Store, StoreError};

/// Report what is wrong with a configuration and its components, without binding a port.
#[derive(Args)]
#[command(
    override_usage = "eyot check [OPTIONS] --config <FILE>\n       eyot check [OPTIONS] <PATHS>...\n       eyot check [OPTIONS] --store <DIR>",
    after_help = "Examples:
  eyot check --config node.toml
  eyot check examples/hello
  eyot check --json --config node.toml
  eyot check --store /var/lib/eyot/store

Exit codes: 0 when everything is valid, 1 when the result cannot be written, 2 when something is wrong."
)]
pub(super) struct Check {
    /// The node's configuration.
    #[arg(long, value_name = "FILE", conflicts_with = "paths")]
    config: Option<PathBuf>,

    /// Workers: folders that contain an eyot.toml, directly or below. They are built first if necessary.
    paths: Vec<PathBuf>,

    /// A node's store, while no node runs on it: every row, and every byte of every component. One of an older Eyot is brought up to date.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "paths", "limits", "state"])]
    store: Option<PathBuf>,

    /// File that overrides individual limits.
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,

    /// Where compiled components are kept: what is there is not compiled again. Nothing is written to it.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    faults: &'a [config::Diagnostic],
    warnings: &'a [config::Diagnostic],
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let found = self.look();
        if !self.json {
            let Checked { lines, warnings } = found?;
            let warnings = warnings.into_iter().map(|warning| format!("warning: {}", Diagnostics::from(warning)));
            let lines = lines.iter().map(|line| format!("{line}\n"));
            return say::result(&warnings.chain(lines).collect::<String>());
        }
        let other = |error: &anyhow::Error| {
            let fault = Diagnostic { place: Place::default(), message: format!("{error:#}"), help: None };
            Diagnostics::from(fault)
        };
        let faults = match &found {
            Ok(_) => Diagnostics::default(),
            Err(error) => error.downcast_ref::<Diagnostics>().cloned().unwrap_or_else(|| other(error)),
        };
        let warnings = found.as_ref().map_or(&[][..], |checked| &checked.warnings);
        let report = Report { ok: found.is_ok(), faults: &faults.0, warnings };
        say::result(&(serde_json::to_string(&report)? + "\n"))?;
        found.map(drop)
    }

    /// A line for each worker that is well, and what else there is to say.
    fn look(&self) -> anyhow::Result<Checked> {
        if let Some(folder) = &self.store {
            return look_at_store(folder);
        }
        let mut read: config::Read = match &self.config {
            Some(path) => config::Node::read(path, self.limits.as_deref()),
            None if self.paths.is_empty() => {
                let help =
                    "name a node's configuration, eyot check --config node.toml, or folders of workers, eyot check .";
                return Err(wrong("there is nothing to check".to_owned(), help));
            }
            None => {
                let mut limits = LimitTable::builtin();
                if let Some(file) = &self.limits {
                    limits.override_from_file(file)?;
                }
                let found = build::workers(&find::workers(&self.paths)?, &limits)?;
                build::all(&found)?;
                super::dev::assemble(found.into_iter().map(|found| found.worker).collect(), limits)?.into()
            }
        };
        if let Some(node) = &mut read.node
            && self.state.is_some()
        {
            node.state.clone_from(&self.state);
        }
        let mut checked = node::check(&read)?;
        let lines = &mut checked.lines;
        if lines.is_empty() {
            lines.push("the configuration is valid; it has no workers".to_owned());
        }
        lines.push(format!("`eyot serve` is confined here {}", node::confinement()?));
        Ok(checked)
    }
}

/// Whether all of a store is what was written.
fn look_at_store(folder: &Path) -> anyhow::Result<Checked> {
    let store = open_store(folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let faults = runtime.block_on(store.check()).map_err(|error| Diagnostics::from(damaged(folder, &error)))?;
    match faults.is_empty() {
        true => Ok(Checked { lines: vec![format!("{} is whole", folder.display())], warnings: Vec::new() }),
        false => Err(Diagnostics(faults.iter().map(|fault| damaged(folder, fault)).collect()).into()),
    }
}

/// A store that is there already, for who is no node.
pub(super) fn open_store(folder: &Path) -> Result<Store, Diagnostics> {
    if !folder.join(DATABASE).is_file() {
        let message = format!("{} is no store: it has no {DATABASE}", folder.display());
        return Err(Diagnostic::new(Place::default(), message, "name the folder of a store").into());
    }
    Store::open(folder).map_err(|error| match error {
        StoreError::Locked { .. } => {
            let help = "stop the node that runs on it, or look at a backup: eyot backup, eyot restore FROM INTO";
            Diagnostic::new(Place::file(folder), error.to_string(), help).into()
        }
        error => damaged(folder, &error).into(),
    })
}

fn damaged(folder: &Path, fault: &dyn Display) -> Diagnostic {
    let help = "a backup can take its place: eyot restore FROM INTO";
    Diagnostic::new(Place::file(folder), fault.to_string(), help)
}
