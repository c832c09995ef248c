//! What is wrong, who says so, and how a script is told.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::{Machine, run};
use crate::harness::{Node, eyot};

#[test]
fn faults_that_only_the_node_finds_stand_at_their_lines_in_the_file_here() {
    let machine = Machine::start();
    let folder = machine.worker("shop", "one", "origins = [\"nowhere\"]");
    let parts = ["there is no origin `nowhere`", "shop/eyot.toml:3:12", "3 | origins = [\"nowhere\"]", "^^^^^^^^^"];
    machine.eyot(&["deploy", &folder]).ended_with(2).says(&parts);
    let ran = machine.eyot(&["deploy", &folder, "--json"]).ended_with(2).says(&parts);
    let problem = ran.json();
    assert_eq!(problem["status"], 422, "{problem}");
    let fault = &problem["faults"][0];
    assert_eq!((&fault["file"], &fault["line"]), (&"eyot.toml".into(), &3.into()), "{problem}");
}

#[test]
fn faults_that_are_found_here_look_the_same_and_send_nothing() {
    let machine = Machine::start();
    let folder = machine.worker("shop", "one", "orgins = [\"api\"]");
    let parts = ["orgins", "eyot.toml:3:1", "^^^^^^", "did you mean `origins`"];
    machine.eyot(&["deploy", &folder]).ended_with(2).says(&parts);
    let problem = machine.eyot(&["deploy", &folder, "--json"]).ended_with(2).json();
    assert_eq!((&problem["status"], &problem["faults"][0]["line"]), (&422.into(), &3.into()), "{problem}");
    assert_eq!(machine.eyot(&["workers", "--json"]).done().json()["workers"], serde_json::json!([]));
    machine.eyot(&["deploy", "no-such-folder"]).ended_with(2).says(&["no-such-folder"]);
}

#[test]
fn a_component_that_the_node_refuses_is_named_as_the_file_here() {
    let machine = Machine::start();
    let folder = machine.worker("shop", "one", "");
    std::fs::write(machine.workers.path().join("shop/handler.wasm"), "no component").expect("a file");
    machine.eyot(&["deploy", &folder]).ended_with(2).says(&["shop/handler.wasm", "help:"]);
}

#[test]
fn a_component_that_is_too_large_is_told_so() {
    let machine = Machine::with("limits = { component_size = \"1MiB\" }");
    let folder = machine.worker("shop", "one", "");
    for size in [2 << 20, 40 << 20] {
        std::fs::write(machine.workers.path().join("shop/handler.wasm"), vec![0; size]).expect("a file");
        machine.eyot(&["deploy", &folder]).ended_with(2).says(&["component_size", "handler.wasm"]);
        machine.eyot_by("wrong", &["deploy", &folder]).ended_with(2).says(&["--token-file"]);
    }
}

#[test]
fn a_build_that_fails_sends_nothing_and_none_is_made_where_none_is_wanted() {
    let machine = Machine::start();
    let folder = machine.worker("shop", "one", "[build]\ncommand = \"echo the reason; exit 3\"");
    machine.eyot(&["deploy", &folder]).ended_with(2).says(&["the reason", "shop does not build"]);
    machine.eyot(&["deploy", &folder, "--no-build"]).done();
    std::fs::remove_file(machine.workers.path().join("shop/handler.wasm")).expect("a file");
    machine.eyot(&["deploy", &folder, "--no-build"]).ended_with(2).says(&["handler.wasm", "--no-build"]);
}

#[test]
fn who_has_no_token_is_told_where_one_is() {
    let machine = Machine::start();
    let mut command = machine.command(&["workers"]);
    command.env_remove("EYOT_TOKEN_FILE");
    run(command, None).ended_with(2).says(&["--token-file", "EYOT_TOKEN", "admin.token"]);
    machine.eyot_by("wrong", &["workers"]).ended_with(2).says(&["--token-file"]);
    machine.eyot_by("two words", &["workers"]).ended_with(2).says(&["no token"]);
    machine.eyot(&["workers", "--token-file", "no-such-file"]).ended_with(2).says(&["no-such-file"]);
    let problem = machine.eyot_by("wrong", &["workers", "--json"]).ended_with(2).json();
    assert_eq!(problem["code"], "unauthenticated");
}

