//! A process that serves has given up what serving does not need, in each of its threads; one that compiles has given up more.

mod harness;

use harness::{Answer, Node, eyot, fixtures};

/// What the kernel says of each thread of a process (proc(5), `/proc/PID/status`).
fn each_thread(process: u32, field: &str) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("threads");
    let said = threads.filter_map(|thread| {
        let status = std::fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        Some(line.trim_start_matches(':').trim().to_owned())
    });
    said.collect()
}

/// Whether this machine's kernel can be asked at all; said where it cannot.
fn is_possible() -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("node.toml"), "[[listener]]\naddress = \"127.0.0.1:0\"\n").expect("a file");
    let check = eyot().args(["check", "--config"]).arg(folder.path().join("node.toml")).output().expect("it runs");
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(said.contains("is confined here by"), "{said}");
    let possible = said.contains("by Landlock and seccomp");
    if !possible {
        eprintln!("SKIPPED: {said}");
    }
    possible
}

#[test]
fn every_thread_of_a_node_runs_under_a_filter_and_gains_no_privileges() {
    if !is_possible() {
        return;
    }
    let node = Node::single(&fixtures::fixture(), &["--confine", "required"]);
    assert_eq!(Answer::of(node.request("GET", "/count")).status, 200);
    let filters = each_thread(node.id(), "Seccomp");
    assert!(filters.len() > 2 && filters.iter().all(|mode| mode == "2"), "{filters:?}");
    let privileges = each_thread(node.id(), "NoNewPrivs");
    assert!(privileges.iter().all(|none| none == "1"), "{privileges:?}");
}

#[test]
fn a_confined_node_does_all_that_a_node_does() {
    if !is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("access.log");
    let arguments = ["--confine", "required", "--access-log", log.to_str().expect("text")];
    let state = ["--state", folder.path().to_str().expect("text")];
    let node = Node::single(&fixtures::fixture(), &[arguments.as_slice(), &state].concat());
    // It asks by name, so the resolver's files are read, and another process is reached.
    let origin = harness::Node::single(&fixtures::hello(), &[]);
    let url = format!("http://localhost:{}/", origin.address().port());
    assert!(
        node.get(&format!("/fetch?url={url}")).body.contains("200"),
        "{}",
        node.get(&format!("/fetch?url={url}")).body
    );
    harness::until("the access log has a line", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("\"path\":\"/fetch\""))
    });
    let compiled = std::fs::read_dir(folder.path().join("compiled")).expect("a folder").count();
    assert_eq!(compiled, 2, "what was compiled is kept");
}

#[test]
fn pipes_have_no_rule_and_are_no_reason_not_to_start() {
    let node = Node::single(&fixtures::fixture(), &["--access-log", "/dev/stdout"]);
    assert_eq!(Answer::of(node.request("GET", "/count")).status, 200);
}

#[test]
fn confinement_can_be_turned_off_and_that_is_said() {
    let node = Node::single(&fixtures::fixture(), &["--confine", "off"]);
    assert_eq!(Answer::of(node.request("GET", "/count")).status, 200);
    assert!(each_thread(node.id(), "Seccomp").iter().all(|mode| mode == "0"));
    node.wait_for_log("this process is not confined");
}

#[test]
fn the_process_that_compiles_has_no_files_and_no_network() {
    if !is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let component = fixtures::hard_to_compile(1_000, 10_000, folder.path());
    let mut check = eyot();
    check.arg("serve").arg(component).args(["--addr", "127.0.0.1:0", "--state"]).arg(folder.path());
    let mut node = check.stderr(std::process::Stdio::null()).spawn().expect("it starts");
    // While it compiles: the helper is the node's child, the process that compiles is the helper's.
    let child_of = |parent: u32| -> Option<u32> {
        let processes = std::fs::read_dir("/proc").expect("processes").flatten();
        let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        // proc(5), `/proc/PID/stat`: the parent is the second field behind the name, which stands in parentheses.
        ids.find(|id| {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
            behind.split_whitespace().nth(1) == Some(&parent.to_string())
        })
    };
    let mut compiling = None;
    harness::until("a process compiles under a filter", || {
        compiling = child_of(node.id()).and_then(child_of);
        compiling.is_some_and(|process| {
            let modes = each_thread(process, "Seccomp");
            !modes.is_empty() && modes.iter().all(|mode| mode == "2")
        })
    });
    let process = compiling.expect("a process");
    let sockets = std::fs::read_dir(format!("/proc/{process}/fd")).expect("descriptors").flatten();
    let open: Vec<_> = sockets.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
    let is_harmless = |what: &std::path::PathBuf| what.to_string_lossy().starts_with("pipe:") || what.ends_with("null");
    assert!(open.iter().all(is_harmless), "{open:?}");
    // What it was started for ends with its node.
    node.kill().expect("it runs");
    node.wait().expect("it ends");
    harness::until("nobody compiles for nobody", || !std::path::Path::new(&format!("/proc/{process}")).exists());
}
