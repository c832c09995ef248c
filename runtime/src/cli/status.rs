//! `eyot status`: whether a node is as it should be.

use std::time::Duration;

use anyhow::bail;
use clap::Args;

use super::admin::{Admin, after_help};
use super::workers::faults;
use crate::admin::api::shapes::{Faulty, Status as State};

/// Tell how a node stands: whether it is ready, and which workers should serve and do not.
#[derive(Args)]
#[command(after_help = after_help!("  eyot status
  eyot status --json

It could not be done where the node is not ready or a worker does not serve: then the exit code is 1."))]
pub(super) struct Status {
    #[command(flatten)]
    admin: Admin,
}

impl Status {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let state: State = self.admin.connect()?.get(&["status"], &())?;
            self.admin.print(&state, text)?;
            let names: Vec<_> = state.faulty.iter().map(|faulty| faulty.worker.as_str()).collect();
            match (state.ready, names.as_slice()) {
                (true, []) => Ok(()),
                (false, _) => bail!("the node is not ready"),
                (true, names) => bail!("not every worker serves: {}", names.join(", ")),
            }
        })
    }
}

fn text(state: &State) -> String {
    let State { version, ready, uptime_seconds, serving, faulty, .. } = state;
    let ready = if *ready { "ready" } else { "not ready" };
    let time = humantime::format_duration(Duration::from_secs(*uptime_seconds));
    let head = format!("eyot {version}, {ready}, up for {time}; deployed workers that serve: {serving}\n");
    let each = faulty.iter().map(|Faulty { worker, faults: all }| faults(worker, all));
    head + &each.collect::<String>()
}
