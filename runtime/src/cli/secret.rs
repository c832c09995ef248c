//! `eyot secret`: values that a worker asks for by name, and that nobody is shown again.

use std::fmt::Display;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::admin::{Admin, Once, after_help, table, when};
use super::serve::wrong;
use super::{check, say};
use crate::admin::api::shapes::{Secret as Kept, SecretValue, Secrets};
use crate::config::{Diagnostic, Diagnostics, Place, read_regular};
use crate::store::{self, By, Vault};

/// Set, list and remove the secrets of a worker.
#[derive(Args)]
#[command(after_help = after_help!("  eyot secret set shop API_KEY                        asks for the value, and does not show it
  openssl rand -hex 32 | eyot secret set shop SESSION_KEY
  eyot secret list shop
  eyot secret remove shop API_KEY
  eyot secret rekey /var/lib/eyot/store --old secrets.key --new new.key"))]
pub(super) struct Secret {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Set(Set),
    List(List),
    Remove(Remove),
    Rekey(Rekey),
}

/// Give a secret its value. Who asks for it from then on gets that one; nothing is deployed anew.
#[derive(Args)]
#[command(after_help = after_help!("  eyot secret set shop API_KEY                        asks for the value, and does not show it
  openssl rand -hex 32 | eyot secret set shop SESSION_KEY
  eyot secret set shop TLS_KEY --from-file key.pem

The value is no argument, because every process can read those. From stdin, a line break at its end is no part of it; from a file it is."))]
struct Set {
    /// The name of the worker; it need not be deployed yet.
    worker: String,

    /// The name of the secret, as `secrets` in eyot.toml has it.
    name: String,

    /// Take the value from a file.
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,

    #[command(flatten)]
    admin: Admin,
}

/// List the names of a worker's secrets.
#[derive(Args)]
#[command(after_help = after_help!("  eyot secret list shop"))]
struct List {
    /// The name of the worker.
    worker: String,

    #[command(flatten)]
    admin: Admin,
}

/// Remove a secret. One that a version which serves asks for stays.
#[derive(Args)]
#[command(after_help = after_help!("  eyot secret remove shop API_KEY"))]
struct Remove {
    /// The name of the worker.
    worker: String,

    /// The name of the secret.
    name: String,

    #[command(flatten)]
    admin: Admin,
}

/// Encrypt all secrets of a store under another key, while no node runs on it: all of them, or none.
#[derive(Args)]
#[command(after_help = "Examples:
  openssl rand -hex 32 > new.key
  eyot secret rekey /var/lib/eyot/store --old secrets.key --new new.key

Older backups need the old key. A change that did not come through can be asked for again.

Exit codes: 0 when it is done, 1 when the result cannot be written, 2 when the store or a key is wrong; then nothing was changed.")]
struct Rekey {
    /// The folder of the store.
    store: PathBuf,

    /// The file of the key that the node had.
    #[arg(long, value_name = "FILE")]
    old: PathBuf,

    /// The file of the key that it is to have.
    #[arg(long, value_name = "FILE")]
    new: PathBuf,
}

impl Secret {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Set(set) => set.run(),
            Command::List(list) => list.run(),
            Command::Remove(remove) => remove.run(),
            Command::Rekey(rekey) => rekey.run(),
        }
    }
}

impl Set {
    fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let connection = self.admin.connect()?;
            let value = SecretValue { value: self.value()? };
            let kept: Kept = connection.put(&["workers", &self.worker, "secrets", &self.name], &value)?;
            self.admin
                .print(&kept, |kept| format!("{}: {} is set (revision {})\n", kept.worker, kept.name, kept.revision))
        })
    }

    fn value(&self) -> anyhow::Result<String> {
        let bytes = match &self.from_file {
            Some(file) => std::fs::read(file).with_context(|| file.display().to_string())?,
            None if io::stdin().is_terminal() => {
                let prompt = format!("{} of {}: ", self.name, self.worker);
                rpassword::prompt_password(prompt).context("the value cannot be read")?.into_bytes()
            }
            None => {
                let mut bytes = Vec::new();
                io::stdin().lock().read_to_end(&mut bytes).context("the value cannot be read")?;
                let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
                line.strip_suffix(b"\r").unwrap_or(line).to_vec()
            }
        };
        if bytes.is_empty() {
            return Err(wrong("the value is empty".to_owned(), "write it to stdin, or name a file: --from-file FILE"));
        }
        String::from_utf8(bytes)
            .map_err(|_| wrong("the value is not UTF-8 text".to_owned(), "encode it, for example in base64"))
    }
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let list: Secrets = self.admin.connect()?.get(&["workers", &self.worker, "secrets"], &())?;
            self.admin.print(&list, |list| {
                let row = |kept: &Kept| [kept.name.clone(), when(kept.set), kept.revision.to_string()];
                match list.secrets.is_empty() {
                    true => format!("{} has no secrets\n", self.worker),
                    false => table(["name", "set", "revision"], list.secrets.iter().map(row)),
                }
            })
        })
    }
}

impl Remove {
    fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let connection = self.admin.connect()?;
            // Sent again, it would find nothing; that it is gone is all that was wanted.
            connection.delete(&["workers", &self.worker, "secrets", &self.name], &Once::Never)?;
            let gone = serde_json::json!({ "worker": self.worker, "removed": self.name });
            self.admin.print(&gone, |_| format!("{}: {} is removed\n", self.worker, self.name))
        })
    }
}

impl Rekey {
    fn run(self) -> anyhow::Result<()> {
        let (old, new) = (key(&self.old)?, key(&self.new)?);
        let store = check::open_store(&self.store)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let anew = move |secret: &store::Secret| new.reseal(&old, secret);
        let count = runtime.block_on(store.reseal_secrets(By::new("rekey"), anew)).map_err(|error| {
            let help = "nothing was changed; give the key that the node has as --old";
            Diagnostics::from(Diagnostic::new(Place::file(&self.store), error.to_string(), help))
        })?;
        say::result(&format!(
            "{count} secrets are encrypted anew. Next: write `secrets_key = \"{}\"` in node.toml, and start the node\n",
            self.new.display()
        ))
    }
}

/// A key has 64 digits.
const LARGEST_KEY: u64 = 1 << 10;

fn key(file: &Path) -> Result<Vault, Diagnostics> {
    let told = |why: &dyn Display| {
        Diagnostics::from(Diagnostic::new(Place::file(file), why.to_string(), "make one: openssl rand -hex 32"))
    };
    let bytes = Zeroizing::new(read_regular(file, LARGEST_KEY).map_err(|error| told(&error))?);
    let text = std::str::from_utf8(&bytes).map_err(|error| told(&error))?;
    Vault::from_key_text(text.trim()).map_err(|error| told(&error))
}