#[test]
fn a_token_goes_nowhere_in_the_clear_but_to_this_machine() {
    let machine = Machine::start();
    for url in ["http://192.0.2.1:9090", "http://node.example", "nonsense"] {
        machine.eyot(&["workers", "--admin", url]).ended_with(2);
    }
    let mut command = machine.command(&["workers"]);
    command.env("http_proxy", "http://192.0.2.1:1").env("HTTP_PROXY", "http://192.0.2.1:1");
    run(command, None).done();
}

#[test]
fn a_node_that_is_not_there_or_keeps_nothing_is_told_from_one_that_refuses() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let mut command = eyot();
    command.args(["workers", "--admin", &format!("http://{free}")]);
    run(command, None).ended_with(1).says(&["is a node with [admin] and `store` running at"]);
    let node = Node::start("[[route]]\nrespond = { body = \"ok\" }\n", &[]);
    let mut command = eyot();
    command.args(["workers", "--admin", &format!("http://{}", node.admin.expect("one"))]);
    run(command, None).ended_with(1).says(&["has no admin API", "store"]);
    let mut command = eyot();
    command.args(["status", "--admin", &format!("http://{}", node.address())]);
    run(command, None).ended_with(1).says(&["no answer of an Eyot node"]);
}

#[test]
fn what_is_not_there_ends_with_1_and_what_is_wrong_with_2() {
    let machine = Machine::start();
    for arguments in [&["versions", "none"][..], &["deployments", "none"], &["rollback", "none"]] {
        machine.eyot(arguments).ended_with(1).says(&["there is no worker `none`"]);
        let arguments = [arguments, &["--json"]].concat();
        assert_eq!(machine.eyot(&arguments).ended_with(1).json()["code"], "not_found");
    }
    for arguments in [&["versions"][..], &["rollout", "w", "x", "10%"], &["versions", "w", "--limit", "0"]] {
        machine.eyot(arguments).ended_with(2);
    }
    let name = "x".repeat(2_000);
    machine.eyot(&["rollback", "none", "--note", &name]).ended_with(2).says(&["at most 1000 characters"]);
    // One name, whatever stands in it.
    machine.eyot(&["versions", "../../metrics"]).ended_with(2).says(&["worker `../../metrics`"]);
}

#[test]
fn a_change_whose_answer_was_lost_is_sent_again_and_made_once() {
    let machine = Machine::start();
    machine.deployed("shop", 1);
    let (address, lost) = lossy(machine.node.admin.expect("one"));
    machine.eyot(&["rollout", "shop", "1", "100%", "--admin", &format!("http://{address}")]).done();
    assert_eq!(lost.load(Relaxed), 1, "nothing was lost");
    let list = machine.eyot(&["deployments", "shop", "--json"]).done().json();
    assert_eq!(list["deployments"].as_array().expect("a list").len(), 2, "{list}");
}

/// Hands each request on, one for each connection; the answer to the first POST is lost.
fn lossy(node: SocketAddr) -> (SocketAddr, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let lost = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&lost);
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let request = message(&mut client);
            let mut socket = TcpStream::connect(node).expect("the node accepts");
            socket.write_all(&request).expect("bytes can be sent");
            let answer = message(&mut socket);
            if request.starts_with(b"POST ") && count.load(Relaxed) == 0 {
                count.fetch_add(1, Relaxed);
                continue;
            }
            let _ = client.write_all(&answer);
        }
    });
    (address, lost)
}

/// A request or an answer, up to the end of what its `content-length` says.
fn message(socket: &mut TcpStream) -> Vec<u8> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.trim().parse().expect("a number")) {
                return bytes;
            }
        }
        match socket.read(&mut buffer).expect("bytes come") {
            0 => return bytes,
            read => bytes.extend(&buffer[..read]),
        }
    }
}
