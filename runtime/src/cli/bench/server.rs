//! The process that serves, seen from the one that measures.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::protocol::{Compiled, Order, Reply, Serving, Setup, Used};
use crate::activate::compiler::this_program;
use crate::cli::CHILD_OF_BENCH;
use crate::config::Diagnostics;

/// How long it may take to end; then it is ended.
const END: Duration = Duration::from_secs(10);

/// So much of what it said last is told when it falls over, in bytes.
const LAST_WORDS: usize = 2000;

/// A process of its own; dropped, it is killed.
pub(super) struct Server {
    process: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Server {
    /// Starts one, which says what it has to say in a file of this folder.
    pub(super) fn start(setup: &Setup, folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join("server.log");
        let mut command = Command::from(this_program());
        command.args([CHILD_OF_BENCH, &serde_json::to_string(setup)?]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&log)?).kill_on_drop(true);
        let mut process = command.spawn().context("the process that serves cannot be started")?;
        let to = process.stdin.take().context("it has no stdin")?;
        let from = BufReader::new(process.stdout.take().context("it has no stdout")?).lines();
        Ok(Self { process, to, from, log })
    }

    pub(super) async fn compile(&mut self) -> anyhow::Result<Compiled> {
        match self.order(Order::Compile).await? {
            Reply::Compiled(compiled) => Ok(compiled),
            other => Err(unexpected(other)),
        }
    }

    pub(super) async fn serve(&mut self) -> anyhow::Result<Serving> {
        match self.order(Order::Serve).await? {
            Reply::Serving(serving) => Ok(serving),
            other => Err(unexpected(other)),
        }
    }

    pub(super) async fn used(&mut self, order: Order) -> anyhow::Result<Used> {
        match self.order(order).await? {
            Reply::Used(used) => Ok(used),
            other => Err(unexpected(other)),
        }
    }

    /// Ends it in good order.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        let Self { mut process, to, .. } = self;
        drop(to);
        if tokio::time::timeout(END, process.wait()).await.is_err() {
            process.kill().await?;
        }
        Ok(())
    }

    async fn order(&mut self, order: Order) -> anyhow::Result<Reply> {
        let line = serde_json::to_string(&order)? + "\n";
        let asked = async {
            self.to.write_all(line.as_bytes()).await?;
            self.from.next_line().await
        };
        match asked.await {
            Ok(Some(reply)) => Ok(serde_json::from_str(&reply)?),
            _ => bail!("the process that serves has ended{}", self.last_words()),
        }
    }

    fn last_words(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let words = String::from_utf8_lossy(&log[log.len().saturating_sub(LAST_WORDS)..]).trim().to_owned();
        if words.is_empty() { String::new() } else { format!("; it said last: {words}") }
    }
}

fn unexpected(reply: Reply) -> anyhow::Error {
    match reply {
        Reply::Faults(faults) => Diagnostics(faults).into(),
        Reply::Failed(why) => anyhow::anyhow!(why),
        other => anyhow::anyhow!("the process that serves answered out of turn: {other:?}"),
    }
}
