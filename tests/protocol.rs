//! What a request may look like on the wire: framing, hosts, schemes, and what is left of a body.

mod harness;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;

use harness::{Node, PATIENCE, fixtures};
use http::Request;

/// A fixed answer under `/fixed`, an origin that tells what it got under `/origin`, and the fixture everywhere else.
fn node(limits: &str) -> (Node, mpsc::Receiver<String>) {
    let (origin, seen) = origin();
    let manifest = fixtures::manifest("[[route]]\npath = \"/*\"");
    let node = format!(
        "{limits}\n[[worker]]\npath = \"fixture\"\n[[origin]]\nname = \"o\"\nurl = \"http://{origin}\"\n\
         [[route]]\npath = \"/origin\"\norigin = \"o\"\n[[route]]\npath = \"/fixed\"\nrespond = {{ body = \"fixed\" }}"
    );
    (Node::start(&node, &[("fixture/eyot.toml", &manifest)]), seen)
}

/// An origin that hands over each head. It answers what comes without a body, and waits in vain for the end of each body.
fn origin() -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (sender, seen) = mpsc::channel();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                let mut buffer = [0; 4096];
                match socket.read(&mut buffer) {
                    Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            let head = String::from_utf8_lossy(&request).to_lowercase();
            if head.contains("transfer-encoding") || head.contains("content-length") {
                let _ = socket.read_to_end(&mut Vec::new());
            } else {
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            }
            let _ = sender.send(head);
        }
    });
    (address, seen)
}

/// The status of each answer, in order.
fn statuses(answers: &str) -> Vec<&str> {
    answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect()
}

/// A last request, so that the node closes and the test need not wait.
const LAST: &str = "GET /fixed HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[test]
fn cve_2026_2835_a_request_that_is_framed_ambiguously_is_refused_and_the_connection_closes() {
    let (node, _) = node("");
    for (coding, status) in [
        ("gzip, chunked", "501"),
        ("identity, chunked", "501"),
        ("chunked, chunked", "400"),
        ("chunked\r\ntransfer-encoding: chunked", "400"),
        ("gzip", "400"),
    ] {
        let head = format!("POST /fixed HTTP/1.1\r\nhost: a\r\ntransfer-encoding: {coding}\r\n\r\n");
        let answer = node.raw(format!("{head}5\r\nhello\r\n0\r\n\r\n{LAST}"));
        assert_eq!(statuses(&answer), [status], "{coding}: {answer}");
        assert!(answer.to_lowercase().contains("connection: close"), "{coding}: {answer}");
    }
    let good = "POST /read-body HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(statuses(&node.raw(format!("{good}{LAST}"))), ["200", "200"]);
    assert_eq!(node.metric("eyot_failures_total", "code=\"not_implemented\""), 2.0);
}

