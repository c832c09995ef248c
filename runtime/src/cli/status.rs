//! `eyot status`: whether a node is as it should be.

use std::time::Duration;

use anyhow::bail;
use clap::Args;

use super::admin::{Admin, after_help};
use super::workers::faults;
use crate::admin::api::shapes::{Faulty, OrderedCertificate, Status as State};

/// Tell how a node stands: whether it is ready, which workers should serve and do not, and the certificates that it orders.
#[derive(Args)]
#[command(after_help = after_help!("  eyot status
  eyot status --json

It could not be done where the node is not ready, a worker does not serve or a certificate is not there: then the exit code is 1."))]
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
                (false, _) => bail!("the node is not ready"),
                (true, []) => there_are_all(&state.certificates),
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
    head + &each.collect::<String>() + &state.certificates.iter().map(certificate).collect::<String>()
}

fn certificate(OrderedCertificate { names, not_after, ordered_at, trouble }: &OrderedCertificate) -> String {
    let names = names.join(", ");
    let trouble = trouble.as_ref().map(|why| format!("; the last order failed: {why}")).unwrap_or_default();
    match not_after {
        Some(until) => format!("certificate for {names} until {until}, ordered anew at {ordered_at}{trouble}\n"),
        None => format!("no certificate yet for {names}, ordered at {ordered_at}{trouble}\n"),
    }
}

fn there_are_all(certificates: &[OrderedCertificate]) -> anyhow::Result<()> {
    let missing = certificates.iter().filter(|one| one.not_after.is_none()).flat_map(|one| &one.names);
    let missing: Vec<&str> = missing.map(String::as_str).collect();
    match missing.as_slice() {
        [] => Ok(()),
        missing => bail!("there is no certificate yet for {}", missing.join(", ")),
    }
}
