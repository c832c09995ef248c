//! A crowd of workers, each with a component of its own, all of them asked.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::harness::Node;
use crate::workers::{self, Caged, Client, is_full, is_release};

/// What a small machine has.
const MEMORY: u64 = 1 << 30;

/// In a second, spread over all workers at random. A debug build has ten times the work for each request.
fn rate() -> f64 {
    if is_release() { 1_000.0 } else { 100.0 }
}

#[test]
fn thousands_of_workers_answer_within_the_memory_of_a_small_machine() {
    let count = if is_full() { 10_000 } else { 1_000 };
    let began = Instant::now();
    let configuration = workers::compiled(count);
    eprintln!("{count} workers are made and compiled: {:.1?}", began.elapsed());

    let cage = Caged::in_memory_of(MEMORY);
    eprintln!("memory is held {cage}");
    let began = Instant::now();
    let node = Node::start_by(cage.command(), &configuration, &[], "off");
    let ready = began.elapsed();
    assert_eq!(node.metric("eyot_component_load_seconds_count", "start=\"compile\""), 0.0, "nothing is compiled again");
    eprintln!("restart to ready: {ready:.2?}; {}", memory(&node));

    each_answers(&node, count);
    eprintln!("each was asked once; {}", memory(&node));
    let latency = at_random(&node, count, if is_full() { Duration::from_secs(30) } else { Duration::from_secs(10) });
    let quantile = |quantile| Duration::from_micros(latency.value_at_quantile(quantile));
    let (half, most) = (quantile(0.5), quantile(0.99));
    let cold = node.metric("eyot_isolates_started_total", "start=\"cold\"");
    let warm = node.metric("eyot_isolates_started_total", "start=\"warm\"");
    eprintln!("{} requests a second at random: p50 {half:?}, p99 {most:?}, max {:?}", rate(), quantile(1.0));
    eprintln!("{cold} of {} were cold; {}", cold + warm, memory(&node));
    assert_eq!(node.metric("eyot_failures_total", ""), 0.0);
    assert!(peak(&node) < MEMORY, "{}", memory(&node));
    // Other tests may run.
    let (p99, restart) = match is_full() && is_release() {
        true => (Duration::from_millis(5), Duration::from_secs(5)),
        false => (Duration::from_millis(500), Duration::from_secs(30)),
    };
    assert!(most < p99, "p99 {most:?}, and not below {p99:?}");
    assert!(ready < restart, "ready after {ready:?}, and not within {restart:?}");
}

/// The most that was resident at once, as the kernel has counted: files that are mapped included.
fn peak(node: &Node) -> u64 {
    of_status(node, "VmHWM:")
}

fn of_status(node: &Node, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.id())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

fn memory(node: &Node) -> String {
    let mib = |name: &str| of_status(node, name) >> 20;
    let loaded = node.metric("eyot_components_loaded", "");
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", node.id())).map_or(0, |maps| maps.lines().count());
    format!(
        "resident {} MiB ({} of it private), at most {} MiB; {loaded} components are loaded, {maps} mappings",
        mib("VmRSS:"),
        mib("RssAnon:"),
        mib("VmHWM:")
    )
}

/// Eight connections, one request for each worker.
fn each_answers(node: &Node, count: usize) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::connect(node.address());
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= count {
                        return;
                    }
                    client.ask(number);
                }
            });
        }
    });
}

/// Requests at fixed times, whatever has been answered, each for a worker that nobody could guess. Latencies count from when a request
/// was due, in microseconds.
fn at_random(node: &Node, count: usize, duration: Duration) -> Histogram<u64> {
    let (next, began) = (AtomicU64::new(0), Instant::now());
    let latencies = Mutex::new(Histogram::new(3).expect("three digits"));
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                let mut client = Client::connect(node.address());
                let mut own = Histogram::<u64>::new(3).expect("three digits");
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    let due = began + Duration::from_secs_f64(number as f64 / rate());
                    if due > began + duration {
                        break;
                    }
                    while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
                        std::thread::park_timeout(left);
                    }
                    client.ask(scattered(number) as usize % count);
                    own.record(due.elapsed().as_micros() as u64).expect("no upper bound");
                }
                latencies.lock().unwrap_or_else(PoisonError::into_inner).add(own).expect("no upper bound");
            });
        }
    });
    latencies.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// SplitMix64: the same numbers each time, and no order in them.
fn scattered(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