#[test]
fn a_malformed_body_is_the_client_s_fault_wherever_it_was_going() {
    let (node, _seen) = node("");
    for path in ["/read-body", "/origin"] {
        for chunks in ["zz\r\nhello\r\n0\r\n\r\n", "5\r\nhelloXX\r\n0\r\n\r\n", "fffffffffffffffff\r\n"] {
            let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
            let answer = node.raw(format!("{head}{chunks}"));
            assert!(statuses(&answer) == ["400"] && answer.contains("eyot-error: bad_request"), "{path}: {answer}");
            assert!(answer.contains("connection: close"), "{path}: {answer}");
        }
    }
    // Here the answer may have begun; then it has no end.
    let answer = node.raw("POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n");
    assert!(!answer.contains("0\r\n\r\n") || statuses(&answer) == ["400"], "{answer}");
    node.wait_until_idle();
    assert_eq!(node.metric("eyot_failures_total", "code=\"bad_request\""), 7.0);
    assert_eq!(node.metric("eyot_failures_total", "code=\"worker"), 0.0, "{}", node.metrics());
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_body_has_gone() {
    let (node, _seen) = node("");
    for (number, path) in ["/read-body", "/origin"].into_iter().enumerate() {
        let mut socket = node.connect();
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf");
        socket.write_all(head.as_bytes()).expect("sent");
        drop(socket);
        let gone = || node.metric("eyot_failures_total", "code=\"client_gone\"");
        harness::until("it is counted", || gone() == (number + 1) as f64);
    }
    assert_eq!(node.metric("eyot_failures_total", "worker_error"), 0.0);
}

#[test]
fn cve_2025_4366_a_connection_survives_a_small_body_that_nobody_reads() {
    let (node, _) = node("");
    for path in ["/fixed", "/nowhere/../x", "/count"] {
        let mut socket = node.connect();
        socket
            .write_all(format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n").as_bytes())
            .expect("sent");
        let mut head = vec![0; 4096];
        let read = socket.read(&mut head).expect("an answer before the body");
        let head = String::from_utf8_lossy(&head[..read]);
        assert!(!head.contains("connection: close"), "{path}: {head}");
        socket.write_all(format!("hello{LAST}").as_bytes()).expect("sent");
        let mut rest = String::new();
        socket.read_to_string(&mut rest).expect("another answer");
        assert!(rest.ends_with("fixed"), "{path}: {rest}");
    }
}

#[test]
fn a_connection_that_closes_behind_a_body_that_nobody_reads_says_so() {
    let (node, _) = node("");
    for fields in ["content-length: 100000", "transfer-encoding: chunked", "expect: 100-continue\r\ncontent-length: 5"]
    {
        let mut socket = node.connect();
        socket.write_all(format!("POST /fixed HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n").as_bytes()).expect("sent");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer and an end");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{fields}: {answer}");
    }
    let tunnel = node.raw(format!("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n{LAST}"));
    assert!(statuses(&tunnel) == ["405"] && tunnel.contains("connection: close"), "{tunnel}");
}

#[test]
fn a_target_that_is_far_too_long_is_414_and_what_hyper_refuses_is_counted() {
    let (node, _) = node("");
    for (length, code) in [(20_000, "eyot-error: uri_too_long"), (58_000, "eyot-error: uri_too_long"), (70_000, "")] {
        let answer = node.raw(format!("GET /{} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "p".repeat(length)));
        assert!(answer.starts_with("HTTP/1.1 414") && answer.contains(code), "{length}: {answer}");
    }
    assert!(node.raw("GET / HTTP/1.1\r\nbad header\r\n\r\n").starts_with("HTTP/1.1 400"));
    let counted = |code: &str| node.metric("eyot_failures_total", code);
    harness::until("all are counted", || counted("uri_too_long") == 3.0 && counted("bad_request") == 1.0);
}

#[test]
fn host_and_target_agree_whatever_their_spelling() {
    let (node, _) = node("");
    for (target, host, status) in [
        ("http://example.com/fixed", "example.com", "200"),
        ("http://EXAMPLE.com/fixed", "example.COM.", "200"),
        ("http://example.com:80/fixed", "example.com", "200"),
        ("http://example.com/fixed", "example.com:80", "200"),
        ("http://example.com:81/fixed", "example.com", "400"),
        ("http://example.com/fixed", "example.org", "400"),
        ("https://example.com/fixed", "example.com", "421"),
        ("ftp://example.com/fixed", "example.com", "421"),
    ] {
        let answer = node.raw(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"));
        assert_eq!(statuses(&answer), [status], "{target} for {host}: {answer}");
    }
    let answer = node.raw("GET http://example.com/fixed HTTP/1.1\r\nconnection: close\r\n\r\n");
    assert_eq!(statuses(&answer), ["400"], "HTTP/1.1 has a Host (RFC 9112 §3.2)");
}

#[test]
fn a_trusted_proxy_may_ask_for_another_scheme() {
    let node = Node::start("trusted_proxies = [\"127.0.0.0/8\"]\n[[route]]\nrespond = { body = \"ok\" }", &[]);
    let answer = node.raw("GET https://a/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert_eq!(statuses(&answer), ["200"], "{answer}");
}

#[test]
fn fields_of_one_connection_do_not_reach_a_worker() {
    let (node, _) = node("");
    let fields = "connection: x-hop, close\r\nx-hop: 1\r\nkeep-alive: 5\r\nte: trailers, gzip\r\nproxy-connection: x\r\n\
                  proxy-authorization: secret\r\nupgrade: websocket\r\nx-end: kept\r\n";
    let answer = node.raw(format!("GET /echo HTTP/1.1\r\nhost: a\r\n{fields}\r\n"));
    let (_, seen) = answer.split_once("\r\n\r\n").expect("a body");
    for absent in ["x-hop", "keep-alive", "trailers", "proxy-", "websocket"] {
        assert!(!seen.contains(absent), "{absent} in {seen}");
    }
    assert!(seen.contains("x-end"), "{seen}");
}

#[test]
fn on_tls_a_client_may_ask_for_the_name_it_came_for_and_for_those_of_the_certificate() {
    let names = ["localhost".to_owned(), "*.shop.example".to_owned()];
    let certificate = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let node = Node::start_exactly(
        "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = { certificate = \"chain.pem\", key = \"key.pem\" }\n\
         [admin]\naddress = \"127.0.0.1:0\"\n[[route]]\nrespond = { body = \"ok\" }",
        &[("chain.pem", &certificate.cert.pem()), ("key.pem", &certificate.signing_key.serialize_pem())],
    );
    // curl names no server in the handshake when it goes to an address.
    for (server, host, status) in [
        ("localhost", "localhost", "200"),
        ("localhost", "LOCALHOST:443", "200"),
        ("localhost", "a.shop.example", "200"),
        ("localhost", "shop.example", "421"),
        ("localhost", "a.b.shop.example", "421"),
        ("localhost", "127.0.0.1", "421"),
        ("elsewhere.localhost", "elsewhere.localhost", "200"),
        ("127.0.0.1", "anything.example", "200"),
    ] {
        for version in ["--http1.1", "--http2"] {
            let output = std::process::Command::new("curl")
                .args(["-sik", version, "--resolve", &format!("*:{}:127.0.0.1", node.address().port())])
                .args(["-H", &format!("host: {host}"), &format!("https://{server}:{}/", node.address().port())])
                .output()
                .expect("curl runs");
            let answer = String::from_utf8_lossy(&output.stdout);
            assert_eq!(answer.split(' ').nth(1), Some(status), "{server} {host} {version}: {answer}");
        }
    }
    assert!(node.metric("eyot_failures_total", "code=\"misdirected_request\"") >= 6.0);
}

/// One request over HTTP/2 with prior knowledge: status and body.
fn http2(node: &Node, request: Request<()>) -> (u16, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(node.address()).await.expect("the node accepts");
        let (mut sender, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
        let exchange = async {
            let (response, _) = sender.send_request(request, true).expect("sent");
            let (head, mut body) = response.await.expect("an answer").into_parts();
            let mut text = Vec::new();
            while let Some(data) = body.data().await {
                text.extend_from_slice(&data.expect("a whole body"));
            }
            (head.status.as_u16(), String::from_utf8_lossy(&text).into_owned())
        };
        tokio::select! {
            answer = exchange => answer,
            end = connection => panic!("the connection ended: {end:?}"),
        }
    })
}

#[test]
fn cookies_that_come_apart_over_http_2_arrive_as_one() {
    let (node, seen) = node("");
    let ask = |path: &str| {
        let request = Request::get(format!("http://a{path}")).header("cookie", "a=1").header("cookie", "b=2");
        request.body(()).expect("a request")
    };
    let (_, echoed) = http2(&node, ask("/echo"));
    assert!(echoed.contains("a=1; b=2"), "{echoed}");
    assert_eq!(http2(&node, ask("/origin")).0, 200);
    let seen = seen.recv_timeout(PATIENCE).expect("a request");
    assert!(seen.contains("cookie: a=1; b=2\r\n"), "{seen}");
}

#[test]
fn http_2_has_the_same_rules_for_targets_schemes_and_values() {
    let (node, _) = node("");
    let get = |uri: &str| Request::get(uri);
    let long = format!("http://a/{}", "p".repeat(58_000));
    for (request, status) in [
        (get("http://a/fixed"), 200),
        (get("http://a:80/fixed").header("host", "A"), 200),
        (get("http://a/fixed").header("host", "b"), 400),
        (get("https://a/fixed"), 421),
        (get("http://a/fixed").header("x", " padded"), 400),
        (get("http://a/fixed").header("x", "padded\t"), 400),
        (get(&long), 414),
    ] {
        let request = request.body(()).expect("a request");
        let what = format!("{:.60} {:?}", request.uri().to_string(), request.headers());
        assert_eq!(http2(&node, request).0, status, "{what}");
    }
}
