//! `eyot kv`: what workers keep, looked at and changed from outside.

use std::io::{self, BufRead, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};

use super::admin::{Admin, Connection, Once, after_help, table, when};
use super::say;
use super::serve::wrong;
use super::token::time;
use crate::admin::api::shapes::{KvEntries, KvEntry, KvKey, KvKeys, KvName, KvNamespaces, KvPage};

/// Look at and change the keys and values of a worker.
#[derive(Args)]
#[command(after_help = after_help!("  eyot kv ls shop                                    its namespaces
  eyot kv ls shop sessions --prefix user:
  eyot kv get shop sessions user:7
  echo '{\"theme\":\"dark\"}' | eyot kv put shop sessions user:7 --ttl 1h
  eyot kv rm shop sessions user:7
  eyot kv export shop sessions > sessions.jsonl
  eyot kv import shop sessions sessions.jsonl"))]
pub(super) struct Kv {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Ls(Ls),
    Get(Get),
    Put(Put),
    Rm(Rm),
    Export(Export),
    Import(Import),
}

/// List the namespaces of a worker, or the keys of one.
#[derive(Args)]
#[command(after_help = after_help!("  eyot kv ls shop
  eyot kv ls shop sessions --prefix user: --limit 1000"))]
struct Ls {
    /// The name of the worker.
    worker: String,

    /// The name of the namespace, as `kv` in eyot.toml has it.
    namespace: Option<String>,

    /// Only keys that begin so.
    #[arg(long, requires = "namespace")]
    prefix: Option<String>,

    /// So many keys at most.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    #[command(flatten)]
    admin: Admin,
}

/// Where something stands.
#[derive(Args)]
struct Key {
    /// The name of the worker.
    worker: String,

    /// The name of the namespace.
    namespace: String,

    /// The key.
    key: String,
}

/// Write what stands at a key to stdout, as it is.
#[derive(Args)]
#[command(after_help = after_help!("  eyot kv get shop sessions user:7
  eyot kv get shop sessions user:7 --json"))]
struct Get {
    #[command(flatten)]
    key: Key,

    #[command(flatten)]
    admin: Admin,
}

/// Write a value, whatever stands at the key.
#[derive(Args)]
#[command(after_help = after_help!("  echo -n dark | eyot kv put shop sessions user:7
  eyot kv put shop sessions logo --from-file logo.png --metadata image/png
  echo -n 1 | eyot kv put shop sessions flag --ttl 10m"))]
struct Put {
    #[command(flatten)]
    key: Key,

    /// Take the value from a file in place of stdin.
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,

    /// What is written beside it, and listed with the key.
    #[arg(long, value_name = "TEXT")]
    metadata: Option<String>,

    /// How long it stays: 90s, 10m, 1h. Without it: for good.
    #[arg(long, value_name = "TIME", value_parser = time)]
    ttl: Option<Duration>,

    #[command(flatten)]
    admin: Admin,
}

/// Delete what stands at a key.
#[derive(Args)]
#[command(after_help = after_help!("  eyot kv rm shop sessions user:7"))]
struct Rm {
    #[command(flatten)]
    key: Key,

    #[command(flatten)]
    admin: Admin,
}

/// Write all entries of a namespace to stdout, one JSON document a line.
#[derive(Args)]
#[command(after_help = after_help!("  eyot kv export shop sessions > sessions.jsonl
  eyot kv export shop sessions --prefix user:"))]
struct Export {
    /// The name of the worker.
    worker: String,

    /// The name of the namespace.
    namespace: String,

    /// Only keys that begin so.
    #[arg(long)]
    prefix: Option<String>,

    #[command(flatten)]
    admin: Admin,
}

/// Write the entries of a file, as `eyot kv export` made it; what stands at other keys stays.
#[derive(Args)]
#[command(after_help = after_help!("  eyot kv import shop sessions sessions.jsonl
  eyot kv export shop sessions | eyot kv import shop sessions --admin https://other.example"))]
struct Import {
    /// The name of the worker.
    worker: String,

    /// The name of the namespace.
    namespace: String,

    /// The file; stdin without it.
    file: Option<PathBuf>,

    #[command(flatten)]
    admin: Admin,
}

/// So many keys are asked for at once.
const PAGE: u32 = 1000;

/// So many entries are sent together, and no more bytes of values unless one has more.
const TOGETHER: (usize, usize) = (100, 4 << 20);

impl Kv {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Ls(ls) => ls.run(),
            Command::Get(get) => get.run(),
            Command::Put(put) => put.run(),
            Command::Rm(rm) => rm.run(),
            Command::Export(export) => export.run(),
            Command::Import(import) => import.run(),
        }
    }
}

impl Ls {
    fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let connection = self.admin.connect()?;
            let Some(namespace) = &self.namespace else {
                let found: KvNamespaces = connection.get(&["workers", &self.worker, "kv"], &())?;
                return self.admin.print(&found, |found| match found.namespaces.is_empty() {
                    true => format!("{} has written no keys\n", self.worker),
                    false => {
                        let row =
                            |one: &crate::admin::api::shapes::KvNamespace| [one.name.clone(), one.keys.to_string()];
                        table(["namespace", "keys"], found.namespaces.iter().map(row))
                            + &format!("{} bytes in all\n", found.bytes)
                    }
                });
            };
            let path = ["workers", &self.worker, "kv", namespace];
            let page = keys(&connection, &path, self.prefix.as_deref(), self.limit as usize)?;
            self.admin.print(&page, |page| {
                let row = |key: &KvKey| {
                    let expires = key.expires.map_or_else(|| "–".to_owned(), when);
                    [key.key.clone(), expires, key.metadata.clone().unwrap_or_default()]
                };
                table(["key", "expires", "metadata"], page.keys.iter().map(row))
            })
        })
    }
}

