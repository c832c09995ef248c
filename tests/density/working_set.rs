//! What is in memory, what has gone from it, and what comes back.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Answer, Node, fixtures, until};
use crate::workers::{self, Client};

/// A node with workers 0 and 1, of which one fits into memory, and with the fixture at `fixture.test`.
struct Two {
    node: Node,
    folder: tempfile::TempDir,
}

impl Two {
    fn start(limits: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let node = Self::node(folder.path(), limits);
        Self { node, folder }
    }

    fn node(folder: &Path, limits: &str) -> Node {
        let workers: String = (0..2).map(|number| workers::write(number, folder)).collect();
        let manifest = fixtures::manifest("[[route]]\nhost = \"fixture.test\"\npath = \"/*\"");
        let state = folder.join("state");
        let configuration = format!(
            "state = \"{}\"\n{workers}[[worker]]\npath = \"fixture\"\n[limits]\nloaded_components = 1\n{limits}\n",
            state.display()
        );
        Node::start(&configuration, &[("fixture/eyot.toml", &manifest)])
    }

    fn ask(&self, number: usize) {
        Client::connect(self.node.address()).ask(number);
    }

    /// The compiled code of a worker, which is not in memory from now on.
    fn code_of(&self, number: usize) -> PathBuf {
        self.ask(number);
        // Its file is mapped, and has its digest in its name.
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.node.id())).expect("a process");
        let path = maps.lines().find(|line| line.ends_with(".cwasm")).and_then(|line| line.split_whitespace().last());
        let path = PathBuf::from(path.expect("mapped code"));
        self.ask(1 - number);
        until("it is not mapped any more", || {
            let maps = fs::read_to_string(format!("/proc/{}/maps", self.node.id())).expect("a process");
            !maps.contains(path.to_str().expect("text"))
        });
        path
    }

    fn loads(&self, start: &str) -> f64 {
        self.node.metric("eyot_component_load_seconds_count", &format!("start=\"{start}\""))
    }
}

#[test]
fn a_worker_that_had_to_go_answers_again_and_no_more_are_in_memory_than_may_be() {
    let two = Two::start("");
    for _ in 0..5 {
        for number in 0..2 {
            two.ask(number);
            assert_eq!(two.node.metric("eyot_components_loaded", ""), 1.0);
        }
    }
    assert!(two.loads("cold") >= 9.0, "all but the first were not in memory");
    assert!(two.node.metric("eyot_component_evictions_total", "") >= 9.0);
    assert_eq!(two.loads("compile"), 0.0, "nothing is compiled after the start");
}

#[test]
fn an_isolate_that_runs_survives_that_its_worker_goes_from_memory() {
    let two = Two::start("");
    let url = |path: &str| format!("http://{}{path}", two.node.address());
    let client = crate::harness::client();
    let asked = client.get(url("/stream?chunks=20&bytes=10&delay=50")).header("host", "fixture.test");
    let answer = asked.send().expect("a head");
    for number in [0, 1, 0, 1] {
        two.ask(number);
    }
    assert_eq!(answer.bytes().expect("a whole body").len(), 200);
    assert_eq!(two.node.get_from("fixture.test", "/count").body.trim(), "1", "and there is another one after it");
}

#[test]
fn code_that_is_deleted_while_its_worker_is_active_is_made_again() {
    let two = Two::start("");
    let code = two.code_of(0);
    fs::remove_file(&code).expect("it was there");
    two.ask(0);
    two.node.wait_for_log("there is no code for a component that is active");
    assert!(code.exists(), "it is kept again");
    assert_eq!(two.loads("compile"), 1.0);
    assert_eq!(two.node.metric("eyot_isolates_started_total", "start=\"compile\""), 1.0);
}

#[test]
fn code_that_was_changed_while_its_worker_is_active_is_not_run_but_made_again() {
    let two = Two::start("");
    let code = two.code_of(0);
    let mut bytes = fs::read(&code).expect("code");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&code, &bytes).expect("written");
    two.ask(0);
    two.node.wait_for_log("does not have its digest");
    assert_ne!(fs::read(&code).expect("code"), bytes, "it was replaced");
}

#[test]
fn a_worker_whose_code_and_component_are_gone_fails_alone_and_says_why() {
    let two = Two::start("");
    let code = two.code_of(0);
    fs::remove_file(&code).expect("it was there");
    fs::write(two.folder.path().join("w00000/worker.wasm"), workers::component(7)).expect("written");
    let answer = two.node.get_from("w00000.test", "/");
    assert_eq!((answer.status, answer.code()), (500, "internal"), "{}", answer.body);
    two.node.wait_for_log("is another component by now");
    two.ask(1);
}

#[test]
fn requests_that_come_together_load_their_worker_once() {
    let two = Two::start("");
    two.ask(1);
    two.ask(0);
    let before = two.loads("cold");
    std::thread::scope(|scope| (0..20).for_each(|_| _ = scope.spawn(|| two.ask(1))));
    assert_eq!(two.loads("cold") - before, 1.0);
}

#[test]
fn what_was_used_last_is_in_memory_soon_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut node = Two::node(folder.path(), "");
    for number in [1, 0, 1] {
        Client::connect(node.address()).ask(number);
    }
    assert_eq!(node.stop("-TERM").code(), Some(0));
    let node = Two::node(folder.path(), "");
    until("one is loaded", || node.metric("eyot_components_loaded", "") == 1.0);
    Client::connect(node.address()).ask(1);
    assert_eq!(node.metric("eyot_isolates_started_total", "start=\"warm\""), 1.0);
}

#[test]
fn after_an_upgrade_code_is_made_again_in_the_background_and_who_asks_comes_first() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(Two::node(folder.path(), ""));
    // As another build would have named it, which only this one's own names are told from.
    for file in fs::read_dir(folder.path().join("state/compiled")).expect("a folder").flatten() {
        let name = file.file_name().into_string().expect("text");
        let (digest, rest) = name.split_once('-').expect("a digest and an engine");
        let end = rest.split_once('.').expect("an end").1;
        fs::rename(file.path(), file.path().with_file_name(format!("{digest}-0123456789abcdef.{end}")))
            .expect("renamed");
    }
    let two = Two { node: Two::node(folder.path(), "loaded_bytes = \"1GiB\""), folder };
    let answer = Answer::of(two.node.request("GET", "/count").header("host", "fixture.test"));
    // Where compiling takes longer than a request waits, it says when to come again.
    assert!(answer.status == 200 || answer.code() == "overloaded", "{}", answer.body);
    until("all are compiled", || two.loads("compile") == 3.0);
    two.ask(0);
    two.ask(1);
    assert_eq!(two.node.get_from("fixture.test", "/count").body.trim(), "1");
    assert_eq!(two.loads("compile"), 3.0);
}
