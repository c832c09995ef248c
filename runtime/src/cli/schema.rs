//! `eyot schema`: the JSON Schema of a configuration file.

use clap::ValueEnum;

use super::say;
use crate::config::Described;

/// Print the JSON Schema of a configuration file, by which editors complete keys and tell faults.
#[derive(clap::Args, Clone, Copy, Debug)]
#[command(after_help = "Examples:
  eyot schema node > node.schema.json         of node.toml
  eyot schema worker > eyot.schema.json       of a worker's eyot.toml

A first line `#:schema node.schema.json` in a file tells editors that know Taplo to use it.")]
pub(super) struct Schema {
    /// Which file.
    #[arg(value_enum, value_name = "FILE")]
    file: File,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum File {
    /// node.toml
    Node,
    /// A worker's eyot.toml
    Worker,
}

impl Schema {
    /// Prints it to stdout.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let described = match self.file {
            File::Node => Described::Node,
            File::Worker => Described::Worker,
        };
        say::result(&described.text())
    }
}
