//! `eyot restore`: a backup becomes the store of a node.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::Args;

use super::say;
use crate::config::{Diagnostic, Diagnostics, Place};
use crate::store;

/// Make a store of a backup, after a look at every byte of it. No node is asked, and none may use the new folder yet.
#[derive(Args)]
#[command(after_help = "Examples:
  eyot restore /var/lib/eyot/store-backups/before-upgrade /var/lib/eyot/store.new

Exit codes: 0 when it is done, 1 when the result cannot be written, 2 when the backup or a folder is wrong. Then there is no store.")]
pub(super) struct Restore {
    /// The folder of the backup.
    from: PathBuf,

    /// The folder of the new store. It is made; what is there must be empty.
    into: PathBuf,
}

impl Restore {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Self { from, into } = self;
        let made = store::restore(&from, &into).map_err(|error| {
            let help = "nothing was made; take another backup, or name a new folder";
            Diagnostics::from(Diagnostic::new(Place::file(&from), error.to_string(), help))
        })?;
        let (components, size, folder) = (made.components, ByteSize(made.bytes), into.display());
        say::result(&format!(
            "{folder}: a store with {components} components, {size}\n\
             Next: write `store = \"{folder}\"` in node.toml, give the node the key of secrets that it had, and start it:\n\
             eyot serve --config node.toml\n"
        ))
    }
}
