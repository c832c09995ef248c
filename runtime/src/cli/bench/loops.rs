//! The two loops of a subject at one concurrency, each after its warm-up, and what they come to.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::load::{self, Load, Loaded, PATIENCE, Pace, Target};
use super::measure::At;
use super::note::{Meanwhile, Note};
use super::protocol::{Order, Used};
use super::report::{Closed, Latency, Open, ServerUse};
use super::stand::{Counted, Role, Stand, Standing};
use super::subject::warm_up;

async fn load(at: &At<'_>, target: &Target, pace: Pace, duration: Duration) -> anyhow::Result<Loaded> {
    let own_core = at.plan.machine.has_two_cores();
    load::run(&Load { target, connections: at.concurrency, pace, duration, patience: PATIENCE, own_core }).await
}

/// What the server takes for each request, and how many it answers; with the first wrong answer, if there is one.
pub(super) async fn closed_loop(
    at: &At<'_>,
    stand: &mut Stand,
    subject: &Standing,
) -> anyhow::Result<(Closed, Option<String>)> {
    let server = subject.role.server();
    load(at, &subject.target, Pace::Closed, warm_up(at.plan.duration)).await?;
    let before = match server {
        Some(server) => Some((stand.counted(server).await?, stand.used(server, Order::UseFromHere).await?)),
        None => None,
    };
    let (began, machine) = (Instant::now(), at.plan.machine.activity());
    let loaded = load(at, &subject.target, Pace::Closed, at.plan.duration).await?;
    let (elapsed, machine) = (began.elapsed(), at.plan.machine.activity() - machine);
    let spent = match (server, before) {
        (Some(server), Some((counted, used))) => {
            let now = stand.used(server, Order::Use).await?;
            Some(Spent { before: used, now, counted: stand.counted(server).await?.since(&counted) })
        }
        _ => None,
    };
    let server_s = spent.as_ref().map(Spent::cpu_s);
    let seconds = elapsed.as_secs_f64();
    let meanwhile = Meanwhile { seconds, machine, server_s, client_s: loaded.cpu.as_secs_f64() };
    let mut notes = meanwhile.notes();
    notes.extend(meanwhile.is_client_bound().then_some(Note::ClientBound));
    notes.extend(spent.iter().flat_map(|spent| spent.notes(subject.role)));
    let total = loaded.answers + loaded.wrong;
    ensure!(total > 0, "there was no answer in {:?}", at.plan.duration);
    let closed = Closed {
        answers: loaded.answers,
        wrong: loaded.wrong,
        seconds: loaded.lasted.as_secs_f64(),
        per_second: loaded.answers as f64 / loaded.lasted.as_secs_f64().max(f64::MIN_POSITIVE),
        server: spent.map(|spent| spent.shared_out(total as f64, seconds, subject.role)),
        client_busy: meanwhile.client_s / seconds,
        latency: Latency::of(&loaded),
        notes,
    };
    Ok((closed, loaded.example))
}

/// How long requests take that come at their own times; with the first wrong answer, if there is one.
pub(super) async fn open_loop(at: &At<'_>, subject: &Standing, rate: f64) -> anyhow::Result<(Open, Option<String>)> {
    load(at, &subject.target, Pace::Open(rate), warm_up(at.plan.duration)).await?;
    let machine = at.plan.machine.activity();
    let loaded = load(at, &subject.target, Pace::Open(rate), at.plan.duration).await?;
    let machine = at.plan.machine.activity() - machine;
    let meanwhile = Meanwhile { seconds: loaded.lasted.as_secs_f64(), machine, server_s: None, client_s: 0.0 };
    let mut notes = meanwhile.notes();
    // A tenth of the time: what a stall at the end delays is in the latencies, and is no queue that grows.
    let is_behind = loaded.unsent > 0 || loaded.lasted > at.plan.duration.mul_f64(1.1);
    notes.extend(is_behind.then_some(Note::Behind));
    let (answers, wrong, unsent) = (loaded.answers, loaded.wrong, loaded.unsent);
    Ok((Open { rate, answers, wrong, unsent, latency: Latency::of(&loaded), notes }, loaded.example))
}

/// So many isolates of another kind belong to the scenario: the first one, and those that take the place of others.
const OTHERS: f64 = 0.01;

/// What a process took for a closed loop.
struct Spent {
    before: Used,
    now: Used,
    counted: Counted,
}

impl Spent {
    fn cpu_s(&self) -> f64 {
        (self.now.cpu_us - self.before.cpu_us) as f64 / 1e6
    }

    fn notes(&self, role: Role) -> Vec<Note> {
        let Role::Worker(_, start) = role else { return Vec::new() };
        let isolates = &self.counted.isolates;
        let (all, right) = (isolates.values().sum::<u64>(), isolates.get(start.as_str()).copied().unwrap_or(0));
        let others = (all - right) as f64 > OTHERS * all as f64;
        let notes = [(others, Note::OtherStarts), (self.counted.lines_lost > 0, Note::LogLost)];
        notes.into_iter().filter_map(|(holds, note)| holds.then_some(note)).collect()
    }

    fn shared_out(self, answers: f64, seconds: f64, role: Role) -> ServerUse {
        let is_worker = matches!(role, Role::Worker(..));
        ServerUse {
            cpu_us: self.cpu_s() * 1e6 / answers,
            page_faults: (self.now.faults - self.before.faults) as f64 / answers,
            busy: self.cpu_s() / seconds,
            resident_bytes: is_worker.then_some(self.now.resident_bytes),
            peak_bytes: self.now.peak_bytes.filter(|_| is_worker),
            isolates: self.counted.isolates,
        }
    }
}

impl Latency {
    fn of(loaded: &Loaded) -> Self {
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        let at = |quantile: f64| micros(loaded.latency.value_at_quantile(quantile));
        // Ten points for each further nine, as far as there is a request to stand for the point.
        let slower = (0..).map(|step| 10_f64.powf(-f64::from(step) / 10.0));
        let curve = slower.take_while(|slower| slower * loaded.latency.len() as f64 >= 1.0);
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(loaded.latency.max()),
            curve: curve.map(|slower| (slower, at(1.0 - slower))).collect(),
        }
    }
}

impl Closed {
    pub(super) fn line(&self) -> String {
        let cpu = self.server.as_ref().map(|server| format!("{:.1} µs of CPU a request, ", server.cpu_us));
        format!("{}{:.0} requests/s", cpu.unwrap_or_default(), self.per_second)
    }
}

impl Open {
    pub(super) fn line(&self) -> String {
        format!("p50 {:.0} µs, p99 {:.0} µs at {:.0} requests/s", self.latency.p50, self.latency.p99, self.rate)
    }
}
