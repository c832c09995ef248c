//! What an operator sees of requests: traces, their export, and the access log.

mod harness;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;

use harness::{Answer, Node, PATIENCE, fixtures};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A server that hands over what each connection sends, head and content, and answers 200.
fn server() -> (SocketAddr, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (sender, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut buffer = [0; 16384];
            while !is_whole(&request) {
                match socket.read(&mut buffer) {
                    Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            let _ = sender.send(request);
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (address, requests)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some(end) = request.windows(4).position(|end| end == b"\r\n\r\n") else { return false };
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    request.len() >= end + 4 + length.map_or(0, |length| length.parse().expect("a number"))
}

fn next(requests: &mpsc::Receiver<Vec<u8>>) -> Vec<u8> {
    requests.recv_timeout(PATIENCE).expect("a request")
}

/// The one `traceparent` in a request's head.
fn traceparent(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request);
    let mut fields = text.lines().filter_map(|line| line.strip_prefix("traceparent: "));
    let found = fields.next().expect("a traceparent").to_owned();
    assert_eq!(fields.next(), None, "{text}");
    found
}

/// The bytes that hexadecimal digits stand for, as OTLP carries ids.
fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex")).collect()
}

fn has(export: &[u8], part: &[u8]) -> bool {
    export.windows(part.len()).any(|window| window == part)
}

/// An origin behind a route, and behind a worker that fetches from it.
fn node(origin: SocketAddr, more: &str) -> Node {
    let manifest = fixtures::manifest("origins = [\"o\"]\n[[route]]\npath = \"/*\"");
    let origin = format!("[[origin]]\nname = \"o\"\nurl = \"http://{origin}/base\"\n");
    let route = "[[route]]\npath = \"/origin/*\"\norigin = \"o\"\n[[worker]]\npath = \"fixture\"\n";
    Node::start(&format!("{origin}{route}{more}"), &[("fixture/eyot.toml", &manifest)])
}

const FETCH: &str = "/fetch?url=http%3A%2F%2Fo.origin.internal%2Fx";

#[test]
fn each_call_to_an_origin_is_a_span_that_is_exported_and_the_parent_that_the_origin_sees() {
    let ((origin, requests), (collector, exports)) = (server(), server());
    let mut node = node(origin, &format!("[telemetry]\notlp_endpoint = \"http://{collector}\"\n"));
    let mut spans = Vec::new();
    for path in ["/origin/x", FETCH] {
        assert_eq!(Answer::of(node.request("GET", path).header("traceparent", CALLER)).status, 200);
        let seen = traceparent(&next(&requests));
        assert!(seen.starts_with(&format!("00-{TRACE}-")) && !seen.contains("00f067aa0ba902b7"), "{seen}");
        spans.push(bytes(&seen[36..52]));
    }
    // What is gathered is sent at the latest when the node ends.
    node.stop("-TERM");
    let export = next(&exports);
    assert!(export.starts_with(b"POST /v1/traces HTTP/1.1"), "{}", String::from_utf8_lossy(&export));
    assert!(has(&export, &bytes(TRACE)), "the trace's id is in it");
    assert!(spans.iter().all(|span| has(&export, span)), "and each span that an origin was told of");
    let urls = [format!("http://{origin}/base/origin/x"), format!("http://{origin}/base/x")];
    assert!(urls.iter().all(|url| has(&export, url.as_bytes())), "{}", String::from_utf8_lossy(&export));
}

#[test]
fn work_after_the_response_is_counted_and_has_a_span_of_its_own() {
    let ((origin, _), (collector, exports)) = (server(), server());
    let telemetry = format!("[telemetry]\notlp_endpoint = \"http://{collector}\"\n[limits]\nwait_until = \"300ms\"\n");
    let mut node = node(origin, &telemetry);
    let counted = |outcome| node.metric("eyot_wait_until_total", &format!("outcome=\"{outcome}\",worker=\"fixture\""));
    for path in ["/echo", "/background?ms=100", "/background?ms=20000"] {
        assert_eq!(Answer::of(node.request("GET", path).header("traceparent", CALLER)).status, 200);
    }
    node.wait_until_idle();
    assert_eq!(counted("failed"), 1.0, "the third met its limit");
    // On a busy machine the first has something to do after its response, too: to return.
    assert!((1.0..=2.0).contains(&counted("done")), "{}", counted("done"));
    let seconds = node.metric("eyot_wait_until_seconds_total", "worker=\"fixture\"");
    assert!((0.35..5.0).contains(&seconds), "{seconds}");
    node.stop("-TERM");
    let export = next(&exports);
    assert!(has(&export, b"wait_until") && has(&export, b"worker_wait_until_exceeded"));
}

#[test]
fn without_an_exporter_the_callers_span_stays_the_parent() {
    let (origin, requests) = server();
    let node = node(origin, "");
    for path in ["/origin/x", FETCH] {
        Answer::of(node.request("GET", path).header("traceparent", CALLER));
        assert_eq!(traceparent(&next(&requests)), CALLER, "{path}");
    }
}

#[test]
fn a_guest_sees_the_nodes_trace_context_and_never_a_bad_one() {
    let (origin, _) = server();
    let node = node(origin, "");
    let seen = |sent: &[&str]| -> Vec<String> {
        let request = sent.iter().fold(node.request("GET", "/echo"), |request, value| {
            request.header("traceparent", *value).header("tracestate", "a=1")
        });
        let head: serde_json::Value = serde_json::from_str(Answer::of(request).body.trim()).expect("JSON");
        let headers = head["headers"].as_array().expect("headers").clone();
        let traced = headers.iter().filter(|field| field[0].as_str().is_some_and(|name| name.starts_with("trace")));
        traced.map(|field| field[1].as_str().expect("text").to_owned()).collect()
    };
    assert_eq!(seen(&[CALLER]), [CALLER, "a=1"]);
    for bad in [&[][..], &["garbage"], &[CALLER, CALLER]] {
        let seen = seen(bad);
        assert_eq!(seen.len(), 1, "one context, and no state without a good one: {seen:?}");
        assert!(seen[0].len() == 55 && seen[0] != CALLER, "{seen:?}");
    }
}

#[test]
fn a_collector_that_is_away_is_told_once_with_its_address_and_the_cause() {
    let (origin, _) = server();
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let mut node = node(origin, &format!("[telemetry]\notlp_endpoint = \"http://{closed}\"\n"));
    (0..1500).for_each(|_| assert_eq!(node.get("/nothing").status, 404));
    harness::until("exports fail", || node.metric("eyot_span_exports_failed_total", "") >= 2.0);
    assert!(node.metric("eyot_spans_dropped_total", "") > 0.0);
    node.stop("-TERM");
    let log = node.log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("the collector takes no spans")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains(&closed.to_string()) && told[0].contains("refused"), "{}", told[0]);
    assert!(!log.contains("Export"), "the SDK says nothing of single batches: {log}");
}

