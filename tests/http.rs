//! HTTP as clients and origins see it: routing, hosts, proxying, TLS, HTTP/2, admin.

mod harness;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;

use harness::origin::Origin;
use harness::{Answer, Node, PATIENCE, client, escaped, fixtures};

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
    // Someone listens at each address that is asked here, or nobody could tell a refusal from an empty port. No list may have an
    // address that is not public, but the worker's own has a name that leads to one: what would be dialled is what is refused.
    let origin = Origin::answering();
    let port = origin.address.port();
    let manifest = fixtures::manifest(&format!("egress = [\"http://localhost:{port}\"]\n[[route]]\npath = \"/*\""));
    let node = Node::start("[[worker]]\npath = \"fixture\"", &[("fixture/eyot.toml", &manifest)]);
    let ask = |url: &str| node.get(&format!("/fetch?url={}", escaped(url))).json();
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "LOCALHOST.",
        "localhost",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "169.254.169.254",
        // Not on the list: refused before anything is looked up.
        "127.0.0.2",
        "0.0.0.0",
        "[::1]",
        "undeclared.origin.internal",
        "127.0.0.1@example.com",
    ] {
        let url = format!("http://{host}:{port}/");
        let answer = ask(&url);
        assert_eq!(answer[0]["error"], "HttpRequestDenied", "{url}: {answer}");
    }
    let admin = node.admin.expect("an admin listener");
    assert_eq!(ask(&format!("http://{admin}/metrics"))[0]["error"], "HttpRequestDenied");
    assert_eq!(ask(&format!("http://{}/count", node.address()))[0]["error"], "HttpRequestDenied");
    assert_eq!(origin.so_far(), [""; 0], "nothing came, no connection either");
    // The guest is told a code; what to do about it is told to whoever reads the log, once.
    node.wait_for_log("add it to node.toml as [[origin]]");
    let refused = format!("localhost:{port} has no public address");
    assert_eq!(node.log().matches(&refused).count(), 1, "{}", node.log());

    // The same origin is reached by who was given it: it is there, and the guest asks as it should.
    let node = format!("{}[[worker]]\npath = \"fixture\"", origin.declared("o"));
    let manifest = fixtures::manifest("origins = [\"o\"]\n[[route]]\npath = \"/*\"");
    let node = Node::start(&node, &[("fixture/eyot.toml", &manifest)]);
    let answer = node.get(&format!("/fetch?url={}", escaped("http://o.origin.internal/"))).json();
    assert_eq!(answer[0]["status"], 200, "{answer}");
    assert_eq!(origin.so_far().len(), 1);
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
