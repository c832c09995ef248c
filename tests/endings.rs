//! How a guest ends, before and after its response: what it has finished is sent, what it has not is never a clean end.

mod harness;

use harness::{Node, fixtures};

const LIMITS: &str = "[[route]]\npath = \"/*\"\n[limits]\ncpu_time = \"50ms\"\nwait_until = \"2m\"\n";

/// A node with the fixture of WASI 0.2, and one with that of 0.3: all of this is the same for both.
fn nodes() -> [Node; 2] {
    [("fixture", fixtures::fixture()), ("fixture3", fixtures::fixture3())].map(|(name, component)| {
        let manifest = fixtures::worker(name, &component, LIMITS);
        Node::start(&format!("[[worker]]\npath = \"{name}\"\n"), &[(&format!("{name}/eyot.toml"), &manifest)])
    })
}

/// The answer is a failure with this code, or, where its head was sent before, breaks off.
fn never_ends_cleanly(node: &Node, path: &str, code: &str) {
    let answer = node.request("GET", path).send().expect("a head");
    let found = answer.headers().get("eyot-error").map(|code| code.to_str().expect("text").to_owned());
    match answer.status().as_u16() {
        500 => assert_eq!(found.as_deref(), Some(code), "{path}"),
        status => assert!(status == 200 && answer.bytes().is_err(), "{path}: {status}, and a clean end"),
    }
}

#[test]
fn nothing_that_a_guest_does_after_its_whole_response_changes_it() {
    for node in nodes() {
        for delay in [0, 30] {
            // Smaller and larger than what is sent in one piece.
            for bytes in [10, 500_000] {
                for end in ["exit-0", "exit-1", "trap", "spin"] {
                    let answer = node.get(&format!("/answer-then?end={end}&bytes={bytes}&delay={delay}"));
                    assert_eq!((answer.status, answer.body.len()), (200, bytes), "{end} after {delay} ms");
                }
            }
        }
        node.wait_until_idle();
        assert_eq!(node.metric("eyot_failures_total", "worker_trapped"), 8.0, "exit(1) and traps: {}", node.metrics());
        assert_eq!(node.metric("eyot_failures_total", "worker_cpu_exceeded"), 4.0);
        assert_eq!(node.metric("eyot_failures_total", ""), 12.0, "exit(0) is a good end");
        node.wait_for_log("it exited with status 1");
    }
}

#[test]
fn a_response_that_its_guest_did_not_finish_never_ends_cleanly() {
    for node in nodes() {
        for delay in [0, 100] {
            never_ends_cleanly(&node, &format!("/leave-body?delay={delay}"), "worker_error");
            never_ends_cleanly(&node, &format!("/leave-body?drop=1&delay={delay}"), "worker_error");
            never_ends_cleanly(&node, &format!("/trap-after-head?delay={delay}"), "worker_trapped");
        }
        node.wait_until_idle();
        assert_eq!(node.metric("eyot_failures_total", "worker_error"), 4.0);
        assert_eq!(node.metric("eyot_failures_total", "worker_trapped"), 2.0);
        assert_eq!(node.metric("eyot_failures_total", ""), 6.0, "{}", node.metrics());
    }
}

#[test]
fn what_a_guest_says_of_its_failure_is_one_short_line_of_the_log() {
    for node in nodes() {
        let answer = node.get("/error-code?bytes=4000000");
        assert_eq!((answer.status, answer.code()), (500, "worker_error"));
        node.wait_for_log("this fixture was");
        let log = node.log();
        let line = log.lines().find(|line| line.contains("this fixture was")).expect("just found");
        assert!(line.contains("asked to fail!!") && line.len() < 2000, "{} bytes", line.len());
    }
}

#[test]
fn a_refused_response_ends_its_guest_and_is_counted_once() {
    let [node, _] = nodes();
    // The guest would go on for longer than `until` waits, and then trap; its body is whole, or still open.
    for open in ["", "&open=1"] {
        let answer = node.get(&format!("/status?code=103&body=x&linger=60000{open}"));
        assert_eq!((answer.status, answer.code()), (500, "worker_error"), "{}", answer.body);
        node.wait_until_idle();
    }
    assert_eq!(node.metric("eyot_failures_total", ""), 2.0, "{}", node.metrics());
}

#[test]
fn one_long_bulk_instruction_ends_at_the_cpu_limit_too() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["memory-fill", "memory-copy"] {
        let lines = "[[route]]\npath = \"/*\"\n[limits]\ncpu_time = \"5ms\"";
        let manifest = fixtures::worker(name, &fixtures::text(name, folder.path()), lines);
        let node =
            Node::start(&format!("[[worker]]\npath = \"{name}\"\n"), &[(&format!("{name}/eyot.toml"), &manifest)]);
        for _ in 0..10 {
            assert_eq!(node.get("/").code(), "worker_cpu_exceeded", "{name}");
        }
        node.wait_until_idle();
        // A whole one takes 20 ms and more, because every page of it is new.
        let each = node.metric("eyot_guest_cpu_seconds_total", "") / 10.0;
        println!("{name}: {:.1} ms", each * 1e3);
        assert!(each < 0.012, "{name}: {:.1} ms of CPU time where 5 ms may be used", each * 1e3);
    }
}
