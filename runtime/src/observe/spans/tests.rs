//! Claims about exported spans, against a collector of a few lines.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use http::HeaderMap;

use super::*;
use crate::observe::{RequestId, Start};

/// What the collector got: the request line and the headers in lower case, and the body.
type Received = (String, Vec<u8>);

fn collector() -> (Telemetry, Receiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (send, receive) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = send.send(answer(stream.unwrap()));
        }
    });
    (Telemetry { otlp_endpoint: Some(endpoint), service_name: Some("edge-7".to_owned()) }, receive)
}

fn answer(mut stream: TcpStream) -> Received {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).unwrap();
    }
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
    (head, body)
}

fn has(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

fn record<'a>(request_id: &'a RequestId, trace: &Trace) -> Record<'a> {
    Record {
        time: "2026-02-03T04:05:06.789Z".parse().unwrap(),
        request_id,
        trace_id: trace.id(),
        client: "192.0.2.7".parse().unwrap(),
        method: "GET",
        scheme: "https",
        host: "shop.example.com",
        path: "/cart/4711",
        status: 500,
        failure: Some("worker_trapped"),
        bytes_in: 0,
        bytes_out: 12,
        duration: Duration::from_micros(1240),
        cpu: Some(Duration::from_micros(310)),
        peak_memory: Some(1 << 20),
        start: Some(Start::Warm),
        worker: Some("hello"),
        version: Some("3f2a"),
        route: Some("/cart/*"),
    }
}

fn parented(flags: &str) -> Trace {
    let mut headers = HeaderMap::new();
    let sent = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
    headers.insert("traceparent", sent.parse().unwrap());
    headers.insert("tracestate", "rojo=1".parse().unwrap());
    Trace::from_headers(&headers)
}

#[test]
fn without_an_endpoint_there_is_no_tracer() {
    assert!(Tracer::start(&Telemetry::default()).unwrap().is_none());
}

#[test]
fn a_request_is_exported_with_the_ids_of_its_trace() {
    let (telemetry, received) = collector();
    let tracer = Tracer::start(&telemetry).unwrap().unwrap();
    let (trace, id) = (parented("01"), RequestId::fresh());
    tracer.request(&trace, &record(&id, &trace));
    assert!(tracer.shutdown(Duration::from_secs(10)));
    let (head, body) = received.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
    for part in [&trace.id().to_bytes()[..], &trace.span().to_bytes(), &trace.parent().unwrap().to_bytes()] {
        assert!(has(&body, part));
    }
    for part in
        ["edge-7", "GET /cart/*", "url.path", "/cart/4711", "eyot.worker", "worker_trapped", "rojo=1", id.as_str()]
    {
        assert!(has(&body, part.as_bytes()), "no {part}");
    }
}

#[test]
fn a_span_of_a_trace_that_is_not_sampled_is_not_exported() {
    let (telemetry, received) = collector();
    let tracer = Tracer::start(&telemetry).unwrap().unwrap();
    let (trace, id) = (parented("00"), RequestId::fresh());
    tracer.request(&trace, &record(&id, &trace));
    assert!(tracer.shutdown(Duration::from_secs(10)));
    assert!(received.try_recv().is_err());
}

#[test]
fn a_collector_that_hangs_does_not_hold_up_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap()).parse().unwrap();
    let tracer = Tracer::start(&Telemetry { otlp_endpoint: Some(endpoint), service_name: None }).unwrap().unwrap();
    let (trace, id) = (Trace::root(), RequestId::fresh());
    tracer.request(&trace, &record(&id, &trace));
    let begun = std::time::Instant::now();
    assert!(!tracer.shutdown(Duration::from_millis(200)));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_tracer_may_be_started_and_ended_inside_a_runtime() {
    let (telemetry, received) = collector();
    let tracer = Tracer::start(&telemetry).unwrap().unwrap();
    let trace = Trace::root();
    let now = SystemTime::now();
    let span = Span {
        name: "dns".into(),
        kind: SpanKind::Client,
        start: now,
        end: now,
        attributes: Vec::new(),
        error: Some("origin_dns".into()),
    };
    tracer.record(&trace.child(), span);
    assert!(tracer.shutdown(Duration::from_secs(10)));
    drop(tracer);
    assert!(has(&received.recv_timeout(Duration::from_secs(10)).unwrap().1, &trace.id().to_bytes()));
}

#[test]
fn a_made_up_method_does_not_become_a_name() {
    let (trace, id) = (Trace::root(), RequestId::fresh());
    let mut record = record(&id, &trace);
    (record.method, record.route, record.status, record.failure) = ("BREW", None, 405, Some("method_not_allowed"));
    let span = Span::server(&record);
    assert_eq!((span.name.as_ref(), span.error), ("HTTP", None));
    let value =
        |key: &str| span.attributes.iter().find(|pair| pair.key.as_str() == key).map(|pair| pair.value.to_string());
    assert_eq!(value("http.request.method").unwrap(), "_OTHER");
    assert_eq!(value("http.request.method_original").unwrap(), "BREW");
    assert_eq!(value("error.type"), None);
}
