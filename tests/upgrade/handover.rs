//! Upgrades, good and bad.

use std::io::{Read, Write};

use super::dial::{Client, VERSIONS};
use super::harness::origin::Origin;
use super::harness::{Node, until};
use super::load::{self, Ends, Seen, Speaks};
use super::relay::Relay;
use super::{Site, Successor, answer, confined, lines};

#[test]
fn an_upgrade_under_load_loses_no_request_and_the_process_before_ends_well() {
    let origin = Origin::silent();
    let slow = format!("{}[[route]]\npath = \"/slow\"\norigin = \"slow\"\n", origin.declared("slow"));
    let site = Site::new("old");
    site.configure("old", &slow);
    let mut node = site.start(confined());
    let (plain, tls) = (node.addresses[0], node.addresses[1]);
    let (seen, client) = (Seen::default(), Client::new(&site.authority, VERSIONS[1]));
    let successor = std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| load::plain(plain, &seen));
        }
        scope.spawn(|| load::tls(tls, &client, Speaks::Http2, 4, "/", &seen));
        let _ends = Ends(&seen);
        until("all are at work", || seen.count("old") > 1000);
        let mut socket = node.connect();
        socket.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
        let asked = origin.next();
        site.configure("new", &slow);
        let successor = Successor::of(&mut node);
        // What it had been asked before, it answers.
        asked.answer(super::harness::origin::OK);
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.to_lowercase().contains("connection: close"), "{answer}");
        until("the one before has ended", || node.ended());
        let new = seen.count("new");
        until("the new one serves", || seen.count("new") > new + 1000);
        successor
    });
    let failures = seen.failures.lock().expect("not poisoned");
    assert!(failures.is_empty(), "{} of {}: {:?}\n{}", failures.len(), seen.count("new"), &failures[0], node.log());
    assert!(!node.log().contains("ended before all work was done"), "{}", node.log());
    // The sockets are the same, the operator's, too.
    assert_eq!(lines(&node, "admin").len(), 2);
    assert_eq!(lines(&node, "admin")[0]["address"], lines(&node, "admin")[1]["address"]);
    assert!(node.metric("eyot_requests_total", "") > 0.0);
    successor.signal("-TERM");
    until("it ends like any other", || !successor.is_running());
}

#[test]
fn one_upgrade_follows_another() {
    let site = Site::new("0");
    let mut node = site.start(confined());
    let address = node.address();
    site.configure("1", "");
    let first = Successor::of(&mut node);
    site.configure("2", "");
    until("the first one has ended", || node.ended());
    // By hand, as an operator without signals would do it.
    let second = site.start(&["--take-over"]);
    assert_eq!(second.address(), address);
    until("the second one has ended", || !first.is_running());
    assert_eq!(answer(&second).as_deref(), Some("2"));
}

/// The processes that this one has started, and theirs.
fn descendants(process: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").expect("processes").flatten();
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |id: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // proc(5): the parent is the second field behind the name, which stands in parentheses.
        let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
        behind.split_whitespace().nth(1) == Some(&process.to_string())
    };
    let children: Vec<u32> = ids.filter(is_child).collect();
    let theirs: Vec<u32> = children.iter().flat_map(|child| descendants(*child)).collect();
    [children, theirs].concat()
}

#[test]
fn a_signal_to_all_processes_of_a_node_is_for_the_one_that_serves() {
    let site = Site::new("old");
    let mut node = site.start(confined());
    let others = descendants(node.id());
    assert!(others.len() >= 2, "{others:?}");
    // As `systemctl kill` does it where nobody says otherwise.
    for signal in ["-HUP", "-USR2"] {
        for other in &others {
            let kill = std::process::Command::new("kill").args([signal, &other.to_string()]).status();
            assert!(kill.expect("kill runs").success(), "{other} is there");
        }
    }
    site.configure("new", "");
    let _successor = Successor::of(&mut node);
    until("the one before has ended", || node.ended());
    assert_eq!(answer(&node).as_deref(), Some("new"));
}

