//! The rounds: all subjects one after the other, at each concurrency, first in a closed loop and then in an open one. The order rotates
//! from round to round, so that a slow minute of the machine hits all.

use std::collections::BTreeMap;
use std::time::Duration;

use super::load::Target;
use super::loops::{closed_loop, open_loop};
use super::machine::Machine;
use super::progress::Progress;
use super::report::{Compile, Component, LIMIT, Run, Subject};
use super::scenario::Scenario;
use super::server::Server;
use super::stand::{Role, Stand, Standing, name_of};
use super::subject::{Local, Remote};

/// What is to be measured, and how.
pub(super) struct Plan {
    pub(super) local: Option<Local>,
    pub(super) scenarios: Vec<Scenario>,
    pub(super) remotes: Vec<Remote>,
    /// From the lowest to the highest.
    pub(super) concurrency: Vec<usize>,
    pub(super) rounds: u32,
    pub(super) duration: Duration,
    pub(super) rate: Option<f64>,
    pub(super) machine: Machine,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Measured {
    pub(super) component: Option<Component>,
    pub(super) subjects: Vec<Subject>,
    pub(super) compiles: Vec<Compile>,
    pub(super) runs: Vec<Run>,
    pub(super) faults: Vec<String>,
    /// Of the open loops, by concurrency: the same in all rounds.
    rates: BTreeMap<usize, f64>,
}

/// Those who answered when they were asked first, and what.
struct Looked {
    component: Option<Target>,
    remotes: Vec<(String, Target)>,
}

/// Measures everything; what goes wrong with one subject does not keep the others from being measured.
///
/// # Errors
/// When nothing can be measured at all.
pub(super) async fn measure(plan: &Plan, progress: &Progress) -> anyhow::Result<Measured> {
    let mut measured = Measured::default();
    let looked = measured.look(plan, progress).await?;
    let loads = measured.subjects.iter().filter(|subject| subject.scenario != Some(Scenario::Compile)).count();
    progress.expect(plan.rounds as usize * (measured.compiles_of(plan) + 2 * loads * plan.concurrency.len()));
    for round in 1..=plan.rounds {
        measured.compile(plan, round, progress).await?;
        let (mut stand, mut standing) = match (&plan.local, &looked.component) {
            (Some(local), Some(expected)) => Stand::start(local, &plan.scenarios, expected).await?,
            _ => Default::default(),
        };
        let remotes = looked.remotes.iter().cloned();
        standing.extend(remotes.map(|(name, target)| Standing { name, target, role: Role::Remote }));
        if !standing.is_empty() {
            let first = (round as usize - 1) % standing.len();
            standing.rotate_left(first);
        }
        for concurrency in &plan.concurrency {
            let at = At { plan, round, concurrency: *concurrency, progress };
            at.closed(&mut stand, &standing, &mut measured).await;
            at.open(&standing, &mut measured).await;
        }
        stand.end().await?;
    }
    measured.faults.dedup();
    Ok(measured)
}

impl Measured {
    async fn look(&mut self, plan: &Plan, progress: &Progress) -> anyhow::Result<Looked> {
        let mut looked = Looked { component: None, remotes: Vec::new() };
        if let Some(local) = &plan.local {
            progress.begin("compiling the component and asking it once");
            let (component, target) = local.look().await?;
            (self.component, looked.component) = (Some(component), Some(target));
            let loaded = plan.scenarios.iter().any(|it| *it != Scenario::Compile);
            let limit = "hyper in the process of eyot, with the same answer out of its memory: the limit";
            let limit = Subject { name: LIMIT.to_owned(), what: limit.to_owned(), scenario: None };
            self.subjects.extend(loaded.then_some(limit));
            self.subjects.extend(plan.scenarios.iter().map(|scenario| Subject {
                name: name_of(*scenario),
                what: scenario.what().to_owned(),
                scenario: Some(*scenario),
            }));
        }
        for remote in &plan.remotes {
            match remote.look().await {
                Ok(target) => {
                    let what = "a server that is not ours".to_owned();
                    self.subjects.push(Subject { name: remote.name.clone(), what, scenario: None });
                    looked.remotes.push((remote.name.clone(), target));
                }
                Err(error) => self.fault(format!("{}: {error:#}", remote.name), progress),
            }
        }
        Ok(looked)
    }

