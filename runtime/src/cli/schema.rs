//! `eyot schema`: the JSON Schema of a configuration file, and the OpenAPI document of the admin API.

use clap::ValueEnum;

use super::say;
use crate::admin::api;
use crate::config::Described;

/// Print the JSON Schema of a configuration file, by which editors complete keys and tell faults; or the admin API's description.
#[derive(clap::Args, Clone, Copy, Debug)]
#[command(after_help = "Examples:
  eyot schema node > node.schema.json         of node.toml
  eyot schema worker > eyot.schema.json       of a worker's eyot.toml
  eyot schema admin > admin.openapi.json      the admin API (OpenAPI 3.1)

A first line `#:schema node.schema.json` in a file tells editors that know Taplo to use it.")]
pub(super) struct Schema {
    /// Of what.
    #[arg(value_enum, value_name = "WHAT")]
    file: File,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum File {
    /// node.toml
    Node,
    /// A worker's eyot.toml
    Worker,
    /// The admin API
    Admin,
}

impl Schema {
    /// Prints it to stdout.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(super) fn run(self) -> anyhow::Result<()> {
        say::result(&match self.file {
            File::Node => Described::Node.text(),
            File::Worker => Described::Worker.text(),
            File::Admin => api::described(),
        })
    }
}
