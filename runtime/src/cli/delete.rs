//! `eyot delete`: a worker serves no longer.

use std::io::{self, BufRead, IsTerminal};

use anyhow::bail;
use clap::Args;

use super::admin::{self, Admin, Once, after_help};
use super::say;
use super::serve::wrong;
use crate::admin::api::shapes::{Deployment, Worker};

/// Take a worker out of service: from the next request on nothing of it serves. Its versions and its history stay.
#[derive(Args)]
#[command(after_help = after_help!("  eyot delete shop
  eyot delete shop --yes

Bring it back by `eyot rollback shop`."))]
pub(super) struct Delete {
    /// The name of the worker.
    worker: String,

    /// Do not ask.
    #[arg(long, short)]
    yes: bool,

    #[command(flatten)]
    admin: Admin,
}

impl Delete {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let connection = self.admin.connect()?;
            let name = &self.worker;
            if !self.yes {
                if !io::stdin().is_terminal() {
                    return Err(wrong(
                        format!("nobody can be asked whether `{name}` should serve no longer"),
                        "write --yes if it should not",
                    ));
                }
                let worker: Worker = connection.get(&["workers", name], &())?;
                let serving = worker.deployment.map(|deployment| deployment.versions).unwrap_or_default();
                say::line(format_args!("{name}: {}. Take it out of service? [y/N]", admin::serves(&serving)));
                if !is_yes()? {
                    bail!("nothing was changed");
                }
            }
            let removed: Deployment = connection.delete_for(&["workers", name], &Once::keyed())?;
            self.admin.print(&removed, |_| format!("{name} serves no longer; `eyot rollback {name}` brings it back\n"))
        })
    }
}

fn is_yes() -> io::Result<bool> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
