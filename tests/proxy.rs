//! What stands between a client and an origin: who the client is, what is passed on, and what is not.

mod harness;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;

use harness::{Answer, Node, PATIENCE, fixtures};

/// An origin that hands over each request's head as text and answers with this.
fn origin(answer: &'static str) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (sender, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match socket.read(&mut buffer) {
                    Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            let _ = sender.send(String::from_utf8_lossy(&request).to_lowercase());
            let _ = socket.write_all(answer.as_bytes());
        }
    });
    (address, requests)
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

fn before(address: SocketAddr) -> Node {
    Node::start(
        &format!("[[origin]]\nname = \"o\"\nurl = \"http://{address}\"\n[[route]]\npath = \"/*\"\norigin = \"o\""),
        &[],
    )
}

#[test]
fn a_client_that_a_trusted_proxy_does_not_name_is_let_in_nowhere() {
    let manifest =
        fixtures::manifest("allow_addresses = [\"127.0.0.0/8\", \"192.0.2.0/24\"]\n[[route]]\npath = \"/*\"");
    let node = Node::start(
        "trusted_proxies = [\"127.0.0.0/8\"]\n[[worker]]\npath = \"fixture\"",
        &[("fixture/eyot.toml", &manifest)],
    );
    let ask = |fields: &[u8]| {
        let mut request = b"GET /count HTTP/1.1\r\nhost: a\r\nconnection: close\r\n".to_vec();
        request.extend_from_slice(fields);
        request.extend_from_slice(b"\r\n");
        let answer = node.raw(request);
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    for (fields, status) in [
        (&b"x-forwarded-for: 192.0.2.7\r\n"[..], "200"),
        (b"x-forwarded-for: 203.0.113.9\r\n", "403"),
        (b"x-forwarded-for: 192.0.2.7, 203.0.113.9:4711, 127.0.0.2\r\n", "403"),
        (b"x-forwarded-for: 203.0.113.9\r\nx-forwarded-for: 127.0.0.2,\r\n", "403"),
        // Each of these was taken for the proxy itself once, and let in.
        (b"x-forwarded-for: 203.0.113.9, \xe9\r\n", "400"),
        (b"x-forwarded-for: \xe9, 203.0.113.9\r\n", "403"),
        (b"x-forwarded-for: 203.0.113.9, unknown\r\n", "400"),
        (b"x-forwarded-for: \r\n", "400"),
    ] {
        assert_eq!(ask(fields), status, "{}", String::from_utf8_lossy(fields));
    }
}

#[test]
fn a_worker_sees_the_scheme_that_a_trusted_proxy_names_and_no_other_client_can_name_one() {
    let manifest = fixtures::manifest("[[route]]\npath = \"/*\"");
    let files = [("fixture/eyot.toml", manifest.as_str())];
    let ask = |node: &Node| Answer::of(node.request("GET", "/echo").header("x-forwarded-proto", "https")).json();
    let trusting = Node::start("trusted_proxies = [\"127.0.0.0/8\"]\n[[worker]]\npath = \"fixture\"", &files);
    assert_eq!(ask(&trusting)["scheme"], "https");
    let suspicious = Node::start("[[worker]]\npath = \"fixture\"", &files);
    assert_eq!(ask(&suspicious)["scheme"], "http");
}

#[test]
fn what_the_node_says_of_a_request_cannot_be_taken_away_by_its_client() {
    let (address, requests) = origin(OK);
    let node = before(address);
    node.raw(
        b"GET / HTTP/1.1\r\nhost: a\r\nx-hop: 1\r\nx-request-id: mine\r\ncdn-loop: other\r\n\
          connection: close, x-request-id, traceparent, cdn-loop, forwarded, x-forwarded-for, via\r\n\
          connection: x-hop, \xff\r\n\r\n",
    );
    let seen = requests.recv_timeout(PATIENCE).expect("a request");
    for there in
        ["x-request-id: mine", "traceparent: 00-", "cdn-loop: other, eyot;node=", "forwarded: for=", "via: 1.1 eyot"]
    {
        assert!(seen.contains(there), "{there} in {seen}");
    }
    assert!(!seen.contains("x-hop"), "{seen}");
}

#[test]
fn an_origin_cannot_speak_with_the_node_s_names() {
    let (address, _requests) = origin(
        "HTTP/1.1 200 OK\r\neyot-error: forged\r\neyot-claims: x\r\neyot_error: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    );
    let answer = before(address).get("/");
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("eyot")), "{:?}", answer.headers);
}

