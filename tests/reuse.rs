//! Isolates that are there before their request: kept by workers that ask for it, or made ahead. The limits of it: `limits/reuse.rs`.

mod harness;

use harness::{Node, fixtures, until};

/// Both fixtures, each on one core, so that each request could meet the isolate of the one before.
fn nodes(lines: &str) -> [Node; 2] {
    [("fixture", fixtures::fixture()), ("fixture3", fixtures::fixture3())].map(|(name, component)| {
        let manifest = fixtures::worker(name, &component, lines);
        let files = [(&*format!("{name}/eyot.toml"), &*manifest)];
        Node::start_on_one_core(&format!("[[worker]]\npath = \"{name}\"\n"), &files)
    })
}

fn reusing(limits: &str) -> [Node; 2] {
    nodes(&format!("isolate = \"reuse\"\n[[route]]\npath = \"/*\"\n[limits]\n{limits}"))
}

fn started(node: &Node, start: &str) -> f64 {
    node.metric("eyot_isolates_started_total", &format!("start=\"{start}\""))
}

/// What an isolate that counts its requests says, once it is back: a client may have the answer a moment before.
fn count(node: &Node) -> u64 {
    let count = node.get("/count").body.trim().parse().expect("a number");
    node.wait_until_idle();
    count
}

#[test]
fn a_worker_that_asks_for_it_has_its_isolate_kept() {
    for node in reusing("") {
        let counts: Vec<_> = (0..20).map(|_| count(&node)).collect();
        assert_eq!(counts, (1..=20).collect::<Vec<_>>());
        assert_eq!((started(&node, "warm"), started(&node, "reused")), (1.0, 19.0));
        assert_eq!(started(&node, "prepared"), 0.0, "there is one already");
    }
}

#[test]
fn an_isolate_that_failed_or_met_a_limit_is_not_asked_again() {
    for node in reusing("cpu_time = \"50ms\"\nsubrequests = 1") {
        for (path, status) in [("/trap", 500), ("/panic", 500), ("/spin", 500), ("/error-code", 500)] {
            count(&node);
            assert_eq!(node.get(path).status, status, "{path}");
            assert_eq!(count(&node), 1, "after {path}");
        }
    }
}

#[test]
fn an_isolate_that_has_grown_to_half_of_its_memory_is_not_asked_again() {
    for node in reusing("memory = \"64MiB\"\ncpu_time = \"2s\"") {
        count(&node);
        let grown = node.get("/grow?mib=8");
        assert_eq!((grown.status, grown.code()), (200, ""), "{}", grown.body);
        assert!(count(&node) > 1, "it had some room left");
        assert_eq!(node.get("/grow?mib=40").status, 200);
        assert_eq!(count(&node), 1);
    }
}

#[test]
fn each_request_of_a_kept_isolate_has_the_whole_of_its_limits() {
    for node in reusing("cpu_time = \"200ms\"\nlog = \"1KiB\"") {
        for request in 1..=6 {
            // Together they take more than one may.
            assert_eq!(node.get("/spin-ms?ms=60").status, 200, "{request}");
            node.wait_until_idle();
        }
        assert!(started(&node, "reused") >= 5.0);
    }
}

#[test]
fn requests_at_the_same_time_have_an_isolate_each() {
    for node in reusing("") {
        std::thread::scope(|scope| {
            let answers: Vec<_> = (0..4).map(|_| scope.spawn(|| node.get("/sleep?ms=200").status)).collect();
            for answer in answers {
                assert_eq!(answer.join().expect("no panic"), 200);
            }
        });
        assert_eq!(started(&node, "warm"), 4.0);
    }
}

#[test]
fn an_isolate_is_made_ahead_for_a_worker_that_is_asked_often_and_never_asked_twice() {
    for node in nodes("[[route]]\npath = \"/*\"") {
        until("one waits", || {
            assert_eq!((count(&node), count(&node)), (1, 1));
            node.metric("eyot_isolates_waiting", "") >= 1.0
        });
        assert_eq!(count(&node), 1);
        assert!(started(&node, "prepared") >= 1.0);
        assert_eq!(started(&node, "reused"), 0.0);
        until("none waits in vain", || node.metric("eyot_isolates_waiting", "") == 0.0);
    }
}