/// SIGUSR2 to a node that cannot be replaced: it says why, and serves on.
fn stays(node: &mut Node, why: &str) {
    let ended = |node: &Node| node.log().matches("the process that was to take over has ended: exit status: 2").count();
    let before = ended(node);
    node.signal("-USR2");
    until("it is told", || ended(node) > before);
    node.wait_for_log(why);
    assert_eq!(answer(node).as_deref(), Some("old"));
    assert!(!node.ended());
}

#[test]
fn what_is_wrong_leaves_the_process_that_serves_as_it_was() {
    let site = Site::new("old");
    let mut node = site.start(confined());
    site.configure("new", "[[route]]\npath = \"/x\"\nworker = \"nobody\"\n");
    stays(&mut node, "nobody");
    std::fs::create_dir(site.folder.path().join("bad")).expect("a folder");
    std::fs::write(site.folder.path().join("bad/bad.wasm"), b"\0asm no component").expect("a file");
    std::fs::write(
        site.folder.path().join("bad/eyot.toml"),
        "name = \"bad\"\ncomponent = \"bad.wasm\"\n[[route]]\npath = \"/bad\"\n",
    )
    .expect("a file");
    site.configure("new", "[[worker]]\npath = \"bad\"\n");
    stays(&mut node, "bad.wasm");
    std::fs::write(site.folder.path().join("tls/shop.key"), "no key").expect("a file");
    site.configure("new", "");
    stays(&mut node, "shop.key");
    let key = site.authority.issue(&["shop.test"]);
    std::fs::write(site.folder.path().join("tls/shop.key"), &key.key).expect("a file");
    std::fs::write(site.folder.path().join("tls/shop.pem"), &key.pem).expect("a file");
    let _successor = Successor::of(&mut node);
    until("the one before has ended", || node.ended());
    assert_eq!(answer(&node).as_deref(), Some("new"));
}

#[test]
fn a_successor_that_is_killed_at_any_step_leaves_the_process_that_serves() {
    let site = Site::new("old");
    let mut node = site.start(confined());
    site.configure("new", "");
    let failed = || node.log().matches("no process has taken over, this one serves on").count();
    for word in ["claim", "socket", "all", "give", "given", "ready", "go", "done"] {
        let (relay, before) = (Relay::before(&site.socket()), failed());
        assert!(relay.kill_at(word, || site.command(&["--take-over"])), "{word} was said");
        drop(relay);
        until("it is told", || failed() > before);
        assert_eq!(answer(&node).as_deref(), Some("old"), "{word}");
    }
    assert!(!node.ended());
    // Nothing is left that would keep the next one.
    let new = site.start(&["--take-over"]);
    until("the one before has ended", || node.ended());
    assert_eq!(answer(&new).as_deref(), Some("new"));
}

#[test]
fn a_state_folder_has_one_node_unless_the_second_one_takes_over() {
    let site = Site::new("old");
    let node = site.start(&[]);
    let (code, said) = site.fails(&[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(&format!("process {} runs from the state folder", node.id())), "{said}");
    assert!(said.contains("--take-over"), "{said}");
    assert_eq!(answer(&node).as_deref(), Some("old"));
    drop(node);
    // With nobody there, it is a start like any other; what a killed process has left is in nobody's way.
    let node = site.start(&["--take-over"]);
    assert_eq!(answer(&node).as_deref(), Some("old"));
}

#[test]
fn a_node_without_a_state_folder_of_its_own_says_what_an_upgrade_needs() {
    let site = Site::new("old");
    let text = std::fs::read_to_string(site.configuration()).expect("a file").replace("state = \"state\"\n", "");
    std::fs::write(site.configuration(), text).expect("a file");
    let mut node = site.start(&[]);
    node.signal("-USR2");
    node.wait_for_log("it has no state folder of its own");
    assert_eq!(answer(&node).as_deref(), Some("old"));
    let (code, said) = site.fails(&["--take-over"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--state DIR"), "{said}");
}
