//! `eyot versions`: what was brought of a worker.

use clap::Args;

use super::admin::{Admin, Pages, after_help, table, when};
use crate::admin::api::shapes::{Version, Versions as List, Worker};

/// List the versions of a worker, the newest first, with what each has of its requests.
#[derive(Args)]
#[command(after_help = after_help!("  eyot versions shop
  eyot versions shop --limit 500 --json"))]
pub(super) struct Versions {
    /// The name of the worker.
    worker: String,

    /// So many at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    #[command(flatten)]
    admin: Admin,
}

impl Versions {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let connection = self.admin.connect()?;
            let list = List::newest(&connection, &["workers", &self.worker, "versions"], self.limit)?;
            let worker: Worker = connection.get(&["workers", &self.worker], &())?;
            self.admin.print(&list, |list| text(list, &worker))
        })
    }
}

fn text(list: &List, worker: &Worker) -> String {
    let serving = worker.deployment.iter().flat_map(|deployment| &deployment.versions).copied().collect::<Vec<_>>();
    let row = |version: &Version| {
        let share = serving.iter().find(|share| share.version == version.version);
        let serves = match (share, &version.component) {
            (Some(share), _) => format!("{}%", share.percent),
            (None, Some(_)) => String::new(),
            (None, None) => "pruned".to_owned(),
        };
        let component = version.component.as_ref().map_or_else(String::new, |digest| digest.chars().take(12).collect());
        [version.version.to_string(), when(version.created), serves, component, version.message.clone()]
    };
    table(["version", "added", "serves", "component", "message"], list.versions.iter().map(row))
}
