//! Drains, upgrades, ports that are taken, and processes that have given up what they do not need.

use std::net::UdpSocket;
use std::process::Command;

use serde_json::json;

use super::harness::{Node, eyot, until};
use super::{Site, aioquic, code, get};

#[test]
fn a_drain_says_goodbye_answers_what_was_asked_and_takes_no_more() {
    let mut site = Site::new();
    let steps = json!([
        ["ask", "slow", get("/sleep?ms=1500")],
        ["say", "asked"],
        ["goaway"],
        ["ask", "late", get("/count")],
        ["wait", "late", "slow"],
        ["closed"],
    ]);
    let Some(mut client) = site.start_client(&steps) else { return };
    client.says("asked");
    until("it runs", || site.node.metric("eyot_isolates_in_use", "") == 1.0);
    let address = site.node.address();
    assert_eq!(site.node.stop("-TERM").code(), Some(0));
    let seen = client.end();
    assert_eq!(seen.status("slow"), 200, "{}", seen.0);
    // GOAWAY names the first request that is not taken (RFC 9114 §5.2): the second one, whose stream is number 4.
    assert!(seen.0["control"].as_str().unwrap().contains("070104"), "{}", seen.0);
    assert_eq!(seen.reset("late"), Some(0x10b), "rejected, so that it may be asked again: {}", seen.0);
    assert_eq!(seen.closed(), Some(code::NO_ERROR));
    UdpSocket::bind(address).expect("the port is free");
}

#[test]
fn a_drain_ends_connections_that_ask_for_nothing_at_once() {
    let mut site = Site::new();
    let steps = json!([["ask", "one", get("/count")], ["wait", "one"], ["say", "there"], ["closed"]]);
    let Some(mut client) = site.start_client(&steps) else { return };
    client.says("there");
    assert_eq!(site.node.stop("-TERM").code(), Some(0));
    let seen = client.end();
    assert_eq!(seen.closed(), Some(code::NO_ERROR), "{}", seen.0);
    assert!(!site.node.log().contains("ended before all work was done"), "{}", site.node.log());
}

#[test]
fn a_process_that_takes_over_serves_http_3_when_the_one_before_has_left() {
    let mut site = Site::start("state = \"state\"", "");
    site.node.untidy();
    let configuration = site.node.folder.path().join("node.toml");
    let steps = json!([["ask", "slow", get("/sleep?ms=3000")], ["say", "asked"], ["wait", "slow"], ["closed"]]);
    let Some(mut client) = site.start_client(&steps) else { return };
    client.says("asked");
    until("it runs", || site.node.metric("eyot_isolates_in_use", "") == 1.0);
    let successor = Node::start_beside(eyot(), &configuration, &["--take-over"]);
    assert_eq!(successor.address(), site.node.address());
    let seen = client.end();
    assert_eq!((seen.status("slow"), seen.closed()), (200, Some(code::NO_ERROR)), "{}", seen.0);
    until("the one before has ended", || site.node.ended());
    successor.wait_for_log("as soon as the process before has left");
    let ask = json!([["ask", "one", get("/count")], ["wait", "one"]]);
    until("the new one answers", || {
        let mut plan = site.plan(&ask);
        plan["address"] = json!(successor.address());
        aioquic::start(&plan).expect("a client").end().of("one")["status"] == 200
    });
    assert!(!successor.log().contains("panicked"), "{}", successor.log());
}

#[test]
fn a_port_of_udp_that_is_taken_is_told_of_together_with_what_to_do() {
    let site = Site::new();
    let address = site.node.address();
    let folder = site.node.folder.path();
    let text = std::fs::read_to_string(folder.join("node.toml")).unwrap();
    // TCP is free at this port, UDP is not; unless a connection of another test has it just now.
    let told = |taken: &UdpSocket| {
        let port = taken.local_addr().unwrap().port();
        let text = text.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1);
        std::fs::write(folder.join("taken.toml"), text).unwrap();
        let output = eyot().arg("serve").arg("--config").arg(folder.join("taken.toml")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output, said, port)
    };
    let tries = (0..10).map(|_| told(&UdpSocket::bind("127.0.0.1:0").unwrap()));
    let mut tries = tries.filter(|(_, said, _)| !said.contains("the port is in use") || said.contains("by UDP"));
    let (output, said, port) = tries.next().expect("a port that is free for TCP");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("cannot listen on 127.0.0.1:{port} by UDP, for HTTP/3")), "{said}");
    assert!(said.contains("leave out `http3`"), "{said}");
    assert_ne!(address.port(), port);
}

#[test]
fn a_node_that_is_confined_speaks_http_3() {
    let site = Site::new();
    let possible = Command::new(eyot().get_program())
        .args(["check", "--config"])
        .arg(site.node.folder.path().join("node.toml"))
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("by Landlock and seccomp"));
    if !possible {
        eprintln!("SKIPPED: this kernel does not confine processes");
        return;
    }
    let configuration = site.node.folder.path().join("node.toml");
    let confined = Node::start_beside(eyot(), &configuration, &["--confine", "required"]);
    let mut plan = site.plan(&json!([["ask", "one", get("/big-body?mib=1")], ["wait", "one"]]));
    plan["address"] = json!(confined.address());
    let Some(client) = aioquic::start(&plan) else { return };
    let seen = client.end();
    assert_eq!((seen.status("one"), seen.body("one").len()), (200, 1 << 20));
}
