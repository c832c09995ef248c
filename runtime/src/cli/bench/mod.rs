//! `eyot bench`: what a request costs in a node of ours, beside plain hyper in the same process, and beside other servers.
//!
//! May import: what every subcommand may, and of its siblings `single`, `options` and `say`. The way in: [`Bench::run`], and [`child::run`]
//! for the process that is measured. `measure` has the rounds, `load` the load generator, `report` the shape of what comes out, and
//! `table`, `html` and `compare` show it. `scenario` says what can be measured; a further scenario is one more arm of each of its
//! functions.
//!
//! Invariants: what is measured is a node as people run it, with limits, metrics, an access log and confined, in a process and on a core
//! of its own; a subject that answers wrongly makes no figure and ends with exit code 1; latencies of an open loop count from when a
//! request was due; figures that would be guesses are left out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::say;
use super::serve::wrong;
use crate::config::Diagnostics;
use crate::ingress::raise_descriptors;

mod arguments;
mod chart;
pub(super) mod child;
mod compare;
mod figure;
mod html;
mod link;
mod load;
mod loops;
mod machine;
mod measure;
mod medians;
mod note;
mod output;
mod plain;
mod progress;
mod protocol;
mod report;
mod scenario;
mod server;
mod stand;
mod subject;
mod table;

use arguments::{command, duration, header, path, rate};
use machine::Machine;
use measure::{Measured, Plan};
use medians::medians;
use output::Output;
use progress::Progress;
use protocol::Asked;
use report::{FORMAT, Method, Report};
use scenario::Scenario;
use subject::{Local, Remote, warm_up};

/// Measure what a request to a component costs, or load servers.
#[derive(Args)]
#[command(
    override_usage = "eyot bench [OPTIONS] <X.wasm|URL>\n       eyot bench --compare <BEFORE.json> <AFTER.json>",
    after_help = "Examples:
  eyot bench hello.wasm
  eyot bench hello.wasm --against http://127.0.0.1:3000/ --concurrency 32 --html hello.html
  eyot bench hello.wasm --scenario warm --rounds 1 --duration 2s
  eyot bench http://127.0.0.1:8080/ --against http://127.0.0.1:3000/ --rate 2000
  eyot bench hello.wasm --json before.json
  eyot bench --compare before.json after.json

The component is served by a node with its limits, metrics, an access log and nothing to reach, on one core; the load comes from
another. Beside it, plain hyper in the same process answers with the same bytes: the limit, to which the ratios are.

Exit codes: 0 when all answers were right (with --compare: when nothing got worse beyond noise), 1 when not or when a subject
does not start, 2 when the input is wrong."
)]
pub(super) struct Bench {
    /// A component to serve and measure, or the URL of a server to load.
    #[arg(value_name = "X.wasm|URL", required_unless_present = "compare")]
    what: Option<String>,

    /// Load this server too; may be repeated.
    #[arg(long, value_name = "URL")]
    against: Vec<String>,

    /// What to measure of a component; all that there is by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    scenario: Vec<Scenario>,

    /// How many connections ask at once.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,32,256", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: Vec<u32>,

    /// Of each loop, after its warm-up.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    duration: Duration,

    /// How often everything is measured; from 5 on, --compare can tell noise from change.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// Requests a second of the open loop [default: half of what the slowest subject answers in the closed loop].
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,

    /// The path and query that a component is asked for.
    #[arg(long, value_name = "PATH", default_value = "/", value_parser = path)]
    path: String,

    /// Add a header field to each request; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,

    /// Write every run and the medians there; `-` is stdout.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write a page with charts there.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Tell noise from change between two files of --json.
    #[arg(long, num_args = 2, value_names = ["BEFORE.json", "AFTER.json"], exclusive = true)]
    compare: Option<Vec<PathBuf>>,
}

