//! `eyot dev`: builds, serves, shows each request, rebuilds and swaps on change.

mod harness;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::{Node, eyot, fixtures, until};

/// A worker whose build copies the component that `which.txt` names, so that a change needs no compiler.
fn worker(folder: &Path, name: &str, component: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    let manifest =
        format!("name = \"{name}\"\ncomponent = \"out.wasm\"\n[build]\ncommand = 'cp \"$(cat which.txt)\" out.wasm'\n");
    std::fs::write(folder.join("eyot.toml"), manifest).expect("a file");
    choose(folder, component);
}

fn choose(folder: &Path, component: &Path) {
    std::fs::write(folder.join("which.txt"), component.display().to_string()).expect("a file");
}

/// Only the fixture of WASI 0.3 knows this mode: it tells which of the two serves.
fn serves_fixture3(node: &Node) -> bool {
    match node.get_from("tiny.localhost", "/together?ms=0").status {
        200 => true,
        404 => false,
        status => panic!("{status}"),
    }
}

fn swaps(node: &Node) -> usize {
    node.log().matches("swapped tiny@").count()
}

fn keeps(node: &Node) -> usize {
    node.log().matches("the old version serves on").count()
}

/// A hidden folder above the worker, as people have, must not hide it.
fn start() -> (tempfile::TempDir, std::path::PathBuf, Node) {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join(".checkouts/project");
    worker(&root.join("tiny"), "tiny", &fixtures::fixture());
    let node = Node::dev(&root, &[]);
    (folder, root, node)
}

#[test]
fn routes_and_a_curl_line_for_each_are_printed_and_every_request_is_one_line() {
    let (_folder, _root, node) = start();
    let curl = format!("curl -i http://tiny.localhost:{}/", node.address().port());
    node.wait_for_log(&curl);
    assert_eq!(node.get_from("tiny.localhost", "/count?secret=1").status, 200);
    assert_eq!(node.get_from("tiny.localhost", "/trap").status, 500);
    assert_eq!(node.get_from("nobody.localhost", "/x").status, 404);
    node.wait_for_log("route_not_found");
    let log = node.log();
    let line = |path: &str| {
        let mut lines = log.lines().filter(|line| line.starts_with("GET ") && line.contains(&format!("{path} ")));
        let line = lines.next().unwrap_or_else(|| panic!("no line for {path} in {log}"));
        assert!(lines.next().is_none(), "one line: {log}");
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let count = line("/count");
    for part in ["GET tiny.localhost/count 200 ", " ms ", " µs CPU ", " KiB ", " warm tiny@"] {
        assert!(count.contains(part), "{part:?} in {count:?}");
    }
    assert!(!count.contains("secret"), "{count}");
    let trap = line("/trap");
    assert!(trap.contains(" 500 ") && trap.ends_with("worker_trapped"), "{trap}");
    let nowhere = line("/x");
    assert!(
        nowhere.contains("nobody.localhost/x 404 ")
            && nowhere.contains("- - -")
            && nowhere.ends_with("route_not_found"),
        "{nowhere}"
    );
}

#[test]
fn a_change_rebuilds_and_swaps_without_a_lost_request() {
    let (_folder, root, node) = start();
    assert!(!serves_fixture3(&node));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut answers = 0;
                    while !done.load(Ordering::Relaxed) {
                        let answer = node.get_from("tiny.localhost", "/count");
                        assert_eq!((answer.status, answer.body.trim()), (200, "1"), "{}", answer.code());
                        answers += 1;
                    }
                    answers
                })
            })
            .collect();
        let slow = scope.spawn(|| node.get_from("tiny.localhost", "/sleep?ms=3000"));
        for (round, component) in [fixtures::fixture3(), fixtures::fixture()].into_iter().enumerate() {
            choose(&root.join("tiny"), &component);
            until("the new version serves", || swaps(&node) == round + 1);
            assert_eq!(serves_fixture3(&node), round == 0);
        }
        assert_eq!(slow.join().expect("no panic").status, 200, "what began on the old version ends on it");
        done.store(true, Ordering::Relaxed);
        for client in clients {
            assert!(client.join().expect("no request is lost") > 0);
        }
    });
}

