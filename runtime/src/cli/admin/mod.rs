//! The client of the admin API: what all subcommands that talk to a running node have in common.
//!
//! The way in: the options [`Admin`], flattened into a subcommand's own; [`Admin::connect`] gives a [`Connection`], whose answers are the
//! shapes that the server writes. What it cannot do is a [`Refusal`], which says what to do about it and ends with an exit code.
//! Invariants: a token is never an argument; it goes to loopback or through TLS only; a change is made once, however often it is sent.

mod connection;
mod page;
mod refusal;
mod shares;
mod table;
mod upload;

pub(super) use connection::{Connection, Once};
pub(super) use page::Pages;
pub(super) use refusal::{Refusal, Shown};
pub(super) use shares::{Percent, serves, shown, with};
pub(super) use table::{plain, ruled, table, when};
pub(super) use upload::Upload;

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use url::Url;

use super::say;
use super::serve::wrong;

/// How exit codes are told in the help of each subcommand.
macro_rules! after_help {
    ($examples:literal) => {
        concat!(
            "Examples:\n",
            $examples,
            "\n\nExit codes: 0 when it is done, 1 when it could not be done, 2 when what was asked for is wrong: arguments, eyot.toml or
component, or a token that is missing or does not let do it."
        )
    };
}
pub(super) use after_help;

/// Where the node is, and who asks.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of the admin API")]
pub(super) struct Admin {
    /// Where the node's [admin] listener is.
    #[arg(long, value_name = "URL", env = "EYOT_ADMIN", default_value = "http://127.0.0.1:9090", value_parser = url)]
    admin: Url,

    /// File that holds the token, such as admin.token in the node's store. Or EYOT_TOKEN: the token itself.
    #[arg(long, value_name = "FILE", env = "EYOT_TOKEN_FILE")]
    token_file: Option<PathBuf>,

    /// Print what the node answers, as one JSON document.
    #[arg(long)]
    json: bool,
}

/// The variable that holds the token itself.
const TOKEN: &str = "EYOT_TOKEN";

impl Admin {
    /// Finds the token; nothing is asked yet.
    pub(super) fn connect(&self) -> anyhow::Result<Connection> {
        Connection::new(&self.admin, self.token()?)
    }

    /// Whether what is printed is for a program.
    pub(super) fn wants_json(&self) -> bool {
        self.json
    }

    /// Prints a result: the document as it came, or what is said of it.
    pub(super) fn print<T: Serialize>(&self, document: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        match self.json {
            true => say::result(&(serde_json::to_string_pretty(document)? + "\n")),
            false => say::result(&text(document)),
        }
    }

    /// Runs a subcommand; with `--json`, a refusal of the node is a document like any other.
    pub(super) fn run(&self, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let done = work();
        if self.json
            && let Err(error) = &done
            && let Some(problem) = Refusal::document(error)
        {
            say::result(&(serde_json::to_string_pretty(&problem)? + "\n"))?;
        }
        done
    }

    /// The variable goes before the file only where no file was named.
    fn token(&self) -> anyhow::Result<Option<String>> {
        let told = match &self.token_file {
            Some(file) => {
                let help = "name the file of a token; a node writes its first one to admin.token in its store";
                let read = std::fs::read_to_string(file);
                Some(read.map_err(|error| wrong(format!("--token-file {}: {error}", file.display()), help))?)
            }
            None => match std::env::var(TOKEN) {
                Ok(token) => Some(token),
                Err(std::env::VarError::NotPresent) => None,
                Err(error) => return Err(error).context(TOKEN),
            },
        };
        let token = told.map(|text| text.trim().to_owned()).filter(|token| !token.is_empty());
        if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(wrong("this is no token".to_owned(), "a token is one word, as `eyot token create` shows it"));
        }
        Ok(token)
    }
}

/// A token is sent in the clear to this machine only.
fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; write http://127.0.0.1:9090"))?;
    let is_here = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_here => Ok(url),
        "http" => Err("your token would be sent in the clear; reach the node by `ssh -L 9090:127.0.0.1:9090 NODE`, \
                       or by https"
            .to_owned()),
        _ => Err("write http://127.0.0.1:9090".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_in_the_clear_to_this_machine_only() {
        for good in ["http://127.0.0.1:9090", "http://localhost:1", "http://[::1]:9090/", "https://node.example"] {
            assert!(url(good).is_ok(), "{good}");
        }
        for bad in ["http://10.0.0.7:9090", "http://node.example", "127.0.0.1:9090", "ftp://localhost", ""] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }
}
