//! `eyot rollout`: a version comes to its worker's requests step by step.

use clap::Args;

use super::admin::{self, Admin, Once, Percent, after_help};
use super::serve::wrong;
use crate::admin::api::shapes::{Deployment, NewDeployment, Purpose, Worker};

/// Give a version a part of its worker's requests; the versions that serve share the rest.
#[derive(Args)]
#[command(after_help = after_help!("  eyot rollout shop 7 10%
  eyot rollout shop 7 50% --note 'no errors for a day'
  eyot rollout shop 7 100%                            this ends it: version 7 has all requests"))]
pub(super) struct Rollout {
    /// The name of the worker.
    worker: String,

    /// The number of the version.
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    version: u32,

    /// Its share, such as 10%.
    percent: Percent,

    /// What is said of it, for those who read the history.
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,

    /// Ask the version for this path before it serves, if it does not yet; it does only if it answers with a status below 500.
    #[arg(long, value_name = "PATH")]
    probe: Option<String>,

    #[command(flatten)]
    admin: Admin,
}

impl Rollout {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let connection = self.admin.connect()?;
            let Self { worker: name, version, percent, .. } = &self;
            let worker: Worker = connection.get(&["workers", name], &())?;
            let before = worker.deployment.as_ref();
            let serving = before.map(|deployment| deployment.versions.as_slice()).unwrap_or_default();
            let versions = admin::with(serving, *version, *percent).ok_or_else(|| {
                let message =
                    format!("no other version of `{name}` serves, so nothing can have the rest of its requests");
                wrong(message, "write 100%")
            })?;
            let (after, note) = (before.map(|before| before.id.clone()), self.note.clone());
            let probe = self.probe.clone();
            let new = NewDeployment { versions, why: Some(Purpose::Rollout), after, note, probe };
            let made: Deployment = connection.post(&["workers", name, "deployments"], &Once::keyed(), &new)?;
            self.admin.print(&made, |made| format!("{name}: {}\n", admin::serves(&made.versions)))
        })
    }
}