    fn compiles_of(&self, plan: &Plan) -> usize {
        plan.scenarios.iter().filter(|scenario| **scenario == Scenario::Compile).count()
    }

    /// In a process of its own each time: of a process, only the largest child is known.
    async fn compile(&mut self, plan: &Plan, round: u32, progress: &Progress) -> anyhow::Result<()> {
        let Some(local) = &plan.local else { return Ok(()) };
        if self.compiles_of(plan) == 0 {
            return Ok(());
        }
        let label = format!("round {round}, {}", name_of(Scenario::Compile));
        progress.begin(&label);
        let mut server = Server::start(&local.setup(Scenario::Compile), &local.folder)?;
        let took = server.compile().await?;
        server.end().await?;
        progress.done(&label, &format!("{:.1} ms", took.time_us / 1000.0));
        self.compiles.push(Compile { round, took });
        Ok(())
    }

    fn fault(&mut self, fault: String, progress: &Progress) {
        progress.fault(&fault);
        self.faults.push(fault);
    }
}

/// One concurrency in one round.
pub(super) struct At<'a> {
    pub(super) plan: &'a Plan,
    round: u32,
    pub(super) concurrency: usize,
    progress: &'a Progress,
}

impl At<'_> {
    async fn closed(&self, stand: &mut Stand, standing: &[Standing], measured: &mut Measured) {
        for subject in standing {
            let label = self.label(subject);
            self.progress.begin(&label);
            match closed_loop(self, stand, subject).await {
                Ok((closed, example)) => {
                    self.progress.done(&label, &closed.line());
                    if let Some(example) = example {
                        measured.fault(format!("{label}: {} wrong answers: {example}", closed.wrong), self.progress);
                    }
                    let (round, concurrency) = (self.round, self.concurrency);
                    measured.runs.push(Run { round, subject: subject.name.clone(), concurrency, closed, open: None });
                }
                Err(error) => measured.fault(format!("{label}: {error:#}"), self.progress),
            }
        }
    }

    /// At one rate for all of them, so that they are asked the same.
    async fn open(&self, standing: &[Standing], measured: &mut Measured) {
        let here = |run: &&mut Run| (run.round, run.concurrency) == (self.round, self.concurrency);
        let slowest = measured.runs.iter_mut().filter(here).map(|run| run.closed.per_second).reduce(f64::min);
        let Some(slowest) = slowest else { return };
        let half = *measured.rates.entry(self.concurrency).or_insert(slowest / 2.0);
        let rate = self.plan.rate.unwrap_or(half);
        for subject in standing {
            let label = self.label(subject);
            self.progress.begin(&label);
            let looped = open_loop(self, subject, rate).await;
            let run = measured.runs.iter_mut().filter(here).find(|run| run.subject == subject.name);
            match (looped, run) {
                (Ok((open, example)), Some(run)) => {
                    self.progress.done(&label, &open.line());
                    let wrong = open.wrong;
                    run.open = Some(open);
                    if let Some(example) = example {
                        measured.fault(format!("{label}: {wrong} wrong answers: {example}"), self.progress);
                    }
                }
                (Err(error), _) => measured.fault(format!("{label}: {error:#}"), self.progress),
                (Ok(_), None) => {}
            }
        }
    }

    fn label(&self, subject: &Standing) -> String {
        let plural = if self.concurrency == 1 { "" } else { "s" };
        format!("round {}, {} connection{plural}, {}", self.round, self.concurrency, subject.name)
    }
}
