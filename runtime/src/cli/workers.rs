//! `eyot workers`: what is deployed.

use clap::Args;

use super::admin::{Admin, after_help, plain, shown, table, when};
use crate::admin::api::shapes::{Fault, Worker, Workers as List};

/// List the workers that were deployed, with what serves of them.
#[derive(Args)]
#[command(after_help = after_help!("  eyot workers
  eyot workers --json"))]
pub(super) struct Workers {
    #[command(flatten)]
    admin: Admin,
}

impl Workers {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let list: List = self.admin.connect()?.get(&["workers"], &())?;
            self.admin.print(&list, text)
        })
    }
}

fn text(list: &List) -> String {
    if list.workers.is_empty() {
        return "nothing is deployed yet, or your token is for none of it; see `eyot deploy --help`\n".to_owned();
    }
    let row = |worker: &Worker| {
        let state = match (&worker.deployment, worker.serves) {
            (_, true) => "serves",
            (Some(deployment), false) if deployment.versions.is_empty() => "deleted",
            (Some(_), false) => "faulty",
            (None, false) => "never served",
        };
        let versions = worker.deployment.as_ref().filter(|deployment| !deployment.versions.is_empty());
        let versions = versions.map_or_else(String::new, |deployment| shown(&deployment.versions));
        let since = worker.deployment.as_ref().map_or_else(String::new, |deployment| when(deployment.created));
        [worker.name.clone(), state.to_owned(), versions, since]
    };
    let mut text = table(["worker", "state", "versions", "since"], list.workers.iter().map(row));
    for worker in &list.workers {
        text += &faults(&worker.name, &worker.faults);
    }
    text
}

/// Why a worker does not serve.
pub(super) fn faults(worker: &str, faults: &[Fault]) -> String {
    let line = |fault: &Fault| {
        let help = fault.help.as_ref().map_or_else(String::new, |help| format!("\n  help: {}", plain(help)));
        let place = match (fault.file.as_str(), fault.line) {
            ("", _) => String::new(),
            (file, 0) => format!("{}: ", plain(file)),
            (file, line) => format!("{}:{line}:{}: ", plain(file), fault.column),
        };
        format!("\n{worker} does not serve: {place}{}{help}\n", plain(&fault.message))
    };
    faults.iter().map(line).collect()
}
