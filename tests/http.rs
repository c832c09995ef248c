//! HTTP as clients and origins see it: routing, hosts, proxying, TLS, HTTP/2, admin.

mod harness;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;

use harness::{Answer, Node, PATIENCE, client, fixtures};

/// An origin that hands over each request's head as text and answers 200 with a short body.
fn origin() -> (SocketAddr, mpsc::Receiver<String>) {
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
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\nkeep-alive: x\r\neyot-error: forged\r\n\r\nfrom";
            let _ = socket.write_all(answer.as_bytes());
        }
    });
    (address, requests)
}

fn routes() -> &'static str {
    r#"
[[route]]
host = "example.com"
path = "/exact"
respond = { body = "exact" }
[[route]]
host = "example.com"
path = "/{one}"
respond = { body = "parameter" }
[[route]]
host = "example.com"
path = "/*"
respond = { body = "prefix" }
[[route]]
host = "*.example.com"
path = "/*"
respond = { body = "wildcard" }
[[route]]
host = "example.com"
path = "/only-post"
methods = ["POST"]
respond = { status = 201, body = "posted", headers = { x-made = "yes" } }
[[route]]
host = "example.com"
path = "/old/*"
redirect = { status = 308, location = "https://new.example.com{path}" }
[[route]]
host = "example.com"
path = "/users/{id}/posts/{post}"
redirect = { status = 302, location = "/{post}/by/{id}?{query}" }
"#
}

#[test]
fn the_most_specific_route_wins() {
    let node = Node::start(routes(), &[]);
    for (host, path, expected) in [
        ("example.com", "/exact", "exact"),
        ("EXAMPLE.com:8080", "/exact", "exact"),
        ("example.com", "/other", "parameter"),
        ("example.com", "/other/deep", "prefix"),
        ("a.example.com", "/x", "wildcard"),
    ] {
        assert_eq!(node.get_from(host, path).body, expected, "{host}{path}");
    }
    for host in ["myexample.com", "example.org", "com"] {
        let answer = node.get_from(host, "/exact");
        assert_eq!((answer.status, answer.code()), (404, "route_not_found"), "{host}");
    }
}

#[test]
fn another_method_is_405_with_allow() {
    let node = Node::start("[[route]]\npath = \"/x\"\nmethods = [\"POST\", \"PUT\"]\nrespond = { body = \"\" }", &[]);
    let answer = node.get("/x");
    assert_eq!((answer.status, answer.code()), (405, "method_not_allowed"));
    let allow = answer.header("allow");
    assert!(allow.contains("POST") && allow.contains("PUT"), "{allow}");
}

#[test]
fn a_redirect_and_a_fixed_answer_start_no_isolate() {
    let node = Node::start(routes(), &[]);
    let answer = node.get_from("example.com", "/old/page?x=1");
    assert_eq!(answer.status, 308);
    assert!(answer.header("location").starts_with("https://new.example.com/old/page"), "{}", answer.header("location"));
    let answer = node.get_from("example.com", "/users/%7Bpost%7D/posts/7?a={id}");
    assert_eq!(
        (answer.status, answer.header("location")),
        (302, "/7/by/%7Bpost%7D?a={id}"),
        "values are no placeholders"
    );
    let post = Answer::of(node.request("POST", "/only-post").header("host", "example.com"));
    assert_eq!((post.status, post.header("x-made"), post.body.as_str()), (201, "yes", "posted"));
    assert_eq!(node.metric("eyot_isolates_started_total", ""), 0.0);
}

