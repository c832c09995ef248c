//! The limits of a worker and of the node.

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{Answer, PATIENCE, client, eyot, fixtures, until};
use crate::{SOON, fails, fixture, fixture_with, outcome, ran_to_its_end};

#[test]
pub(crate) fn past_concurrency_and_queue_the_next_request_is_503_at_once() {
    let node = fixture("concurrency = 1\nqueue = 1\nqueue_wait = \"5s\"");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| node.get("/sleep?ms=3000"));
        until("the first runs", || node.metric("eyot_isolates_in_use", "") == 1.0);
        let others: Vec<_> = (0..5)
            .map(|_| {
                scope.spawn(|| {
                    let began = Instant::now();
                    (node.get("/count"), began.elapsed())
                })
            })
            .collect();
        let others: Vec<_> = others.into_iter().map(|other| other.join().expect("no panic")).collect();
        let (served, refused): (Vec<_>, Vec<_>) = others.into_iter().partition(|(answer, _)| answer.status == 200);
        assert_eq!((served.len(), refused.len()), (1, 4), "the one in the queue is served");
        for (answer, time) in refused {
            fails(&answer, 503, "overloaded");
            assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1));
            assert!(time < Duration::from_secs(1), "at once: {time:?}");
        }
        assert_eq!(first.join().expect("no panic").status, 200);
    });
}

#[test]
pub(crate) fn a_wait_longer_than_queue_wait_is_503() {
    let node = fixture("concurrency = 1\nqueue = 10\nqueue_wait = \"200ms\"");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| node.get("/sleep?ms=2000"));
        until("the first runs", || node.metric("eyot_isolates_in_use", "") == 1.0);
        fails(&node.get("/count"), 503, "overloaded");
        assert_eq!(first.join().expect("no panic").status, 200);
    });
}

#[test]
pub(crate) fn isolates_of_all_workers_together_are_bounded() {
    let node = fixture_with("[limits]\nnode_concurrency = 1", "queue_wait = \"100ms\"");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| node.get("/sleep?ms=3000"));
        until("the first runs", || node.metric("eyot_isolates_in_use", "") == 1.0);
        fails(&node.get("/count"), 503, "overloaded");
        assert_eq!(first.join().expect("no panic").status, 200);
    });
}

#[test]
pub(crate) fn past_node_queue_the_next_request_of_any_worker_is_503_at_once() {
    let node = fixture_with("[limits]\nnode_concurrency = 1\nnode_queue = 0\nnode_queue_wait = \"10s\"", "");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| node.get("/sleep?ms=3000"));
        until("the first runs", || node.metric("eyot_isolates_in_use", "") == 1.0);
        let began = Instant::now();
        fails(&node.get("/count"), 503, "overloaded");
        assert!(began.elapsed() < Duration::from_secs(2), "at once: {:?}", began.elapsed());
        assert_eq!(first.join().expect("no panic").status, 200);
    });
}

#[test]
pub(crate) fn a_wait_longer_than_node_queue_wait_is_503() {
    let node = fixture_with("[limits]\nnode_concurrency = 1\nnode_queue = 1\nnode_queue_wait = \"200ms\"", "");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| node.get("/sleep?ms=3000"));
        until("the first runs", || node.metric("eyot_isolates_in_use", "") == 1.0);
        let began = Instant::now();
        fails(&node.get("/count"), 503, "overloaded");
        let waited = began.elapsed();
        assert!(waited >= Duration::from_millis(200) && waited < Duration::from_secs(2), "{waited:?}");
        assert_eq!(first.join().expect("no panic").status, 200);
    });
}

#[test]
pub(crate) fn the_memory_of_all_isolates_together_is_bounded() {
    let declared = |pages: u32| format!("(memory {pages}) (func (export \"handle\") (param i32 i32))");
    // 8 MiB are 128 pages; a worker that is alone may have eight ninths of three quarters.
    let node = "[limits]\nnode_memory = \"8MiB\"";
    assert_eq!(outcome(&declared(85), node, ""), ran_to_its_end());
    assert_eq!(outcome(&declared(86), node, ""), (503, "overloaded".to_owned()));
}