#[test]
fn a_broken_change_keeps_the_old_version_and_says_why() {
    let (_folder, root, node) = start();
    let tiny = root.join("tiny");
    choose(&tiny, Path::new("/nonexistent.wasm"));
    until("the old version is kept", || keeps(&node) == 1);
    assert!(node.log().contains("tiny does not build"), "{}", node.log());
    assert!(node.log().contains("/nonexistent.wasm"), "what the build said: {}", node.log());
    assert_eq!(node.get_from("tiny.localhost", "/count").status, 200);

    let manifest = std::fs::read_to_string(tiny.join("eyot.toml")).expect("a file");
    std::fs::write(tiny.join("eyot.toml"), format!("colour = 1\n{manifest}")).expect("a file");
    until("the old version is kept", || keeps(&node) == 2);
    assert!(node.log().contains("eyot.toml:1:1"), "{}", node.log());
    assert_eq!(node.get_from("tiny.localhost", "/count").status, 200);

    // Repaired one after the other: what did not build before is built though only the other file changed last.
    choose(&tiny, &fixtures::fixture3());
    until("the old version is kept", || keeps(&node) == 3);
    std::fs::write(tiny.join("eyot.toml"), manifest).expect("a file");
    until("the new version serves", || swaps(&node) == 1);
    assert!(serves_fixture3(&node));

    std::fs::remove_file(tiny.join("which.txt")).expect("removed");
    until("a file that is gone is a change", || keeps(&node) == 4);
    assert!(serves_fixture3(&node));
}

#[test]
fn a_worker_that_appears_is_served_and_one_that_goes_is_not() {
    let (_folder, root, node) = start();
    worker(&root.join("group/second"), "second", &fixtures::fixture());
    node.wait_for_log("serves second@");
    node.wait_for_log("curl -i http://second.localhost:");
    assert_eq!(node.get_from("second.localhost", "/count").status, 200);
    assert_eq!(node.log().matches("curl -i http://tiny.localhost:").count(), 1, "only what is new is printed again");
    std::fs::write(root.join("README.md"), "of no worker").expect("a file");
    std::fs::remove_dir_all(root.join("group")).expect("removed");
    until("it is gone", || node.get_from("second.localhost", "/count").status == 404);
    assert_eq!(node.get_from("tiny.localhost", "/count").status, 200);
    assert!(!node.log().contains("README"), "{}", node.log());
}

#[test]
fn what_a_build_writes_is_no_change() {
    let (_folder, root, node) = start();
    let tiny = root.join("tiny");
    let manifest = std::fs::read_to_string(tiny.join("eyot.toml")).expect("a file");
    std::fs::write(tiny.join("eyot.toml"), manifest.replace("command = '", "command = 'date -r eyot.toml > made.js; "))
        .expect("a file");
    until("it is built", || swaps(&node) >= 1);
    choose(&tiny, &fixtures::fixture3());
    until("it is built", || serves_fixture3(&node));
    // Once because of which.txt, at most once more because made.js was not known: not for ever.
    let before = swaps(&node);
    choose(&tiny, &fixtures::fixture());
    until("it is built", || !serves_fixture3(&node));
    until("its line is there", || swaps(&node) > before);
    assert!(node.log().matches("made.js").count() <= 1, "{}", node.log());
}