#[test]
fn a_status_beyond_http_is_a_bad_gateway() {
    let (address, _requests) = origin("HTTP/1.1 999 Beyond\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let answer = before(address).get("/");
    assert_eq!((answer.status, answer.code()), (502, "origin_invalid"));
}

#[test]
fn cve_2026_2833_a_websocket_is_refused_with_its_own_code_and_other_upgrades_are_ignored() {
    let (address, requests) = origin(OK);
    let node = before(address);
    let ask = |upgrade: &str| Answer::of(node.request("GET", "/").header("upgrade", upgrade));
    let refused = ask("WebSocket");
    assert_eq!((refused.status, refused.code()), (501, "upgrade_unavailable"));
    assert_eq!(ask("h2c").status, 200);
    let seen = requests.recv_timeout(PATIENCE).expect("a request");
    assert!(!seen.contains("upgrade"), "{seen}");
}

#[test]
fn cve_2026_2836_one_path_on_two_hosts_is_two_resources_also_on_one_connection() {
    let other =
        "HTTP/1.1 200 OK\r\ncache-control: public, max-age=600\r\ncontent-length: 5\r\nconnection: close\r\n\r\nother";
    let ((one, _asked), (another, _asked_too)) = (origin(OK), origin(other));
    let route = |name, address: SocketAddr| {
        format!(
            "[[origin]]\nname = \"{name}\"\nurl = \"http://{address}\"\n\
             [[route]]\nhost = \"{name}.test\"\npath = \"/*\"\norigin = \"{name}\"\n"
        )
    };
    let node = Node::start(&(route("one", one) + &route("another", another)), &[]);
    let ask = |host: &str, fields: &str| format!("GET /same HTTP/1.1\r\nhost: {host}.test\r\n{fields}\r\n");
    let requests = ask("another", "") + &ask("one", "") + &ask("another", "") + &ask("one", "connection: close\r\n");
    let answers = node.raw(requests);
    let bodies: Vec<_> =
        answers.split("HTTP/1.1 200").skip(1).filter_map(|answer| answer.rsplit("\r\n").next()).collect();
    assert_eq!(bodies, ["other", "ok", "other", "ok"], "{answers}");
}

#[test]
fn the_nodes_passed_go_on_into_a_worker_s_subrequests() {
    let (address, requests) = origin(OK);
    let manifest = fixtures::manifest("origins = [\"o\"]\n[[route]]\npath = \"/*\"");
    let node = format!("[[origin]]\nname = \"o\"\nurl = \"http://{address}\"\n[[worker]]\npath = \"fixture\"");
    let node = Node::start(&node, &[("fixture/eyot.toml", &manifest)]);
    let request = node.request("GET", "/fetch?url=http%3A%2F%2Fo.origin.internal%2F");
    assert_eq!(Answer::of(request.header("cdn-loop", "other")).status, 200);
    let seen = requests.recv_timeout(PATIENCE).expect("a subrequest");
    assert!(seen.contains("cdn-loop: other, eyot;node="), "{seen}");
}

#[test]
fn max_forwards_is_counted_down_and_answered_at_zero() {
    let (address, requests) = origin(OK);
    let node = before(address);
    let ask = |method: &str, left: &str| Answer::of(node.request(method, "/").header("max-forwards", left));
    let here = ask("OPTIONS", "0");
    assert!(here.status == 204 && here.header("allow").contains("GET"), "{:?}", here.headers);
    for (method, left, passed) in [("OPTIONS", "3", "max-forwards: 2\r\n"), ("GET", "0", "max-forwards: 0\r\n")] {
        assert_eq!(ask(method, left).status, 200);
        let seen = requests.recv_timeout(PATIENCE).expect("a request");
        assert!(seen.contains(passed), "{seen}");
    }
}

#[test]
fn an_allow_list_with_a_private_address_is_refused_where_it_stands() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = fixtures::manifest("egress = [\"https://api.example.com\", \"http://10.0.0.7\"]");
    std::fs::write(folder.path().join("eyot.toml"), manifest).expect("a file");
    let node = "[[listener]]\naddress = \"127.0.0.1:0\"\n[[worker]]\npath = \".\"\n";
    std::fs::write(folder.path().join("node.toml"), node).expect("a file");
    let output = harness::eyot().args(["check", "--config"]).arg(folder.path().join("node.toml")).output();
    let output = output.expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("not public") && said.contains("[[origin]]") && said.contains("eyot.toml:3"), "{said}");
}
