//! `eyot queue`: messages of workers, looked at and changed from outside.

use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::admin::{Admin, Once, after_help, plain, table, when};
use super::token::time;
use crate::admin::api::shapes::{
    NewQueueMessage, NewQueueMessages, Queue as Shown, QueueCount, QueueMessage, QueueMessages, QueuePeek, QueueSent,
    QueueState, Queues, Redrive as Back,
};

/// Look at and change the queues of a worker.
#[derive(Args)]
#[command(after_help = after_help!("  eyot queue ls mailer
  eyot queue peek mailer mail-dead
  eyot queue redrive mailer mail                        its dead letters once more
  echo '{\"to\":\"a@example.com\"}' | eyot queue send mailer mail
  eyot queue pause mailer mail
  eyot queue purge mailer mail-dead"))]
pub(super) struct Queue {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Ls(Ls),
    Peek(Peek),
    Send(Send),
    Redrive(Redrive),
    Purge(Purge),
    Pause(Pause),
    Resume(Resume),
}

/// List the queues of a worker, with what is in them.
#[derive(Args)]
#[command(after_help = after_help!("  eyot queue ls mailer
  eyot queue ls mailer --json"))]
struct Ls {
    /// The name of the worker.
    worker: String,

    #[command(flatten)]
    admin: Admin,
}

/// A queue.
#[derive(Args)]
struct Which {
    /// The name of the worker that works it off.
    worker: String,

    /// How that worker calls it.
    queue: String,
}

/// Show the oldest messages of a queue. Nothing about them changes.
#[derive(Args)]
#[command(after_help = after_help!("  eyot queue peek mailer mail-dead
  eyot queue peek mailer mail --limit 100 --json"))]
struct Peek {
    #[command(flatten)]
    which: Which,

    /// So many messages at most.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,

    #[command(flatten)]
    admin: Admin,
}

/// Send a message, as the worker itself would.
#[derive(Args)]
#[command(after_help = after_help!("  echo '{\"to\":\"a@example.com\"}' | eyot queue send mailer mail --content-type application/json
  eyot queue send mailer mail --from-file letter.eml --delay 10m"))]
struct Send {
    #[command(flatten)]
    which: Which,

    /// Take its body from a file in place of stdin.
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,

    /// What its bytes are.
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,

    /// How long it waits before it is delivered: 90s, 10m, 1h.
    #[arg(long, value_name = "TIME", value_parser = time)]
    delay: Option<Duration>,

    /// Sent again under the same key within a day, it is sent once.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,

    #[command(flatten)]
    admin: Admin,
}

/// Move dead letters back into their queue; their deliveries are counted anew.
#[derive(Args)]
#[command(after_help = after_help!("  eyot queue redrive mailer mail
  eyot queue redrive mailer mail --from other"))]
struct Redrive {
    #[command(flatten)]
    which: Which,

    /// Messages of another queue of the worker in place of the dead letters.
    #[arg(long, value_name = "QUEUE")]
    from: Option<String>,

    #[command(flatten)]
    admin: Admin,
}

/// Remove all messages of a queue, those that are being worked off, too.
#[derive(Args)]
#[command(after_help = after_help!("  eyot queue purge mailer mail-dead"))]
struct Purge {
    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    admin: Admin,
}

/// Deliver nothing of a queue until it is resumed; it takes messages.
#[derive(Args)]
#[command(after_help = after_help!("  eyot queue pause mailer mail"))]
struct Pause {
    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    admin: Admin,
}

/// Deliver messages of a queue again.
#[derive(Args)]
#[command(after_help = after_help!("  eyot queue resume mailer mail"))]
struct Resume {
    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    admin: Admin,
}

impl Queue {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Ls(ls) => ls.run(),
            Command::Peek(peek) => peek.run(),
            Command::Send(send) => send.run(),
            Command::Redrive(redrive) => redrive.run(),
            Command::Purge(purge) => purge.run(),
            Command::Pause(pause) => set_paused(&pause.admin, &pause.which, true),
            Command::Resume(resume) => set_paused(&resume.admin, &resume.which, false),
        }
    }
}

impl Which {
    fn path(&self) -> [&str; 4] {
        ["workers", &self.worker, "queues", &self.queue]
    }

    fn below<'a>(&'a self, last: &'a str) -> [&'a str; 5] {
        ["workers", &self.worker, "queues", &self.queue, last]
    }

    fn name(&self) -> String {
        format!("{}/{}", self.worker, self.queue)
    }
}

