//! The machine: which cores are used, what it is, and what else happens on it meanwhile.

use std::fs;
use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

use super::super::VERSION;

/// What a reader of the figures wants to know of where they come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    /// How many cores this process may use.
    pub(super) cores: usize,
    pub(super) memory_bytes: u64,
    pub(super) kernel: String,
    pub(super) eyot: String,
    pub(super) wasmtime: String,
    /// A build whose figures say nothing.
    pub(super) debug: bool,
    pub(super) server_core: usize,
    pub(super) client_core: usize,
    /// What makes the two cores less than two.
    pub(super) beware: Option<Shared>,
}

/// Why server and client are in each other's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Shared {
    /// There is one core.
    OneCore,
    /// The two cores are two threads of one.
    Siblings,
}

impl Shared {
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::OneCore => {
                "there is one core for the server and the load: throughput and latency are those of both together; CPU time stands"
            }
            Self::Siblings => {
                "the cores of the server and of the load are two threads of one: each slows the other down"
            }
        }
    }
}

impl Machine {
    /// Looks around, and chooses two cores.
    pub(super) fn look() -> anyhow::Result<Self> {
        let cores = available()?;
        let server_core = cores[0];
        let siblings = siblings(server_core);
        let others = cores.iter().skip(1);
        let apart = others.clone().find(|core| !siblings.contains(core));
        let (client_core, beware) = match (apart, others.clone().next()) {
            (Some(core), _) => (*core, None),
            (None, Some(core)) => (*core, Some(Shared::Siblings)),
            (None, None) => (server_core, Some(Shared::OneCore)),
        };
        Ok(Self {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: cores.len(),
            memory_bytes: field("/proc/meminfo", "MemTotal").and_then(|size| kibibytes(&size)).unwrap_or(0),
            kernel: format!("Linux {}", fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim()),
            eyot: VERSION.to_owned(),
            wasmtime: wasmtime_environ::VERSION.to_owned(),
            debug: cfg!(debug_assertions),
            server_core,
            client_core,
            beware,
        })
    }

    /// Whether the server has its core for itself.
    pub(super) fn has_two_cores(&self) -> bool {
        self.server_core != self.client_core
    }

    /// Whether it can be compared with another: figures of another kind of machine are other figures.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let kind = |it: &Self| (it.processor.clone(), it.cores, it.kernel.clone(), it.debug, it.beware);
        kind(self) == kind(other)
    }

    /// In a line.
    pub(super) fn line(&self) -> String {
        let memory = self.memory_bytes as f64 / f64::from(1 << 30);
        let Self { processor, cores, kernel, server_core, client_core, .. } = self;
        let plural = if *cores == 1 { "core" } else { "cores" };
        format!(
            "{processor}, {cores} {plural} (server on {server_core}, load on {client_core}), {memory:.1} GiB, {kernel}"
        )
    }

    /// The programs, in a line.
    pub(super) fn versions(&self) -> String {
        let build = if self.debug { " (a debug build: its figures say nothing)" } else { "" };
        format!("eyot {}{build}, wasmtime {}", self.eyot, self.wasmtime)
    }

    /// What the two cores have done so far.
    pub(super) fn activity(&self) -> Activity {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let mut cores = vec![self.server_core, self.client_core];
        cores.dedup();
        let of = |core: &usize| activity_of(&stat, *core);
        cores.iter().filter_map(of).fold(Activity::default(), |sum, core| Activity {
            busy_s: sum.busy_s + core.busy_s,
            stolen_s: sum.stolen_s + core.stolen_s,
        })
    }
}

/// Seconds that cores were at work since the machine's start, for whomever.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Activity {
    pub(super) busy_s: f64,
    /// Withheld by the hypervisor.
    pub(super) stolen_s: f64,
}

impl std::ops::Sub for Activity {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { busy_s: self.busy_s - before.busy_s, stolen_s: self.stolen_s - before.stolen_s }
    }
}

/// The calling thread, and what it starts from here on, runs on one core.
pub(super) fn pin(core: usize) -> io::Result<()> {
    let mut only = CpuSet::new();
    only.set(core);
    Ok(sched_setaffinity(None, &only)?)
}

fn available() -> anyhow::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect();
    anyhow::ensure!(!cores.is_empty(), "this process may use no core");
    Ok(cores)
}

/// The threads of the same core, itself included.
fn siblings(core: usize) -> Vec<usize> {
    let list = fs::read_to_string(format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"));
    expand(list.unwrap_or_default().trim())
}

/// The numbers of a kernel list such as `0-1,4`.
fn expand(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// proc_pid_stat(5): user, nice, system, idle, iowait, irq, softirq, steal; in hundredths of a second on every Linux of today.
fn activity_of(stat: &str, core: usize) -> Option<Activity> {
    let name = format!("cpu{core} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&name))?;
    let seconds: Vec<f64> =
        line.split_whitespace().filter_map(|ticks| ticks.parse::<f64>().ok()).map(|ticks| ticks / 100.0).collect();
    let [user, nice, system, _idle, _waiting, irq, softirq, stolen_s] = *seconds.first_chunk()?;
    Some(Activity { busy_s: user + nice + system + irq + softirq, stolen_s })
}

/// The value of the first line `NAME: VALUE`.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn kibibytes(size: &str) -> Option<u64> {
    Some(size.strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_kernel_are_read() {
        assert_eq!(expand("0-1,4"), [0, 1, 4]);
        assert_eq!(expand("3"), [3]);
        assert_eq!(expand(""), [0; 0]);
    }

    #[test]
    fn a_core_s_seconds_are_read_and_idle_ones_are_not_among_them() {
        let stat = "cpu  9 9 9 9 9 9 9 9\ncpu1 100 10 20 999 999 30 40 500 7 7\n";
        assert_eq!(activity_of(stat, 1), Some(Activity { busy_s: 2.0, stolen_s: 5.0 }));
        assert_eq!(activity_of(stat, 2), None);
    }

    #[test]
    fn this_machine_is_known() {
        let machine = Machine::look().unwrap();
        assert!(machine.cores >= 1 && machine.memory_bytes > 1 << 27 && machine.kernel.len() > 6, "{machine:?}");
        assert_eq!(machine.has_two_cores(), machine.cores > 1);
        assert!(machine.activity().busy_s > 0.0 && machine.is_like(&machine));
    }
}