#[test]
fn requests_that_break_http_are_refused() {
    let node = Node::start("[limits]\nkeepalive_idle = \"300ms\"\n[[route]]\nrespond = { body = \"ok\" }", &[]);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "400"),
        ("GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: user@a\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost : a\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: a\r\n folded: b\r\n\r\n", "400"),
        ("CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", "405"),
        ("TRACE / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "405"),
        ("GET /%00 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "400"),
        ("GET /a/../b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "400"),
    ] {
        let answer = node.raw(request);
        assert_eq!(answer.split(' ').nth(1), Some(status), "{request:?}: {answer}");
    }
}

#[test]
fn an_origin_sees_the_request_as_a_proxy_passes_it_on() {
    let (address, requests) = origin();
    let node = Node::start(
        &format!("[[origin]]\nname = \"o\"\nurl = \"http://{address}/base\"\n[[route]]\npath = \"/*\"\norigin = \"o\""),
        &[],
    );
    let request = node.request("GET", "/path?q=1").header("x-forwarded-for", "6.6.6.6").header("eyot-claims", "forged");
    let request = request.header("connection", "x-hop").header("x-hop", "secret").header("te", "gzip");
    let answer = Answer::of(request.header("host", "front.example.com"));
    assert_eq!((answer.status, answer.body.as_str()), (200, "from"));
    assert_eq!(answer.code(), "", "an origin cannot speak for the node");
    assert!(answer.header("via").contains("eyot") && answer.header("keep-alive").is_empty());
    let seen = requests.recv_timeout(PATIENCE).expect("a request");
    assert!(seen.starts_with("get /base/path?q=1 http/1.1"), "{seen}");
    assert!(seen.contains("x-forwarded-for: 127.0.0.1") && !seen.contains("6.6.6.6"), "{seen}");
    assert!(seen.contains("x-forwarded-host: front.example.com") && seen.contains("forwarded: for="), "{seen}");
    assert!(seen.contains("via: 1.1 eyot") && seen.contains("traceparent: 00-"), "{seen}");
    for absent in ["eyot-claims", "x-hop", "secret", "te: gzip"] {
        assert!(!seen.contains(absent), "{absent} in {seen}");
    }
}

#[test]
fn a_trusted_proxy_is_believed_and_nobody_else() {
    let manifest = fixtures::manifest("allow_addresses = [\"192.0.2.0/24\"]\n[[route]]\npath = \"/*\"");
    let files = [("fixture/eyot.toml", manifest.as_str())];
    let ask = |node: &Node| Answer::of(node.request("GET", "/count").header("x-forwarded-for", "192.0.2.7")).status;
    let trusting = Node::start("trusted_proxies = [\"127.0.0.0/8\"]\n[[worker]]\npath = \"fixture\"", &files);
    assert_eq!(ask(&trusting), 200);
    let suspicious = Node::start("[[worker]]\npath = \"fixture\"", &files);
    assert_eq!(ask(&suspicious), 403);
}

#[test]
fn an_origin_that_is_away_or_silent_has_its_own_code() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let node = Node::start(
        &format!(
            "[[origin]]\nname = \"closed\"\nurl = \"http://{closed}\"\n\
             [[origin]]\nname = \"silent\"\nurl = \"http://{}\"\nfirst_byte_timeout = \"300ms\"\n\
             [[route]]\npath = \"/closed\"\norigin = \"closed\"\n[[route]]\npath = \"/silent\"\norigin = \"silent\"",
            silent.local_addr().expect("an address")
        ),
        &[],
    );
    let answer = node.get("/closed");
    assert_eq!((answer.status, answer.code()), (502, "origin_refused"));
    let answer = node.get("/silent");
    assert_eq!((answer.status, answer.code()), (504, "origin_timeout"));
}

#[test]
fn a_worker_reaches_only_what_it_is_allowed_to_reach() {
    let (address, _requests) = origin();
    let manifest = fixtures::manifest("egress = [\"http://127.0.0.1:1\"]\n[[route]]\npath = \"/*\"");
    let node = Node::start("[[worker]]\npath = \"fixture\"", &[("fixture/eyot.toml", &manifest)]);
    let admin = node.admin.expect("an admin listener");
    for url in [
        format!("http://{address}/"),
        format!("http://{admin}/metrics"),
        "http://127.0.0.1:1/".to_owned(),
        "http://2130706433:1/".to_owned(),
        "http://0x7f.1:1/".to_owned(),
        "http://[::ffff:127.0.0.1]:1/".to_owned(),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://undeclared.origin.internal/".to_owned(),
    ] {
        let escaped: String = url.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = node.get(&format!("/fetch?url={escaped}"));
        assert!(!answer.body.contains("200"), "{url}: {}", answer.body);
    }
}

#[test]
fn a_request_id_is_taken_over_when_it_is_valid_and_replaced_when_not() {
    let node = Node::start("[[route]]\nrespond = { body = \"ok\" }", &[]);
    let ask =
        |id: &str| Answer::of(node.request("GET", "/").header("x-request-id", id)).header("x-request-id").to_owned();
    assert_eq!(ask("abc-123"), "abc-123");
    assert_ne!(ask("two words"), "two words");
    assert_eq!(node.get("/").header("x-request-id").len(), 36);
}