impl Ls {
    fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let found: Queues = self.admin.connect()?.get(&["workers", &self.worker, "queues"], &())?;
            self.admin.print(&found, |found| match found.queues.is_empty() {
                true => format!("{} has no queues\n", self.worker),
                false => {
                    let header = ["queue", "messages", "bytes", "oldest", "dead letters", "state"];
                    table(header, found.queues.iter().map(row))
                }
            })
        })
    }
}

fn row(queue: &Shown) -> [String; 6] {
    let state = match (queue.paused, &queue.dead_letter) {
        (true, _) => "paused",
        (false, Some(_)) => "worked off",
        (false, None) => "kept",
    };
    let dash = || "–".to_owned();
    [
        queue.name.clone(),
        queue.messages.to_string(),
        queue.bytes.to_string(),
        queue.oldest.map_or_else(dash, when),
        queue.dead_letter.clone().unwrap_or_else(dash),
        state.to_owned(),
    ]
}

impl Peek {
    fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let asked = QueuePeek { limit: Some(self.limit) };
            let found: QueueMessages = self.admin.connect()?.get(&self.which.below("messages"), &asked)?;
            self.admin.print(&found, |found| match found.messages.is_empty() {
                true => format!("{} is empty\n", self.which.name()),
                false => found.messages.iter().map(described).collect(),
            })
        })
    }
}

/// So much of a body is shown, in characters.
const SHOWN: usize = 200;

fn described(message: &QueueMessage) -> String {
    let QueueMessage { id, sent, due, attempts, reason, content_type, body } = message;
    let body = BASE64_STANDARD.decode(body).unwrap_or_default();
    let shown: String = match std::str::from_utf8(&body) {
        Ok(text) if text.chars().count() > SHOWN => text.chars().take(SHOWN).chain(['…']).collect(),
        Ok(text) => text.to_owned(),
        Err(_) => format!("{} bytes that are no text", body.len()),
    };
    let waits = if *due > Timestamp::now() { format!(", due {}", when(*due)) } else { String::new() };
    let kind = content_type.as_deref().map_or_else(String::new, |kind| format!(", {}", plain(kind)));
    let why = reason.as_deref().map_or_else(String::new, |reason| format!("  {}\n", plain(reason)));
    format!("{id}  sent {}, delivered {attempts}×{waits}{kind}\n{why}  {}\n", when(*sent), plain(shown.trim_end()))
}

impl Send {
    fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let mut body = Vec::new();
            match &self.from_file {
                Some(file) => body = std::fs::read(file).with_context(|| file.display().to_string())?,
                None => _ = io::stdin().lock().read_to_end(&mut body).context("the body cannot be read")?,
            }
            let due = match self.delay {
                Some(delay) => Some(Timestamp::now().checked_add(SignedDuration::try_from(delay)?)?),
                None => None,
            };
            // What is asked again because there was no answer is sent once.
            let key = self.idempotency_key.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
            let message = NewQueueMessage {
                body: BASE64_STANDARD.encode(&body),
                content_type: self.content_type.clone(),
                due,
                idempotency_key: Some(key),
            };
            let messages = NewQueueMessages { messages: vec![message] };
            let sent: QueueSent =
                self.admin.connect()?.post(&self.which.below("messages"), &Once::Harmless, &messages)?;
            self.admin.print(&sent, |sent| sent.ids.iter().map(|id| format!("{id}\n")).collect())
        })
    }
}

impl Redrive {
    fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let asked = Back { from: self.from.clone() };
            let moved: QueueCount =
                self.admin.connect()?.post(&self.which.below("redrive"), &Once::Harmless, &asked)?;
            self.admin.print(&moved, |moved| format!("{}: {} messages came back\n", self.which.name(), moved.messages))
        })
    }
}

impl Purge {
    fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let gone: QueueCount = self.admin.connect()?.delete_for(&self.which.below("messages"), &Once::Harmless)?;
            self.admin.print(&gone, |gone| format!("{}: {} messages removed\n", self.which.name(), gone.messages))
        })
    }
}

fn set_paused(admin: &Admin, which: &Which, paused: bool) -> anyhow::Result<()> {
    admin.run(|| {
        admin.connect()?.put_only(&which.path(), &QueueState { paused })?;
        let state = serde_json::json!({ "worker": which.worker, "queue": which.queue, "paused": paused });
        let word = if paused { "paused" } else { "delivers" };
        admin.print(&state, |_| format!("{} {word}\n", which.name()))
    })
}
