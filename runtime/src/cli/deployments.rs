//! `eyot deployments`: which versions of a worker served when, and why.

use clap::Args;

use super::admin::{Admin, Pages, after_help, shown, table, when};
use crate::admin::api::shapes::{Deployment, Deployments as List};

/// List the deployments of a worker, the newest first: which versions serve since when, why, and who said so.
#[derive(Args)]
#[command(after_help = after_help!("  eyot deployments shop
  eyot deployments shop --limit 500 --json"))]
pub(super) struct Deployments {
    /// The name of the worker.
    worker: String,

    /// So many at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    #[command(flatten)]
    admin: Admin,
}

impl Deployments {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let connection = self.admin.connect()?;
            let list = List::newest(&connection, &["workers", &self.worker, "deployments"], self.limit)?;
            self.admin.print(&list, text)
        })
    }
}

fn text(list: &List) -> String {
    let row = |deployment: &Deployment| {
        let Deployment { created, who, why, note, versions, .. } = deployment.clone();
        // The id behind the name is in the audit.
        let who = who.split(" (").next().unwrap_or_default().to_owned();
        [when(created), shown(&versions), why, who, note]
    };
    table(["since", "versions", "why", "who", "note"], list.deployments.iter().map(row))
}
