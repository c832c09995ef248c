//! `eyot rollback`: back to what served before.

use clap::Args;

use super::admin::{self, Admin, Once, after_help};
use crate::admin::api::shapes::{Deployment, Rollback as Back};

/// Go back to what served before the newest deployment, or to one version.
#[derive(Args)]
#[command(after_help = after_help!("  eyot rollback shop
  eyot rollback shop 5 --note 'prices were wrong since 6'"))]
pub(super) struct Rollback {
    /// The name of the worker.
    worker: String,

    /// The number of the version. Without it: what the deployment before the newest one said.
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    version: Option<u32>,

    /// What is said of it, for those who read the history.
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,

    #[command(flatten)]
    admin: Admin,
}

impl Rollback {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let connection = self.admin.connect()?;
            let back = Back { version: self.version, after: None, note: self.note.clone() };
            let made: Deployment = connection.post(&["workers", &self.worker, "rollback"], &Once::keyed(), &back)?;
            self.admin.print(&made, |made| format!("{}: {}\n", self.worker, admin::serves(&made.versions)))
        })
    }
}
