//! What was measured: every run, the medians, and where they come from. This is the shape of the file that `--json` writes;
//! `bench/README.md` documents it, and [`FORMAT`] grows when a reader of the old shape would misread the new one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::note::Note;
use super::protocol::Compiled;
use super::scenario::Scenario;

/// The version of the shape.
pub(super) const FORMAT: u32 = 1;

/// The name of the plain handler among the subjects.
pub(super) const LIMIT: &str = "plain hyper";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) format: u32,
    /// What was typed.
    pub(super) command: String,
    /// RFC 3339.
    pub(super) began: String,
    pub(super) machine: Machine,
    pub(super) method: Method,
    /// None where only URLs are measured.
    pub(super) component: Option<Component>,
    pub(super) subjects: Vec<Subject>,
    pub(super) compiles: Vec<Compile>,
    pub(super) runs: Vec<Run>,
    pub(super) medians: Vec<Median>,
    /// What went wrong; runs with wrong answers have no part in the medians.
    pub(super) faults: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Method {
    pub(super) rounds: u32,
    /// Of each loop.
    pub(super) seconds: f64,
    pub(super) warm_up_seconds: f64,
    pub(super) concurrency: Vec<usize>,
}

/// The component, and what one invocation of it takes by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Component {
    pub(super) file: String,
    pub(super) bytes: u64,
    pub(super) version: String,
    /// Its answer.
    pub(super) status: u16,
    /// None where it differs from answer to answer.
    pub(super) body_bytes: Option<usize>,
    /// The most memory of one isolate, by its meter: linear memories, tables, and what the host holds for it.
    pub(super) isolate_bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) what: String,
    /// How its requests come to their isolates, where it has any.
    pub(super) scenario: Option<Scenario>,
}

/// One compilation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Compile {
    pub(super) round: u32,
    #[serde(flatten)]
    pub(super) took: Compiled,
}

/// One subject at one concurrency in one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) round: u32,
    pub(super) subject: String,
    pub(super) concurrency: usize,
    pub(super) closed: Closed,
    /// None where the closed loop failed.
    pub(super) open: Option<Open>,
}

/// A closed loop: each connection asks again when it has been answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Closed {
    pub(super) answers: u64,
    pub(super) wrong: u64,
    pub(super) seconds: f64,
    pub(super) per_second: f64,
    /// What the process that serves used; none for a server that is not ours.
    pub(super) server: Option<ServerUse>,
    /// CPU seconds of the load generator in a second.
    pub(super) client_busy: f64,
    pub(super) latency: Latency,
    pub(super) notes: Vec<Note>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ServerUse {
    /// User and system time, divided by the answers.
    pub(super) cpu_us: f64,
    /// Page faults for which no disk was read, likewise.
    pub(super) page_faults: f64,
    /// CPU seconds in a second.
    pub(super) busy: f64,
    /// At the end. The plain handler shares its process with a node, so it has none.
    pub(super) resident_bytes: Option<u64>,
    pub(super) peak_bytes: Option<u64>,
    /// Where its isolates came from, by the node's metrics.
    pub(super) isolates: BTreeMap<String, u64>,
}

/// An open loop: requests are due at fixed times, and latencies count from there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Open {
    /// Requests in a second.
    pub(super) rate: f64,
    pub(super) answers: u64,
    pub(super) wrong: u64,
    /// Due, and never sent.
    pub(super) unsent: u64,
    pub(super) latency: Latency,
    pub(super) notes: Vec<Note>,
}

/// Percentiles in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
    /// More of them, as pairs of the share of requests that were slower and the time: 1, 0.79, 0.63, 0.5, … down to one request.
    pub(super) curve: Vec<(f64, f64)>,
}

/// Medians over the rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Median {
    pub(super) subject: String,
    pub(super) concurrency: usize,
    pub(super) rounds: usize,
    pub(super) per_second: f64,
    pub(super) cpu_us: Option<f64>,
    /// Of the ratios to the limit, round by round.
    pub(super) cpu_to_limit: Option<f64>,
    pub(super) page_faults: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) peak_bytes: Option<u64>,
    pub(super) closed: Latency,
    pub(super) rate: Option<f64>,
    pub(super) open: Option<Latency>,
    /// In how many rounds.
    pub(super) notes: BTreeMap<Note, usize>,
}

/// The good runs among these of one subject at one concurrency, by round.
pub(super) fn good<'a>(runs: &'a [Run], subject: &str, concurrency: usize) -> Vec<&'a Run> {
    let is_it = |run: &&Run| run.subject == subject && run.concurrency == concurrency && run.is_good();
    runs.iter().filter(is_it).collect()
}

impl Run {
    pub(super) fn is_good(&self) -> bool {
        self.closed.wrong == 0 && self.open.as_ref().is_none_or(|open| open.wrong == 0)
    }
}

impl Report {
    /// The subjects that are servers, in their order.
    pub(super) fn loaded(&self) -> impl Iterator<Item = &Subject> {
        self.subjects.iter().filter(|subject| subject.scenario != Some(Scenario::Compile))
    }

    /// Everything that some median is doubtful for, once each.
    pub(super) fn notes(&self) -> Vec<Note> {
        let all: BTreeSet<Note> = self.medians.iter().flat_map(|row| row.notes.keys().copied()).collect();
        all.into_iter().collect()
    }

    /// The good runs of one subject at one concurrency, by round.
    pub(super) fn good(&self, subject: &str, concurrency: usize) -> Vec<&Run> {
        good(&self.runs, subject, concurrency)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::medians::medians;
    use super::*;

    /// A run of so much CPU time.
    pub(in super::super) fn run(subject: &str, round: u32, cpu_us: f64) -> Run {
        let latency = Latency {
            p50: 100.0,
            p90: 110.0,
            p99: 120.0,
            p999: 130.0,
            max: 140.0,
            curve: vec![(1.0, 90.0), (0.1, 110.0)],
        };
        let server = ServerUse {
            cpu_us,
            page_faults: 1.0,
            busy: 0.9,
            resident_bytes: Some(1 << 20),
            peak_bytes: None,
            isolates: BTreeMap::new(),
        };
        let closed = Closed {
            answers: 1000,
            wrong: 0,
            seconds: 1.0,
            per_second: 1000.0,
            server: Some(server),
            client_busy: 0.5,
            latency: latency.clone(),
            notes: vec![Note::Steal],
        };
        let open = Open { rate: 500.0, answers: 500, wrong: 0, unsent: 0, latency, notes: vec![Note::Steal] };
        Run { round, subject: subject.to_owned(), concurrency: 32, closed, open: Some(open) }
    }

    /// A whole report.
    pub(in super::super) fn report() -> Report {
        let subjects = vec![subject(LIMIT), subject("eyot warm"), subject("http://127.0.0.1:1/")];
        let runs: Vec<Run> = (1..=5)
            .flat_map(|round| subjects.iter().zip([5.0, 20.0, 60.0]).map(move |(it, cpu)| run(&it.name, round, cpu)))
            .collect();
        Report {
            format: FORMAT,
            command: "eyot bench hello.wasm".to_owned(),
            began: "2026-11-29T00:00:00Z".to_owned(),
            machine: Machine::look().unwrap(),
            method: Method { rounds: 5, seconds: 1.0, warm_up_seconds: 0.2, concurrency: vec![32] },
            component: None,
            medians: medians(&subjects, &[32], &runs),
            subjects,
            compiles: Vec::new(),
            runs,
            faults: Vec::new(),
        }
    }

    pub(in super::super) fn subject(name: &str) -> Subject {
        Subject { name: name.to_owned(), what: String::new(), scenario: None }
    }
}