#[test]
pub(crate) fn a_request_within_drain_is_answered_and_one_past_it_is_cut() {
    for (drain, sleep, answered) in [("20s", "500", true), ("300ms", "20000", false)] {
        let mut node = fixture_with(&format!("[limits]\ndrain = \"{drain}\""), "");
        let mut socket = node.connect();
        let request = format!("GET /sleep?ms={sleep} HTTP/1.1\r\nhost: a\r\n\r\n");
        socket.write_all(request.as_bytes()).expect("sent");
        until("it runs", || node.metric("eyot_isolates_in_use", "") == 1.0);
        let began = Instant::now();
        assert_eq!(node.stop("-TERM").code(), Some(0));
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert_eq!(answer.starts_with(b"HTTP/1.1 200"), answered, "{}", String::from_utf8_lossy(&answer));
    }
}

#[test]
pub(crate) fn a_node_serves_on_for_drain_delay_while_it_says_that_it_is_not_ready() {
    let mut node = fixture_with("[limits]\ndrain_delay = \"1s\"", "");
    let ready = format!("http://{}/readyz", node.admin.expect("an admin listener"));
    assert_eq!(Answer::of(client().get(&ready)).status, 200);
    let began = Instant::now();
    node.signal("-TERM");
    until("it is not ready", || Answer::of(client().get(&ready)).status == 503);
    assert_eq!(node.get("/count").status, 200);
    while !node.ended() {
        assert!(began.elapsed() < PATIENCE);
    }
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[test]
pub(crate) fn past_process_memory_nothing_begins_until_there_is_some_again() {
    let below = fixture_with("[limits]\nprocess_memory = \"900MiB\"", "memory = \"200MiB\"\ncpu_time = \"5s\"");
    assert_eq!(below.get("/grow?mib=100&sleep=500").status, 200);
    let node = fixture_with("[limits]\nprocess_memory = \"120MiB\"", "memory = \"200MiB\"\ncpu_time = \"5s\"");
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| node.get("/grow?mib=150&sleep=3000"));
        until("there is too little", || node.get("/count").code() == "overloaded");
        assert_eq!(holder.join().expect("no panic").status, 200, "what has begun goes on");
    });
    until("there is some again", || node.get("/count").status == 200);
}

/// A node with workers of these components, each at the host of its name, that have been asked once, one after the other.
fn asked_once(components: &[(&str, std::path::PathBuf)], state: &Path, limits: &str) -> crate::harness::Node {
    let manifest = |name: &str, component: &Path| {
        fixtures::worker(name, component, &format!("[[route]]\nhost = \"{name}.test\"\npath = \"/*\""))
    };
    let files: Vec<(String, String)> =
        components.iter().map(|(name, component)| (format!("{name}/eyot.toml"), manifest(name, component))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let workers: String = components.iter().map(|(name, _)| format!("[[worker]]\npath = \"{name}\"\n")).collect();
    let state = format!("state = \"{}\"", state.display());
    let node = crate::harness::Node::start(&format!("{state}\n{workers}[limits]\n{limits}\n"), &files);
    for (name, _) in components {
        node.get_from(&format!("{name}.test"), "/count");
    }
    node
}

/// The same component with other bytes: its name in a section that means nothing.
fn another(component: &Path, name: &str, folder: &Path) -> std::path::PathBuf {
    let mut bytes = std::fs::read(component).expect("a component");
    let length = name.len() as u8;
    bytes.extend([0, length + 1, length]);
    bytes.extend(name.as_bytes());
    let path = folder.join(format!("{name}.wasm"));
    std::fs::write(&path, bytes).expect("a file");
    path
}

#[test]
pub(crate) fn as_many_components_as_loaded_components_are_in_memory_and_one_more_makes_another_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let workers = [("hello", fixtures::hello()), ("fixture", fixtures::fixture())];
    for (most, gone) in [(2.0, 0.0), (1.0, 1.0)] {
        let node = asked_once(&workers, folder.path(), &format!("loaded_components = {most}"));
        assert_eq!(node.metric("eyot_components_loaded", ""), most);
        assert!(node.metric("eyot_component_evictions_total", "") >= gone);
        assert_eq!(gone == 0.0, node.metric("eyot_component_evictions_total", "") == 0.0);
    }
}

#[test]
pub(crate) fn components_are_in_memory_up_to_loaded_bytes_and_one_byte_more_makes_another_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let workers = [("hello", fixtures::hello()), ("fixture", fixtures::fixture())];
    let both = asked_once(&workers, folder.path(), "").metric("eyot_components_loaded_bytes", "");
    for (most, loaded) in [(both, 2.0), (both - 1.0, 1.0)] {
        let node = asked_once(&workers, folder.path(), &format!("loaded_bytes = \"{most}B\""));
        assert_eq!(node.metric("eyot_components_loaded", ""), loaded);
        assert!(node.metric("eyot_components_loaded_bytes", "") <= most);
    }
}

