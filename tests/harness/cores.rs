//! Which core a thread runs on, and how long it had to wait for it.

use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The calling thread, and what it starts meanwhile, runs on one core until this is dropped.
pub struct Pinned(CpuSet);

impl Pinned {
    pub fn to(core: usize) -> Self {
        let before = sched_getaffinity(None).expect("an affinity");
        let mut only = CpuSet::new();
        only.set(core);
        sched_setaffinity(None, &only).expect("a core of ours");
        Self(before)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        sched_setaffinity(None, &self.0).expect("where it was before");
    }
}

/// The cores that this process may use.
pub fn available() -> Vec<usize> {
    let set = sched_getaffinity(None).expect("an affinity");
    (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

/// For how long the threads of a node that serve have been ready to run, and were not run.
pub fn waited(process: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("a process").flatten();
    let waited = threads.filter_map(|thread| {
        let name = std::fs::read_to_string(thread.path().join("comm")).ok()?;
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let serves = name.starts_with("eyot-") && name.trim_end().ends_with("0");
        serves.then(|| text.split(' ').nth(1)?.parse::<u64>().ok()).flatten()
    });
    Duration::from_nanos(waited.sum())
}
