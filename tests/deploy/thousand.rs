//! Many workers on one node, and how soon it serves them after a restart.
//!
//! `EYOT_FULL=1 cargo test --release --test deploy thousand` deploys 1,000 of them and holds the node to the product's promise: ready in
//! 2 s, with less than 256 MiB. Without it there are 50, and bounds that a debug build on a busy machine holds.

use std::time::{Duration, Instant};

use crate::harness::{Node, fixtures};
use crate::operator::{Operator, node};

#[test]
fn a_node_with_a_thousand_deployed_workers_is_ready_again_in_two_seconds() {
    let full = std::env::var_os("EYOT_FULL").is_some();
    let workers = if full { 1_000 } else { 50 };
    let node = node("");
    let operator = Operator::first(&node);
    let hello = std::fs::read(fixtures::hello()).unwrap();
    let component = node.folder.path().join("worker.wasm");
    let began = Instant::now();
    for number in 0..workers {
        std::fs::write(&component, distinct(&hello, number)).unwrap();
        let name = format!("w{number}");
        let manifest = format!("name = \"{name}\"\n[[route]]\nhost = \"{name}.example\"\n");
        let added = operator.add(&name, &manifest, &component);
        assert_eq!(added.status, 201, "{}", added.body);
        operator.serve(&name, 1);
    }
    let deploying = began.elapsed();
    let mut node: Node = node;
    node.stop("-TERM");
    let began = Instant::now();
    let node = node.again("-TERM");
    let ready = began.elapsed();
    let resident = node.resident();
    for number in 0..workers {
        let answer = node.get_from(&format!("w{number}.example"), "/");
        assert_eq!(answer.status, 200, "w{number}: {}", answer.body);
    }
    let used = node.resident();
    let mebibytes = |bytes: u64| bytes >> 20;
    println!(
        "{workers} workers: deployed in {deploying:.1?}, ready again in {ready:.2?}, resident {} MiB then and {} MiB when each has answered",
        mebibytes(resident),
        mebibytes(used)
    );
    let (most_time, most_memory) =
        if full { (Duration::from_secs(2), 256 << 20) } else { (Duration::from_secs(20), 512 << 20) };
    assert!(ready < most_time, "ready after {ready:?}");
    assert!(resident < most_memory && used < most_memory, "{} and {} MiB", mebibytes(resident), mebibytes(used));
}

/// The same component with other bytes: a custom section behind all others (Component Model, Binary.md).
fn distinct(component: &[u8], number: usize) -> Vec<u8> {
    let content = format!("{number:08}");
    let name = b"number";
    let mut bytes = component.to_vec();
    bytes.extend([0, (1 + name.len() + content.len()) as u8, name.len() as u8]);
    bytes.extend(name);
    bytes.extend(content.as_bytes());
    bytes
}