/// The first so many keys, however many pages that takes.
fn keys(connection: &Connection, path: &[&str], prefix: Option<&str>, limit: usize) -> anyhow::Result<KvPage> {
    let mut all = KvPage { keys: Vec::new(), next: None };
    loop {
        let wanted = u32::try_from(limit - all.keys.len()).unwrap_or(PAGE).min(PAGE);
        let asked = KvKeys { prefix: prefix.map(str::to_owned), after: all.next.take(), limit: Some(wanted) };
        let page: KvPage = connection.get(path, &asked)?;
        all.keys.extend(page.keys);
        all.next = page.next;
        if all.next.is_none() || all.keys.len() >= limit {
            return Ok(all);
        }
    }
}

impl Key {
    fn path(&self) -> [&str; 5] {
        ["workers", &self.worker, "kv", &self.namespace, "entry"]
    }

    fn name(&self) -> KvName {
        KvName { key: self.key.clone() }
    }
}

impl Get {
    fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let entry: KvEntry = self.admin.connect()?.get(&self.key.path(), &self.key.name())?;
            if self.admin.wants_json() {
                return self.admin.print(&entry, |_| String::new());
            }
            let value = BASE64_STANDARD.decode(&entry.value).context("the node's answer")?;
            io::stdout().lock().write_all(&value).context("stdout")
        })
    }
}

impl Put {
    fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let mut value = Vec::new();
            match &self.from_file {
                Some(file) => value = std::fs::read(file).with_context(|| file.display().to_string())?,
                None => _ = io::stdin().lock().read_to_end(&mut value).context("the value cannot be read")?,
            }
            let expires = self.ttl.map(after).transpose()?;
            let Key { worker, namespace, key } = &self.key;
            let entry = KvEntry {
                key: key.clone(),
                value: BASE64_STANDARD.encode(&value),
                metadata: self.metadata.clone(),
                expires,
            };
            let entries = KvEntries { entries: vec![entry] };
            self.admin.connect()?.put_only(&["workers", worker, "kv", namespace], &entries)?;
            let written =
                serde_json::json!({ "worker": worker, "namespace": namespace, "key": key, "bytes": value.len() });
            self.admin.print(&written, |_| format!("{worker}/{namespace}: {key} has {} bytes\n", value.len()))
        })
    }
}

fn after(ttl: Duration) -> anyhow::Result<Timestamp> {
    Ok(Timestamp::now().checked_add(SignedDuration::try_from(ttl)?)?)
}

impl Rm {
    fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let Key { worker, namespace, key } = &self.key;
            self.admin.connect()?.delete_with(&self.key.path(), &self.key.name(), &Once::Harmless)?;
            let gone = serde_json::json!({ "worker": worker, "namespace": namespace, "removed": key });
            self.admin.print(&gone, |_| format!("{worker}/{namespace}: nothing stands at {key}\n"))
        })
    }
}

impl Export {
    fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let connection = self.admin.connect()?;
            let path = ["workers", &self.worker, "kv", &self.namespace];
            let all = keys(&connection, &path, self.prefix.as_deref(), usize::MAX)?;
            for KvKey { key, .. } in all.keys {
                let path = [&path[..], &["entry"]].concat();
                let entry: KvEntry = connection.get(&path, &KvName { key })?;
                say::result(&(serde_json::to_string(&entry)? + "\n"))?;
            }
            Ok(())
        })
    }
}

fn entry(line: &str, number: u32) -> anyhow::Result<KvEntry> {
    serde_json::from_str(line).map_err(|error| {
        let message = format!("line {number} is no entry: {error}");
        wrong(message, "give it what `eyot kv export` wrote; entries before this line may be written")
    })
}

impl Import {
    fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let connection = self.admin.connect()?;
            let lines: Box<dyn BufRead> = match &self.file {
                Some(file) => {
                    let open = std::fs::File::open(file).with_context(|| file.display().to_string())?;
                    Box::new(io::BufReader::new(open))
                }
                None => Box::new(io::stdin().lock()),
            };
            let path = ["workers", &self.worker, "kv", &self.namespace];
            let (mut together, mut bytes, mut written) = (KvEntries { entries: Vec::new() }, 0, 0);
            let mut lines = lines.lines().zip(1..).peekable();
            while let Some((line, number)) = lines.next() {
                let entry = entry(&line.context("the entries cannot be read")?, number)?;
                bytes += entry.value.len();
                together.entries.push(entry);
                if together.entries.len() >= TOGETHER.0 || bytes >= TOGETHER.1 || lines.peek().is_none() {
                    connection.put_only(&path, &together)?;
                    written += together.entries.len();
                    (together.entries, bytes) = (Vec::new(), 0);
                }
            }
            let done = serde_json::json!({ "worker": self.worker, "namespace": self.namespace, "written": written });
            self.admin.print(&done, |_| format!("{}/{}: {written} entries written\n", self.worker, self.namespace))
        })
    }
}