#[test]
pub(crate) fn past_load_queue_the_request_for_the_next_worker_is_503_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let hello = fixtures::hello();
    let of = |name| another(&hello, name, folder.path());
    // The last one is in memory, and has the only place there.
    let workers = [
        ("slow", fixtures::hard_to_compile(1_000, 10_000, folder.path())),
        ("first", of("first")),
        ("second", of("second")),
        ("last", of("last")),
    ];
    let limits = "load_queue = 1\nloaded_components = 1\ncompile_memory = \"4GiB\"";
    let node = asked_once(&workers, folder.path(), limits);
    for file in std::fs::read_dir(folder.path().join("compiled")).expect("a folder").flatten() {
        std::fs::remove_file(file.path()).expect("removed");
    }
    std::thread::scope(|scope| {
        scope.spawn(|| node.get_from("slow.test", "/"));
        node.wait_for_log("there is no code for a component that is active");
        let ask = |host| {
            let (began, answer) = (Instant::now(), node.get_from(host, "/"));
            (answer, began.elapsed())
        };
        let asked = ["first.test", "second.test"].map(|host| scope.spawn(move || ask(host)));
        let answers = asked.map(|asked| asked.join().expect("no panic"));
        let at_once = |time: &Duration| *time < Duration::from_millis(500);
        let (refused, waited): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, time)| at_once(time));
        assert_eq!((refused.len(), waited.len()), (1, 1));
        fails(&refused[0].0, 503, "overloaded");
        assert!(refused[0].0.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1));
        assert_eq!(node.get_from("last.test", "/").status, 200, "what is in memory is served meanwhile");
    });
}

#[test]
pub(crate) fn a_component_up_to_component_size_is_read_and_a_larger_one_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let component = fixtures::hello();
    let bytes = std::fs::metadata(&component).expect("a file").len();
    let manifest = fixtures::worker("hello", &component, "[[route]]\npath = \"/*\"");
    std::fs::write(folder.path().join("eyot.toml"), manifest).expect("a file");
    for (limit, code) in [(bytes, 0), (bytes - 1, 2)] {
        let node = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n[[worker]]\npath = \".\"\n[limits]\ncomponent_size = \"{limit}B\""
        );
        let file = folder.path().join("node.toml");
        std::fs::write(&file, node).expect("a file");
        let output = eyot().args(["check", "--config"]).arg(file).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert_eq!(errors.contains("raise limit `component_size`"), code == 2, "{errors}");
    }
}

/// How `eyot check` of a worker with this component ends, under these limits of the node.
fn checked(component: &Path, limits: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = fixtures::worker("compiled", component, "[[route]]\npath = \"/*\"");
    std::fs::write(folder.path().join("eyot.toml"), manifest).expect("a file");
    let file = folder.path().join("node.toml");
    let node = format!("[[listener]]\naddress = \"127.0.0.1:0\"\n[[worker]]\npath = \".\"\n[limits]\n{limits}\n");
    std::fs::write(&file, node).expect("a file");
    let mut check = eyot();
    check.args(["check", "--config"]).arg(file).arg("--state").arg(folder.path());
    let output = check.output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What is easy to compile passes under this limit, and what is hard does not.
fn holds_the_compiler(limit: &str, locals: usize, blocks: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, errors) = checked(&fixtures::hello(), limit);
    assert_eq!(code, Some(0), "{errors}");
    let began = Instant::now();
    let (code, errors) = checked(&fixtures::hard_to_compile(locals, blocks, folder.path()), limit);
    assert_eq!(code, Some(2), "{errors}");
    let name = limit.split(' ').next().expect("a key");
    assert!(errors.contains(&format!("(limit {name})")) && errors.contains("raise that limit"), "{errors}");
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

#[test]
pub(crate) fn a_component_that_takes_more_than_compile_memory_to_compile_is_refused() {
    holds_the_compiler("compile_memory = \"96MiB\"", 500, 3_000);
}

#[test]
pub(crate) fn a_component_that_takes_more_than_compile_cpu_to_compile_is_refused() {
    holds_the_compiler("compile_cpu = \"1s\"\ncompile_memory = \"4GiB\"", 1_000, 10_000);
}

#[test]
pub(crate) fn a_component_that_takes_longer_than_compile_time_to_compile_is_refused() {
    holds_the_compiler("compile_time = \"2s\"\ncompile_memory = \"4GiB\"", 1_000, 10_000);
}