#[test]
fn tls_serves_http_1_and_http_2() {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let files = [("chain.pem", certificate.cert.pem()), ("key.pem", certificate.signing_key.serialize_pem())];
    let manifest = fixtures::manifest("[[route]]\npath = \"/*\"");
    let node = Node::start_exactly(
        "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = { certificate = \"chain.pem\", key = \"key.pem\" }\n\
         [admin]\naddress = \"127.0.0.1:0\"\n[[worker]]\npath = \"fixture\"",
        &[("chain.pem", &files[0].1), ("key.pem", &files[1].1), ("fixture/eyot.toml", &manifest)],
    );
    let url = format!("https://localhost:{}/echo", node.address().port());
    for (version, expected) in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2")] {
        let output = std::process::Command::new("curl")
            .args(["-si", "--cacert", "chain.pem", version, &url])
            .current_dir(node.folder.path())
            .output()
            .expect("curl runs");
        let answer = String::from_utf8_lossy(&output.stdout);
        assert!(
            answer.starts_with(expected) && answer.contains("200"),
            "{answer}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(answer.to_lowercase().contains("https"), "the guest sees the scheme: {answer}");
    }
}

#[test]
fn prior_knowledge_http_2_is_served_on_plain_text_to_guests_of_both_kinds() {
    for component in [fixtures::fixture(), fixtures::fixture3()] {
        let manifest = fixtures::worker("w", &component, "[[route]]\npath = \"/*\"");
        let node = Node::start("[[worker]]\npath = \"w\"", &[("w/eyot.toml", &manifest)]);
        let output = std::process::Command::new("curl")
            .args(["-si", "--http2-prior-knowledge", &format!("http://{}/echo?a=b", node.address())])
            .output()
            .expect("curl runs");
        let answer = String::from_utf8_lossy(&output.stdout).to_lowercase();
        assert!(answer.starts_with("http/2 200"), "{answer}");
        assert!(answer.contains(&node.address().to_string()), "authority reaches the guest: {answer}");
        assert!(answer.contains("\"http\""), "scheme reaches the guest: {answer}");
    }
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[test]
fn a_trace_goes_on_into_a_worker_s_subrequests() {
    let (address, requests) = origin();
    let manifest = fixtures::manifest("origins = [\"o\"]\n[[route]]\npath = \"/*\"");
    let node = format!("[[origin]]\nname = \"o\"\nurl = \"http://{address}\"\n[[worker]]\npath = \"fixture\"");
    let node = Node::start(&node, &[("fixture/eyot.toml", &manifest)]);
    let request = node.request("GET", "/fetch?url=http%3A%2F%2Fo.origin.internal%2F");
    Answer::of(request.header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01")));
    let seen = requests.recv_timeout(PATIENCE).expect("a subrequest");
    assert!(seen.contains(&format!("traceparent: 00-{TRACE}-")), "{seen}");
    assert!(!seen.contains("00f067aa0ba902b7"), "a span of its own: {seen}");
}

#[test]
fn spans_are_exported_over_otlp_when_an_endpoint_is_configured() {
    let collector = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = collector.local_addr().expect("an address");
    let (sender, exports) = mpsc::channel();
    std::thread::spawn(move || {
        for mut socket in collector.incoming().flatten() {
            let _ = socket.set_read_timeout(Some(std::time::Duration::from_millis(500)));
            let mut export = Vec::new();
            let mut buffer = [0; 16384];
            while let Ok(read) = socket.read(&mut buffer) {
                export.extend_from_slice(&buffer[..read]);
                if read == 0 || export.len() > 300 {
                    break;
                }
            }
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = sender.send(export);
        }
    });
    let telemetry = format!("[telemetry]\notlp_endpoint = \"http://{address}\"\n");
    let mut node = Node::start(&format!("{telemetry}[[route]]\nrespond = {{ body = \"ok\" }}"), &[]);
    Answer::of(node.request("GET", "/").header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01")));
    // What is gathered is sent at the latest when the node ends.
    node.stop("-TERM");
    let export = exports.recv_timeout(PATIENCE).expect("an export");
    assert!(export.starts_with(b"POST /v1/traces HTTP/1.1"), "{}", String::from_utf8_lossy(&export));
    let id: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&TRACE[2 * at..2 * at + 2], 16).expect("hex")).collect();
    assert!(export.windows(16).any(|window| window == id), "the trace's id is in it");
}

#[test]
fn the_admin_listener_tells_health_readiness_and_metrics() {
    let node = Node::start("[[route]]\nrespond = { body = \"ok\" }", &[]);
    let admin = node.admin.expect("an admin listener");
    for (page, text) in [("healthz", "ok"), ("readyz", "ready"), ("metrics", "eyot_isolates_in_use")] {
        let answer = Answer::of(client().get(format!("http://{admin}/{page}")));
        assert_eq!(answer.status, 200, "{page}");
        assert!(answer.body.contains(text), "{page}: {}", answer.body);
    }
}

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
