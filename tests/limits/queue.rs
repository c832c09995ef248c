//! Limits of queues: each at its bound and one past it.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Node, fixtures, until};

fn node(limits: &str) -> Node {
    let queue = "[[queue]]\nname = \"jobs\"\nattempts = 1\nbatch = 1";
    let lines = format!("kv = [\"seen\"]\n{queue}\n[[route]]\npath = \"/*\"\n[limits]\n{limits}");
    let manifest = fixtures::worker("shop", &fixtures::queue(), &lines);
    Node::start("store = \"store\"\n[[worker]]\npath = \"shop\"\n", &[("shop/eyot.toml", &manifest)])
}

fn told(node: &Node, target: &str) -> Value {
    let answer = node.get(target);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn takes(node: &Node, target: &str) {
    let told = told(node, target);
    assert!(told["ids"].is_array(), "{target}: {told}");
}

fn refuses(node: &Node, target: &str, error: &str, limit: &str) {
    let told = told(node, target);
    assert_eq!(told["error"], error, "{target}: {told}");
    assert!(told["why"].as_str().expect("text").contains(limit), "{told}");
}

/// How many deliveries came to this.
fn outcome(node: &Node, outcome: &str) -> f64 {
    node.metric("eyot_queue_deliveries_total", &format!("outcome=\"{outcome}\""))
}

#[test]
pub fn a_message_up_to_queue_message_is_taken_and_one_byte_more_is_refused_to_the_worker() {
    let node = node("queue_message = \"1KiB\"");
    takes(&node, "/send?bytes=1024");
    refuses(&node, "/send?bytes=1025", "too-large", "queue_message");
}

#[test]
pub fn one_call_sends_up_to_queue_batch_messages_and_one_more_is_refused_to_the_worker() {
    let node = node("queue_batch = 4");
    takes(&node, "/send?body=note&times=4");
    refuses(&node, "/send?body=note&times=5", "too-many", "queue_batch");
}

#[test]
pub fn an_invocation_sends_queue_sends_messages_and_one_more_is_refused_to_it() {
    let node = node("queue_sends = 6");
    takes(&node, "/send?body=note&times=3&calls=2");
    refuses(&node, "/send?body=note&times=1&calls=7", "too-many", "queue_sends");
}

#[test]
pub fn a_queue_holds_queue_messages_and_one_more_is_refused_to_its_producer() {
    let node = node("queue_messages = 2");
    takes(&node, "/send?body=note&delay=60000&times=2");
    refuses(&node, "/send?body=note", "full", "queue_messages");
}

#[test]
pub fn a_queue_holds_queue_bytes_and_one_more_is_refused_to_its_producer() {
    let node = node("queue_bytes = \"1KiB\"");
    // A message counts 256 bytes besides its body.
    refuses(&node, "/send?bytes=769&delay=60000", "full", "queue_bytes");
    takes(&node, "/send?bytes=768&delay=60000");
    refuses(&node, "/send?bytes=0&delay=60000", "full", "queue_bytes");
}

#[test]
pub fn what_no_client_waits_for_has_event_cpu_time_and_a_spinning_guest_ends_at_it() {
    let node = node("cpu_time = \"50ms\"\nevent_cpu_time = \"400ms\"");
    let began = Instant::now();
    takes(&node, "/send?body=spin");
    until("it is given up", || outcome(&node, "dead_lettered") == 1.0);
    assert!(began.elapsed() >= Duration::from_millis(400), "it had less: {:?}", began.elapsed());
    assert_eq!(node.metric("eyot_failures_total", "worker_cpu_exceeded"), 1.0);
}

#[test]
pub fn what_no_client_waits_for_goes_on_until_event_wall_time() {
    let node = node("wall_time = \"100ms\"\nevent_wall_time = \"2s\"");
    takes(&node, "/send?body=sleep%20700");
    until("it is done", || outcome(&node, "done") == 1.0);
    takes(&node, "/send?body=sleep%2060000");
    until("it is given up", || outcome(&node, "dead_lettered") == 1.0);
    assert_eq!(node.metric("eyot_failures_total", "worker_timeout"), 1.0);
}