#[test]
fn a_worker_that_is_broken_keeps_no_other_from_serving() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    worker(&root.join("tiny"), "tiny", &fixtures::fixture());
    worker(&root.join("broken"), "broken", Path::new("/nonexistent.wasm"));
    worker(&root.join("twin"), "tiny", &fixtures::fixture());
    let node = Node::dev(root, &[]);
    assert_eq!(node.get_from("tiny.localhost", "/count").status, 200);
    let log = node.log();
    for part in [
        "broken does not build",
        "broken           does not serve yet",
        "two workers with the name `tiny`",
        "twin/eyot.toml:1:8",
    ] {
        assert!(log.contains(part), "{part:?} in {log}");
    }
    // Changes of the others serve while it is broken.
    choose(&root.join("tiny"), &fixtures::fixture3());
    until("it is swapped", || serves_fixture3(&node));
    // Repaired, each begins to serve by itself.
    choose(&root.join("broken"), &fixtures::fixture());
    node.wait_for_log("serves broken@");
    assert_eq!(node.get_from("broken.localhost", "/count").status, 200);
    worker(&root.join("twin"), "other", &fixtures::fixture());
    node.wait_for_log("serves other@");
    assert_eq!(node.get_from("other.localhost", "/count").status, 200);
    assert!(serves_fixture3(&node));
}

#[test]
fn a_component_that_comes_later_is_noticed_and_one_that_is_broken_is_not_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    worker(&root.join("tiny"), "tiny", &fixtures::fixture());
    std::fs::create_dir(root.join("given")).expect("a folder");
    std::fs::write(root.join("given/eyot.toml"), "name = \"given\"\n").expect("a file");
    let node = Node::dev(root, &[]);
    assert_eq!(node.get_from("given.localhost", "/count").status, 404);
    let component = root.join("given/given.wasm");
    std::fs::copy(fixtures::fixture(), &component).expect("a copy");
    node.wait_for_log("serves given@");
    std::fs::write(&component, "\0asm").expect("a file");
    until("the old version is kept", || keeps(&node) == 1);
    assert_eq!(node.get_from("given.localhost", "/count").status, 200);
}

#[test]
fn a_change_of_the_limits_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = folder.path().join("my limits.toml");
    std::fs::write(&limits, "").expect("a file");
    let root = folder.path().join("workers");
    worker(&root.join("tiny"), "tiny", &fixtures::fixture());
    let node = Node::dev(&root, &["--limits", limits.to_str().expect("text")]);
    assert_eq!(node.get_from("tiny.localhost", "/sleep?ms=1000").status, 200);
    std::fs::write(&limits, "wall_time = \"100ms\"\n").expect("a file");
    until("it is swapped", || swaps(&node) == 1);
    assert_eq!(node.get_from("tiny.localhost", "/sleep?ms=1000").code(), "worker_timeout");
    std::fs::write(&limits, "wall_time = 7\n").expect("a file");
    node.wait_for_log("my limits.toml:1:");
    node.wait_for_log("kept the limits");
}

#[test]
fn an_isolate_that_is_kept_is_of_the_version_that_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("workers");
    worker(&root.join("tiny"), "tiny", &fixtures::fixture());
    let manifest = root.join("tiny/eyot.toml");
    let text = std::fs::read_to_string(&manifest).expect("a file");
    std::fs::write(&manifest, format!("isolate = \"reuse\"\n{text}\n[limits]\nreuse_idle = \"10m\"\n"))
        .expect("a file");
    let node = Node::dev(&root, &[]);
    until("an isolate is kept", || node.get_from("tiny.localhost", "/count").body.trim() == "3");
    choose(&root.join("tiny"), &fixtures::fixture3());
    until("it is swapped", || swaps(&node) == 1);
    until("the new version serves", || serves_fixture3(&node));
    assert!(serves_fixture3(&node));
    choose(&root.join("tiny"), &fixtures::fixture());
    until("it is swapped back", || swaps(&node) == 2);
    assert!(node.get_from("tiny.localhost", "/count").body.trim().parse::<u64>().expect("a number") < 3);
}

#[test]
fn a_port_in_use_is_told_before_anything_is_built() {
    let folder = tempfile::tempdir().expect("a folder");
    worker(folder.path(), "tiny", &fixtures::fixture());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for arguments in
        [["--listen", &address, "--admin", "127.0.0.1:0"], ["--listen", "127.0.0.1:0", "--admin", &address]]
    {
        let output = eyot().arg("dev").arg(folder.path()).args(arguments).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains("the port is in use"), "{errors}");
        assert!(!folder.path().join("out.wasm").exists(), "it was built: {errors}");
    }
}

