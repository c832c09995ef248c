//! `eyot check`: everything that starting would find wrong, without binding a port.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{build, find};
use crate::config::{self, Diagnostic, Diagnostics, LimitTable, Place};
use crate::node;

/// Report what is wrong with a configuration and its components, without binding a port.
#[derive(Args)]
#[command(after_help = "Examples:
  eyot check --config node.toml
  eyot check examples/hello
  eyot check --json --config node.toml

Exit codes: 0 when everything is valid, 2 when something is wrong.")]
pub(super) struct Check {
    /// The node's configuration.
    #[arg(long, value_name = "FILE", conflicts_with = "paths", required_unless_present = "paths")]
    config: Option<PathBuf>,

    /// Workers: folders that contain an eyot.toml, directly or below. They are built first if necessary.
    paths: Vec<PathBuf>,

    /// File that overrides individual limits.
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,

    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    faults: &'a [config::Diagnostic],
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.look() {
            Ok(summary) => {
                if self.json {
                    println!("{}", serde_json::to_string(&Report { ok: true, faults: &[] })?);
                } else {
                    anstream::println!("{summary}");
                }
                Ok(())
            }
            Err(error) => {
                if self.json {
                    let other = || Diagnostic { place: Place::default(), message: format!("{error:#}"), help: None };
                    let faults = match error.downcast_ref::<Diagnostics>() {
                        Some(Diagnostics(faults)) => faults.clone(),
                        None => vec![other()],
                    };
                    println!("{}", serde_json::to_string(&Report { ok: false, faults: &faults })?);
                }
                Err(error)
            }
        }
    }

    fn look(&self) -> anyhow::Result<String> {
        let node = match &self.config {
            Some(path) => config::Node::load(path, self.limits.as_deref())?,
            None => {
                let mut limits = LimitTable::builtin();
                if let Some(file) = &self.limits {
                    limits.override_from_file(file)?;
                }
                let workers = build::workers(&find::workers(&self.paths)?, &limits)?;
                build::all(&workers)?;
                super::dev::assemble(workers, limits)?
            }
        };
        let found = node::check(&node)?;
        Ok(found.join("\n"))
    }
}