impl Bench {
    pub(super) fn run(self) -> anyhow::Result<()> {
        if let Some([before, after]) = self.compare.as_deref() {
            return compare::run(before, after);
        }
        let folder = tempfile::tempdir().context("there is no folder for compiled code")?;
        let plan = self.plan(folder.path())?;
        let open = |path: &Option<PathBuf>| path.as_deref().map(Output::open).transpose().map_err(Diagnostics::from);
        let (json, html) = (open(&self.json)?, open(&self.html)?);
        let report = measured(&plan)?;
        let text = table::text(&report);
        // Results go to stdout, where there is place for one.
        match json {
            Some(Output::Stdout) => say::line(text.trim_end()),
            _ => say::result(&text)?,
        }
        if let Some(output) = json {
            output.write(&(serde_json::to_string_pretty(&report)? + "\n"))?;
        }
        if let Some(output) = html {
            output.write(&html::page(&report)?)?;
        }
        match &*report.faults {
            [] => Ok(()),
            [fault] => Err(anyhow::anyhow!("not all was right: {fault}")),
            [first, rest @ ..] => Err(anyhow::anyhow!("not all was right: {first}; and {} more", rest.len())),
        }
    }

    fn plan(&self, folder: &Path) -> anyhow::Result<Plan> {
        let machine = Machine::look()?;
        let what = self.what.as_deref().unwrap_or_default();
        let is_url = what.contains("://");
        if is_url && !self.scenario.is_empty() {
            let message = format!("--scenario: {what} is a URL, and scenarios are of components");
            return Err(wrong(message, "leave the option out, or name a component (.wasm)"));
        }
        let urls = is_url.then_some(what).into_iter().chain(self.against.iter().map(String::as_str));
        let (mut remotes, mut faults) = (Vec::new(), Vec::new());
        for url in urls {
            match Remote::parse(url, &self.headers) {
                Ok(remote) => remotes.push(remote),
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(Diagnostics(faults).into());
        }
        let asked = Asked { path: self.path.clone(), headers: self.headers.clone() };
        let concurrency = sorted(self.concurrency.iter().map(|count| *count as usize).collect());
        let local = Local {
            component: what.into(),
            asked,
            folder: folder.to_owned(),
            core: machine.server_core,
            connections: concurrency.last().copied().unwrap_or(1),
        };
        let all = Scenario::value_variants();
        Ok(Plan {
            local: (!is_url).then_some(local),
            scenarios: sorted(if self.scenario.is_empty() { all } else { &self.scenario }.to_vec()),
            remotes,
            concurrency,
            rounds: self.rounds,
            duration: self.duration,
            rate: self.rate,
            machine,
        })
    }
}

/// Each once, in order.
fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort_unstable();
    list.dedup();
    list
}

/// Measures on a core of its own, and gives up when it is told to.
fn measured(plan: &Plan) -> anyhow::Result<Report> {
    let began = jiff::Timestamp::now();
    raise_descriptors(plan.concurrency.last().map_or(0, |most| *most as u64), 0);
    machine::pin(plan.machine.client_core)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let progress = Progress::start();
    let measured = runtime.block_on(async {
        tokio::select! {
            measured = measure::measure(plan, &progress) => measured,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        }
    });
    drop(progress);
    let Measured { component, subjects, compiles, runs, faults, .. } = measured?;
    Ok(Report {
        format: FORMAT,
        command: command(std::env::args().skip(1)),
        began: format!("{began:.0}"),
        machine: plan.machine.clone(),
        method: Method {
            rounds: plan.rounds,
            seconds: plan.duration.as_secs_f64(),
            warm_up_seconds: warm_up(plan.duration).as_secs_f64(),
            concurrency: plan.concurrency.clone(),
        },
        component,
        medians: medians(&subjects, &plan.concurrency, &runs),
        subjects,
        compiles,
        runs,
        faults,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_fit_together_and_the_help_has_examples() {
        let command = <Bench as Args>::augment_args(clap::Command::new("bench"));
        command.clone().debug_assert();
        assert!(command.clone().render_long_help().to_string().contains("eyot bench --compare before.json after.json"));
        let wrong: [&[&str]; 8] = [
            &[],
            &["x.wasm", "--concurrency", "0"],
            &["x.wasm", "--duration", "0s"],
            &["x.wasm", "--rate", "-1"],
            &["x.wasm", "--path", "no-slash"],
            &["x.wasm", "-H", "no colon"],
            &["x.wasm", "--scenario", "reused-never"],
            &["--compare", "a.json"],
        ];
        for arguments in wrong {
            let all = std::iter::once(&"bench").chain(arguments);
            assert!(command.clone().try_get_matches_from(all).is_err(), "{arguments:?}");
        }
    }
}