#[test]
fn what_a_worker_says_has_its_level_and_the_workers_name() {
    let folder = tempfile::tempdir().expect("a folder");
    worker(folder.path(), "tiny", &fixtures::fixture());
    let node = Node::dev(folder.path(), &[]);
    assert_eq!(node.get_from("tiny.localhost", "/trap").status, 500);
    node.wait_for_log("      warn tiny: ");
}

#[test]
fn builds_that_fail_are_told_together_and_two_workers_of_one_name_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["one", "two"] {
        worker(&folder.path().join(name), name, Path::new("/nonexistent.wasm"));
    }
    let run = |command: &str| {
        let output = eyot().arg(command).arg(folder.path()).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, errors) = run("build");
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("one does not build") && errors.contains("two does not build"), "{errors}");

    std::fs::write(folder.path().join("one/eyot.toml"), "name = \"one\"\n[build]\ncommand = \"true\"\n")
        .expect("a file");
    let (code, errors) = run("build");
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("one.wasm") && errors.contains("did not make"), "{errors}");

    worker(&folder.path().join("one"), "two", &fixtures::fixture());
    for command in ["build", "check"] {
        let (code, errors) = run(command);
        assert_eq!(code, Some(2), "{command}: {errors}");
        assert!(errors.contains("two workers with the name `two`") && errors.contains("rename"), "{command}: {errors}");
        assert!(errors.contains("two/eyot.toml:1:8") && errors.contains("one/eyot.toml:1:8"), "{command}: {errors}");
    }
}

#[test]
fn paths_that_are_not_there_and_faulty_limits_end_with_2_and_say_so() {
    for arguments in [["check", "/nonexistent"], ["build", "/nonexistent"], ["dev", "/nonexistent"]] {
        let output = eyot().args(arguments).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains("no such file or folder") && errors.contains("/nonexistent"), "{errors}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let limits = folder.path().join("limits.toml");
    std::fs::write(&limits, "memory = 5\n").expect("a file");
    let output = eyot().args(["limits", "--limits"]).arg(&limits).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What a command of the admin API says to `eyot dev`, which asks for no token.
fn told(node: &Node, arguments: &[&str]) -> String {
    let admin = format!("http://{}", node.admin.expect("an admin listener"));
    let output = eyot().args(arguments).args(["--admin", &admin]).stdin(std::process::Stdio::null()).output();
    let output = output.expect("it runs");
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {wrong}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_workers_keep_is_looked_at_and_changed_as_on_a_node_and_nothing_can_be_deployed() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = "kv = [\"seen\"]\n[[queue]]\nname = \"jobs\"\n[[schedule]]\nname = \"yearly\"\ncron = \"0 0 1 1 *\"";
    std::fs::create_dir(folder.path().join("jobs")).expect("a folder");
    let manifest = fixtures::worker("jobs", &fixtures::queue(), lines);
    std::fs::write(folder.path().join("jobs/eyot.toml"), manifest).expect("a file");
    let node = Node::dev_in(folder.path(), &folder.path().join("jobs"));
    told(&node, &["queue", "pause", "jobs", "jobs"]);
    let sent = told(&node, &["queue", "send", "jobs", "jobs", "--content-type", "text/plain"]);
    assert!(told(&node, &["queue", "peek", "jobs", "jobs"]).contains(sent.trim()), "{sent}");
    assert!(told(&node, &["queue", "ls", "jobs"]).contains("jobs-dead"));
    told(&node, &["queue", "resume", "jobs", "jobs"]);
    until("it is worked off", || told(&node, &["kv", "ls", "jobs", "seen"]).contains("body:"));
    assert_eq!(told(&node, &["kv", "get", "jobs", "seen", "calls"]), "1");
    told(&node, &["schedule", "run", "jobs", "yearly"]);
    until("it has run", || told(&node, &["schedule", "history", "jobs", "yearly"]).contains("done"));
    let admin = format!("http://{}", node.admin.expect("an admin listener"));
    let output = eyot().args(["workers", "--admin", &admin]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing is deployed"), "{output:?}");
}
