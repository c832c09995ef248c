//! What the process itself uses, under the names that Prometheus client libraries agree on. Read when asked, never before.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{Counter, Gauge, IntGauge, Registry};

use crate::observe::clock;

pub(super) struct Process {
    memory: IntGauge,
    descriptors: IntGauge,
    cpu: Counter,
}

impl Process {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let memory = IntGauge::new("process_resident_memory_bytes", "Resident memory of the process.")?;
        let descriptors = IntGauge::new("process_open_fds", "Open file descriptors.")?;
        let cpu = Counter::new("process_cpu_seconds_total", "CPU time of all threads, user and system.")?;
        let started = Gauge::new("process_start_time_seconds", "When the process started, seconds since 1970.")?;
        started.set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        registry.register(Box::new(memory.clone()))?;
        registry.register(Box::new(descriptors.clone()))?;
        registry.register(Box::new(cpu.clone()))?;
        registry.register(Box::new(started))?;
        Ok(Self { memory, descriptors, cpu })
    }

    /// Reads the figures again; one caller at a time. On a system without `/proc` those from there stay at zero.
    pub(super) fn update(&self) {
        self.cpu.inc_by((clock::process_cpu().as_secs_f64() - self.cpu.get()).max(0.0));
        if let Some(bytes) = resident_memory() {
            self.memory.set(bytes);
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // One of them is the folder that is being read.
            self.descriptors.set(i64::try_from(entries.count()).unwrap_or(i64::MAX).saturating_sub(1));
        }
    }
}

fn resident_memory() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_this_process_are_plausible() {
        let process = Process::register(&Registry::new()).unwrap();
        process.update();
        assert!(process.memory.get() > 1 << 20);
        assert!(process.descriptors.get() >= 3);
        assert!(process.cpu.get() > 0.0);
    }
}
