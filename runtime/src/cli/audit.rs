//! `eyot audit`: who changed what.

use clap::Args;

use super::admin::{Admin, Pages, after_help, table, when};
use crate::admin::api::shapes::{Audit as List, AuditEntry};

/// List who changed what on a node, the newest first.
#[derive(Args)]
#[command(after_help = after_help!("  eyot audit
  eyot audit --limit 1000 --json"))]
pub(super) struct Audit {
    /// So many lines at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    #[command(flatten)]
    admin: Admin,
}

impl Audit {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let list = List::newest(&self.admin.connect()?, &["audit"], self.limit)?;
            self.admin.print(&list, text)
        })
    }
}

fn text(list: &List) -> String {
    let row = |entry: &AuditEntry| {
        let AuditEntry { at, actor, action, target, detail, .. } = entry.clone();
        let detail = match &detail {
            serde_json::Value::Null => String::new(),
            serde_json::Value::Object(fields) if fields.is_empty() => String::new(),
            detail => detail.to_string(),
        };
        [when(at), actor, action, target, detail]
    };
    table(["when", "who", "did", "to", "how"], list.entries.iter().map(row))
}
