//! `eyot nodes`: the nodes of a fleet.

use clap::Args;

use super::admin::{Admin, after_help, plain, table, when};
use crate::admin::api::shapes::{Node, Nodes as Found};

/// List the nodes of the fleet that a node belongs to: those that are there, and how far each has come.
#[derive(Args)]
#[command(after_help = after_help!("  eyot nodes
  eyot nodes --json"))]
pub(super) struct Nodes {
    #[command(flatten)]
    admin: Admin,
}

impl Nodes {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let found: Found = self.admin.connect()?.get(&["nodes"], &())?;
            self.admin.print(&found, |found| {
                table(["node", "version", "since", "change", "workers", "cannot serve"], found.nodes.iter().map(row))
            })
        })
    }
}

fn row(Node { name, version, started, change, workers, left_out, .. }: &Node) -> [String; 6] {
    let left_out = if left_out.is_empty() { "–".to_owned() } else { left_out.join(", ") };
    [plain(name), plain(version), when(*started), change.to_string(), workers.to_string(), plain(&left_out)]
}
