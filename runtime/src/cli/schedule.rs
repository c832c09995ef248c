//! `eyot schedule`: when workers' schedules are due, and what their runs came to.

use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::admin::{Admin, Once, after_help, plain, table, when};
use crate::admin::api::shapes::{Schedule as Shown, ScheduleHistory, ScheduleRun, ScheduleRuns, Schedules};

/// Look at the schedules of a worker, and run them now.
#[derive(Args)]
#[command(after_help = after_help!("  eyot schedule ls shop
  eyot schedule history shop nightly-report
  eyot schedule run shop nightly-report"))]
pub(super) struct Schedule {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Ls(Ls),
    Run(Run),
    History(History),
}

/// List the schedules of a worker: when each is due next, and what its latest run came to.
#[derive(Args)]
#[command(after_help = after_help!("  eyot schedule ls shop
  eyot schedule ls shop --json"))]
struct Ls {
    /// The name of the worker.
    worker: String,

    #[command(flatten)]
    admin: Admin,
}

/// Run a schedule now, whenever it is due.
#[derive(Args)]
#[command(after_help = after_help!("  eyot schedule run shop nightly-report"))]
struct Run {
    /// The name of the worker.
    worker: String,

    /// How it calls the schedule.
    schedule: String,

    #[command(flatten)]
    admin: Admin,
}

/// Show the latest runs of a schedule: when they were due, how long they took, what they came to.
#[derive(Args)]
#[command(after_help = after_help!("  eyot schedule history shop nightly-report
  eyot schedule history shop nightly-report --limit 1000 --json"))]
struct History {
    /// The name of the worker.
    worker: String,

    /// How it calls the schedule.
    schedule: String,

    /// So many runs at most.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,

    #[command(flatten)]
    admin: Admin,
}

impl Schedule {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Ls(ls) => ls.run(),
            Command::Run(run) => run.run(),
            Command::History(history) => history.run(),
        }
    }
}

impl Ls {
    fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let found: Schedules = self.admin.connect()?.get(&["workers", &self.worker, "schedules"], &())?;
            self.admin.print(&found, |found| match found.schedules.is_empty() {
                true => format!("{} has no schedules\n", self.worker),
                false => table(["schedule", "next", "last", "outcome"], found.schedules.iter().map(row)),
            })
        })
    }
}

fn row(Shown { name, next, last }: &Shown) -> [String; 4] {
    let (due, outcome) = match last {
        Some(run) => (when(run.due), outcome(run).to_owned()),
        None => (nothing(), nothing()),
    };
    [name.clone(), next.map_or_else(nothing, when), due, outcome]
}

fn nothing() -> String {
    "–".to_owned()
}

fn outcome(run: &ScheduleRun) -> &str {
    match (&run.outcome, run.began) {
        (Some(outcome), _) => outcome,
        (None, Some(_)) => "runs",
        (None, None) => "waits",
    }
}

impl Run {
    fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let Self { worker, schedule, admin } = &self;
            admin.connect()?.post_only(&["workers", worker, "schedules", schedule, "runs"], &Once::Harmless)?;
            let asked = serde_json::json!({ "worker": worker, "schedule": schedule, "asked": true });
            admin.print(&asked, |_| format!("{worker}/{schedule}: a run was asked for\n"))
        })
    }
}

impl History {
    fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let asked = ScheduleRuns { limit: Some(self.limit) };
            let path = ["workers", &self.worker, "schedules", &self.schedule, "runs"];
            let found: ScheduleHistory = self.admin.connect()?.get(&path, &asked)?;
            self.admin.print(&found, |found| match found.runs.is_empty() {
                true => format!("{}/{} has not run\n", self.worker, self.schedule),
                false => table(["due", "began", "took", "outcome", "reason"], found.runs.iter().map(described)),
            })
        })
    }
}

fn described(run: &ScheduleRun) -> [String; 5] {
    let took = |(began, ended): (Timestamp, Timestamp)| {
        let took = Duration::try_from(ended.duration_since(began)).unwrap_or_default();
        humantime::format_duration(Duration::from_millis(took.as_millis() as u64)).to_string()
    };
    [
        when(run.due),
        run.began.map_or_else(nothing, when),
        run.began.zip(run.ended).map_or_else(nothing, took),
        outcome(run).to_owned(),
        run.reason.as_deref().map(plain).unwrap_or_default(),
    ]
}
