//! `eyot backup`: a copy of all that was deployed.

use bytesize::ByteSize;
use clap::Args;
use jiff::Timestamp;

use super::admin::{Admin, Once, after_help};
use crate::admin::api::shapes::{Backup as Made, NewBackup};

/// Copy all that was deployed to a node, while it serves, into a new folder on its machine.
#[derive(Args)]
#[command(after_help = after_help!("  eyot backup
  eyot backup before-upgrade

The folder lies in `backups` of node.toml, beside the store where it says nothing. Copy it away from the machine, and keep the key of
secrets apart from it: the backup does not have the key. `eyot restore` makes a store of it."))]
pub(super) struct Backup {
    /// The name of the folder. Without it: the time.
    name: Option<String>,

    #[command(flatten)]
    admin: Admin,
}

impl Backup {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let connection = self.admin.connect()?;
            let now = || Timestamp::now().strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
            let new = NewBackup { name: self.name.clone().unwrap_or_else(now) };
            // Made twice, it would find itself in its place.
            let made: Made = connection.post(&["backups"], &Once::Never, &new)?;
            self.admin.print(&made, |made| {
                let Made { folder, components, bytes } = made;
                format!("{folder}: the database and {components} components, {}\n", ByteSize(*bytes))
            })
        })
    }
}