/// The line of the access log for this request id.
fn line(node: &Node, id: &str) -> serde_json::Value {
    let text = format!("\"request_id\":\"{id}\"");
    node.wait_for_log(&text);
    let log = node.log();
    let line = log.lines().find(|line| line.contains(&text) && line.contains("\"bytes_out\"")).expect("a line");
    serde_json::from_str(line).expect("JSON")
}

#[test]
fn a_request_whose_head_is_refused_is_logged_with_the_client_that_is_believed() {
    let node = Node::start_logged("trusted_proxies = [\"127.0.0.0/8\"]\n[[route]]\nrespond = { body = \"ok\" }", &[]);
    let refused = "GET /../x HTTP/1.1\r\nhost: Shop.example\r\nx-request-id: refused-1\r\n\
                   x-forwarded-for: 203.0.113.9\r\nconnection: close\r\n\r\n";
    assert!(node.raw(refused).starts_with("HTTP/1.1 400"));
    let line = line(&node, "refused-1");
    assert_eq!((&line["client"], &line["host"]), (&"203.0.113.9".into(), &"Shop.example".into()), "{line}");
}

#[test]
fn lines_of_guests_and_of_failures_carry_the_trace() {
    let manifest = fixtures::manifest("[[route]]\npath = \"/*\"");
    let node = Node::start("[[worker]]\npath = \"fixture\"\n", &[("fixture/eyot.toml", &manifest)]);
    let ask = |path| Answer::of(node.request("GET", path).header("traceparent", CALLER)).status;
    assert_eq!(ask("/background?ms=1"), 200);
    assert_eq!(ask("/no-response"), 500);
    for text in ["background: done", "worker_no_response"] {
        node.wait_for_log(text);
        let log = node.log();
        let line = log.lines().find(|line| line.contains(text)).expect("a line");
        assert!(line.contains(TRACE), "{line}");
    }
}
