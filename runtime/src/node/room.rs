//! What the machine has room for: address space for the pools, and mappings for them and for components.

use std::fs;

use rustix::process::{Resource, getrlimit};

use crate::activate::Bounds;
use crate::config::{self, Diagnostic, Place};
use crate::sandbox::Pool;

/// How large pools and working set are.
pub(super) struct Room {
    pub(super) pool: Pool,
    pub(super) bounds: Bounds,
}

/// What each component in memory takes: its code, and what lies before and behind it (proc(5), `/proc/self/maps`).
const MAPPINGS: u64 = 3;

/// Threads, the allocator, libraries, buffers: measured at 300, and there may be more.
const OTHER_MAPPINGS: u64 = 4_000;

/// Fewer components than this in memory are a machine that is set up in the wrong way.
const FEWEST: u64 = 16;

/// Sizes pools and working set by the limits of a node, as far as this machine has room for them.
pub(super) fn look(node: &config::Node) -> Result<Room, Diagnostic> {
    let limits = node.limits.node_limits();
    let isolates = limits.node_concurrency;
    let pool = Pool::new(isolates, limits.waiting_isolates, limits.node_memory);
    let fault = |message, help| Diagnostic::new(place(node), message, help);
    let (needed, space) = (pool.reserves(), address_space());
    if needed > space {
        let (needed, space) = (gibibytes(needed), gibibytes(space));
        let message = format!(
            "no room for the pools of node_concurrency = {isolates} isolates: \
             they reserve {needed} GiB of address space, and this process has {space} GiB"
        );
        return Err(fault(message, "lower node_concurrency, or raise the limit on address space (ulimit -v)"));
    }
    let mappings = most_mappings();
    let left = mappings.saturating_sub(pool.mappings()).saturating_sub(OTHER_MAPPINGS) / MAPPINGS;
    if left < FEWEST {
        let message = format!(
            "no room for components beside the pools of node_concurrency = {isolates} isolates: \
             they may come to {} mappings, and a process has {mappings}",
            pool.mappings()
        );
        return Err(fault(message, "lower node_concurrency, or raise vm.max_map_count (sysctl)"));
    }
    // Each has its file open; the other half is for connections.
    let descriptors = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX) / 2;
    let components = limits.loaded_components.min(left).min(descriptors);
    if components < limits.loaded_components.min(node.workers.len() as u64) {
        let help = "raise vm.max_map_count (sysctl) and the limit on open descriptors (ulimit -Hn) for more";
        tracing::warn!(components, mappings, descriptors, "fewer components are in memory than may be: {help}");
    }
    Ok(Room { pool, bounds: Bounds { bytes: limits.loaded_bytes, components } })
}

/// Where the number of isolates was set, if somebody did.
fn place(node: &config::Node) -> Place {
    match node.limits.row("node_concurrency").map(|row| &row.source) {
        Some(config::Source::File(file) | config::Source::Node(file)) => Place::file(file),
        _ => Place::default(),
    }
}

/// What is left of the limit of this process, or of what the processor can address: the stack lies near its end.
fn address_space() -> u64 {
    let here = 0_u8;
    let end = (std::ptr::from_ref(&here).addr() as u64).checked_next_power_of_two().unwrap_or(u64::MAX);
    let used = statm().unwrap_or(0);
    getrlimit(Resource::As).current.unwrap_or(u64::MAX).min(end).saturating_sub(used)
}

/// The size of this process's address space, in bytes.
fn statm() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').next()?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

/// The kernel's own default, where it does not say.
fn most_mappings() -> u64 {
    let text = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    text.trim().parse().unwrap_or(65_530)
}

fn gibibytes(bytes: u64) -> u64 {
    bytes >> 30
}
