//! The start and the end of a node: descriptors, signals, drain.

mod harness;

use std::io::{Read, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Node, fixtures, until};

/// A node with the fixture at every path, under these limits of the node.
fn fixture(limits: &str) -> Node {
    let manifest = fixtures::manifest("[[route]]\npath = \"/*\"");
    let configuration = format!("[limits]\n{limits}\n[[worker]]\npath = \"fixture\"");
    Node::start(&configuration, &[("fixture/eyot.toml", &manifest)])
}

const CUT: &str = "ended before all work was done";

#[test]
fn sigterm_lets_a_request_finish_and_refuses_new_connections() {
    let manifest = fixtures::manifest("[[route]]\npath = \"/*\"");
    let mut node = Node::start("[[worker]]\npath = \"fixture\"", &[("fixture/eyot.toml", &manifest)]);
    let mut socket = node.connect();
    socket.write_all(b"GET /sleep?ms=1000 HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    harness::until("it runs", || node.metric("eyot_isolates_in_use", "") == 1.0);
    let status = node.stop("-TERM");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(status.code(), Some(0));
    assert!(std::net::TcpStream::connect(node.address()).is_err());
}

#[test]
fn work_after_the_response_goes_on_in_a_drain() {
    let mut node = fixture("");
    assert_eq!(node.get("/background?ms=1500").status, 200);
    until("it runs on", || node.metric("eyot_isolates_in_use", "") == 1.0);
    let began = Instant::now();
    assert_eq!(node.stop("-TERM").code(), Some(0));
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    assert!(!node.log().contains(CUT), "{}", node.log());
}

#[test]
fn work_that_is_not_done_after_the_drain_is_cut_and_told_of() {
    let mut node = fixture("drain = \"300ms\"");
    assert_eq!(node.get("/background?ms=20000").status, 200);
    until("it runs on", || node.metric("eyot_isolates_in_use", "") == 1.0);
    assert_eq!(node.stop("-TERM").code(), Some(0));
    node.wait_for_log(CUT);
    assert!(node.log().contains("\"isolates\":1"), "{}", node.log());
}

#[test]
fn a_second_signal_ends_a_drain_at_once() {
    let mut node = fixture("drain = \"10m\"");
    let mut socket = node.connect();
    socket.write_all(b"GET /sleep?ms=25000 HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    until("it runs", || node.metric("eyot_isolates_in_use", "") == 1.0);
    node.signal("-TERM");
    until("it drains", || std::net::TcpStream::connect(node.address()).is_err());
    let began = Instant::now();
    assert_eq!(node.stop("-INT").code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    node.wait_for_log(CUT);
}

/// Runs the binary under limits on descriptors of its own.
fn under(ulimit: &str) -> Node {
    let mut command = Command::new("sh");
    let binary = harness::eyot();
    command.args(["-c", &format!("ulimit {ulimit}; exec \"$0\" \"$@\"")]).arg(binary.get_program());
    command.envs(binary.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\n[[route]]\nrespond = { body = \"ok\" }";
    Node::start_by(command, listener, &[], "off")
}

#[test]
fn a_node_takes_all_descriptors_that_it_may_have_and_says_when_they_are_few() {
    let most = String::from_utf8(Command::new("sh").args(["-c", "ulimit -Hn"]).output().expect("a shell").stdout);
    let node = under("-Sn 256");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", node.id())).expect("a process");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line").to_owned();
    assert_eq!(line.split_whitespace().nth(3), most.expect("text").split_whitespace().next(), "{line}");
    let node = under("-n 1000");
    node.wait_for_log("too few open descriptors");
}

#[test]
fn ports_in_use_are_told_of_together_with_what_to_do() {
    let taken = [0, 1].map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    let [listener, admin] = taken.each_ref().map(|taken| taken.local_addr().expect("an address"));
    let folder = tempfile::tempdir().expect("a folder");
    let configuration = folder.path().join("node.toml");
    let text = format!(
        "[[listener]]\naddress = \"{listener}\"\n[admin]\naddress = \"{admin}\"\n[[route]]\nrespond = {{ body = \"\" }}"
    );
    std::fs::write(&configuration, text).expect("a file");
    let output = harness::eyot().arg("serve").arg("--config").arg(configuration).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for address in [listener, admin] {
        assert!(said.contains(&format!("cannot listen on {address}: the port is in use")), "{said}");
    }
    assert_eq!(said.matches("stop the process that has it").count(), 2, "{said}");
    assert!(said.contains("node.toml:2:11") && said.contains("node.toml:4:11"), "{said}");
}
