//! What a request costs whose worker is not in memory: compiled before, mapped now.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::harness::Node;
use crate::workers::{self, Client, is_full, is_release};

/// So many workers take turns, of which one fits into memory.
const WORKERS: usize = 20;

#[test]
fn a_cold_worker_is_loaded_within_a_millisecond() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines: String = (0..WORKERS).map(|number| workers::write(number, folder.path())).collect();
    let state = folder.path().join("state");
    let configuration = format!("state = \"{}\"\n{lines}[limits]\nloaded_components = 1\n", state.display());
    // Compiled, and forgotten.
    drop(Node::start(&configuration, &[]));
    let node = Node::start(&configuration, &[]);
    let rounds = if is_full() { 100 } else { 10 };
    let latency = asked_in_turn(&node, rounds, || {});
    show("in the page cache", &latency);
    let asked = (rounds * WORKERS) as f64;
    let cold = node.metric("eyot_isolates_started_total", "start=\"cold\"");
    // The first one may have been loaded ahead.
    assert!((asked - 1.0..=asked).contains(&cold), "{cold} of {asked} were cold");
    assert_eq!(node.metric("eyot_isolates_started_total", "start=\"compile\""), 0.0);
    let from_disk = asked_in_turn(&node, rounds.div_ceil(10), || forget(&state.join("compiled")));
    show("not in the page cache", &from_disk);
    let most = Duration::from_micros(latency.value_at_quantile(0.99));
    let bound = if is_full() && is_release() { Duration::from_millis(1) } else { Duration::from_millis(200) };
    assert!(most < bound, "p99 {most:?}, and not below {bound:?}");
}

/// Latencies at the client, in microseconds, of one request after the other, each for another worker than the last.
fn asked_in_turn(node: &Node, rounds: usize, before: impl Fn()) -> Histogram<u64> {
    let mut latency = Histogram::new(3).expect("three digits");
    let mut client = Client::connect(node.address());
    for _ in 0..rounds {
        for number in 0..WORKERS {
            before();
            let began = Instant::now();
            client.ask(number);
            latency.record(began.elapsed().as_micros() as u64).expect("no upper bound");
        }
    }
    latency
}

/// The kernel forgets what it has read of these files; what is mapped stays.
fn forget(folder: &Path) {
    for file in fs::read_dir(folder).expect("a folder").flatten() {
        let file = File::open(file.path()).expect("a file");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("a hint");
    }
}

fn show(where_from: &str, latency: &Histogram<u64>) {
    let [half, most, all] = [0.5, 0.99, 1.0].map(|quantile| latency.value_at_quantile(quantile));
    eprintln!("cold, {where_from}: p50 {half} µs, p99 {most} µs, max {all} µs of {} requests", latency.len());
}
