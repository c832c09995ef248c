//! Isolates that are asked again.

use crate::harness::{Node, fixtures, until};

/// Both fixtures, each on one core, so that each request could meet the isolate of the one before.
fn reusing(limits: &str) -> [Node; 2] {
    [("fixture", fixtures::fixture()), ("fixture3", fixtures::fixture3())].map(|(name, component)| {
        let lines = format!("isolate = \"reuse\"\n[[route]]\npath = \"/*\"\n[limits]\n{limits}");
        let manifest = fixtures::worker(name, &component, &lines);
        let files = [(&*format!("{name}/eyot.toml"), &*manifest)];
        Node::start_on_one_core(&format!("[[worker]]\npath = \"{name}\"\n"), &files)
    })
}

/// What an isolate that counts its requests says, once it is back: a client may have the answer a moment before.
fn count(node: &Node) -> u64 {
    let count = node.get("/count").body.trim().parse().expect("a number");
    node.wait_until_idle();
    count
}

#[test]
pub fn an_isolate_answers_as_many_requests_as_it_may_and_not_one_more() {
    for node in reusing("reuse_requests = 3") {
        let counts: Vec<_> = (0..7).map(|_| count(&node)).collect();
        assert_eq!(counts, [1, 2, 3, 1, 2, 3, 1]);
    }
}

#[test]
pub fn an_isolate_is_asked_until_it_is_too_old() {
    for node in reusing("reuse_age = \"2s\"") {
        assert_eq!((count(&node), count(&node)), (1, 2));
        until("it is replaced, though it is never idle", || count(&node) == 1);
    }
}

#[test]
pub fn an_isolate_that_nobody_asks_for_so_long_gives_its_memory_back() {
    for node in reusing("reuse_idle = \"1s\"") {
        assert_eq!((count(&node), count(&node)), (1, 2));
        until("it is gone", || node.metric("eyot_isolates_waiting", "") == 0.0);
        assert_eq!(count(&node), 1);
    }
}

#[test]
pub fn as_many_isolates_wait_on_a_core_as_the_limit_says() {
    for (most, waiting) in [(2, 2.0), (0, 0.0)] {
        let manifest =
            fixtures::worker("fixture", &fixtures::fixture(), "isolate = \"reuse\"\n[[route]]\npath = \"/*\"");
        let node = Node::start_on_one_core(
            &format!("[limits]\nwaiting_isolates = {most}\n[[worker]]\npath = \"fixture\"\n"),
            &[("fixture/eyot.toml", &manifest)],
        );
        std::thread::scope(|scope| {
            let sleepers: Vec<_> = (0..4).map(|_| scope.spawn(|| node.get("/sleep?ms=500").status)).collect();
            assert!(sleepers.into_iter().all(|sleeper| sleeper.join().expect("no panic") == 200));
        });
        until("the rest is gone", || node.metric("eyot_isolates_waiting", "") == waiting);
        count(&node);
        let reused = node.metric("eyot_isolates_started_total", "start=\"reused\"");
        assert_eq!(reused, if most == 0 { 0.0 } else { 1.0 });
    }
}
