//! `eyot token`: what lets others change a node.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::admin::{Admin, Once, after_help, table, when};
use super::say;
use super::serve::wrong;
use crate::admin::api::shapes::{CreatedToken, NewToken, Scope, Token as Kept, Tokens};
use crate::config::positive_time;

/// Make, list and revoke tokens of the admin API.
#[derive(Args)]
#[command(after_help = after_help!("  eyot token create ci --scope deploy --worker 'shop-*' --host shop.example --expires 90d
  eyot token list
  eyot token revoke 0190b3…"))]
pub(super) struct Token {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Make a token, and print it: this is the only time that it is shown. It lets do no more than the token that asks for it.
#[derive(Args)]
#[command(after_help = after_help!("  eyot token create ci --scope deploy --worker 'shop-*' --host shop.example --expires 90d
  eyot token create monitor --scope read --worker '*' --to monitor.token
  eyot token create ada --scope admin --worker '*' --host '*'"))]
struct Create {
    /// What it is called in lists and in the audit.
    name: String,

    /// What it lets do; each scope includes those before it.
    #[arg(long, value_enum)]
    scope: Scope,

    /// With which workers: a name, with * for any number of characters. May be given several times.
    #[arg(long, value_name = "GLOB", required = true)]
    worker: Vec<String>,

    /// With routes of which hosts: shop.example, *.shop.example, or * for any. May be given several times.
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,

    /// How long it holds, such as 30d. Without it: until it is revoked.
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires: Option<std::time::Duration>,

    /// Write it to a new file that only this user may read, in place of stdout.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    to: Option<PathBuf>,

    #[command(flatten)]
    admin: Admin,
}

/// List all tokens, without the tokens themselves.
#[derive(Args)]
#[command(after_help = after_help!("  eyot token list"))]
struct List {
    #[command(flatten)]
    admin: Admin,
}

/// Revoke a token: it lets do nothing from the next request on.
#[derive(Args)]
#[command(after_help = after_help!("  eyot token revoke 0190b3c4-5d6e-7f80-9123-456789abcdef"))]
struct Revoke {
    /// The id of the token, as `eyot token list` shows it.
    id: String,

    #[command(flatten)]
    admin: Admin,
}

impl Token {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Create(create) => create.run(),
            Command::List(list) => list.run(),
            Command::Revoke(revoke) => revoke.run(),
        }
    }
}

impl Create {
    fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let connection = self.admin.connect()?;
            let expires = self.expires.map(|time| Timestamp::now().saturating_add(time)).transpose()?;
            let Self { name, scope, worker, host, .. } = &self;
            let new =
                NewToken { name: name.clone(), scope: *scope, workers: worker.clone(), hosts: host.clone(), expires };
            // Before the token is there: one that cannot be written would be lost.
            let file = self.to.as_ref().map(|path| private(path)).transpose()?;
            let made = connection.post(&["tokens"], &Once::Never, &new);
            let made: CreatedToken = made.inspect_err(|_| {
                if let Some(path) = &self.to {
                    let _ = fs::remove_file(path);
                }
            })?;
            match file {
                Some(mut file) => file.write_all(format!("{}\n", made.token).as_bytes())?,
                None => self.admin.print(&made, |made| format!("{}\n", made.token))?,
            }
            say::line(format_args!("token {} of {name}: it is not shown again", made.kept.id));
            Ok(())
        })
    }
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let list: Tokens = self.admin.connect()?.get(&["tokens"], &())?;
            self.admin.print(&list, |list| {
                let header = ["id", "name", "scope", "workers", "hosts", "ends in", "made", "by", "holds"];
                table(header, list.tokens.iter().map(row))
            })
        })
    }
}

impl Revoke {
    fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let revoked: Kept = self.admin.connect()?.delete_for(&["tokens", &self.id], &Once::Harmless)?;
            self.admin.print(&revoked, |token| format!("token {} of {} is revoked\n", token.id, token.name))
        })
    }
}

/// A file that was not there, and that only this user may read.
fn private(path: &Path) -> anyhow::Result<fs::File> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|error| wrong(format!("--to {}: {error}", path.display()), "name a file that is not there yet"))
}

fn row(token: &Kept) -> [String; 9] {
    let Kept { id, name, scope, workers, hosts, hint, created, created_by, expires, revoked } = token.clone();
    let scope = match scope {
        Scope::Read => "read",
        Scope::Deploy => "deploy",
        Scope::Admin => "admin",
    };
    let holds = match (revoked, expires) {
        (Some(revoked), _) => format!("revoked {}", when(revoked)),
        (None, Some(expires)) if expires <= Timestamp::now() => format!("expired {}", when(expires)),
        (None, Some(expires)) => format!("until {}", when(expires)),
        (None, None) => "until it is revoked".to_owned(),
    };
    let (workers, hosts) = (workers.join(", "), hosts.join(", "));
    [id, name, scope.to_owned(), workers, hosts, format!("…{hint}"), when(created), created_by, holds]
}

pub(super) fn time(text: &str) -> Result<std::time::Duration, String> {
    positive_time(text).map_err(|wrong| format!("{}; {}", wrong.why, wrong.help))
}
