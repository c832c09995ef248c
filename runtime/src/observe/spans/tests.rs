//! Claims about exported spans, against a collector of a few lines.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use http::HeaderMap;

use super::*;
use crate::observe::{Metrics, RequestId, Start};

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
    (Telemetry { otlp_endpoint: Some(endpoint), service_name: Some("edge-7".to_owned()), sample: None }, receive)
}

fn started(telemetry: &Telemetry) -> (Tracer, SpanLosses) {
    let losses = Metrics::new().unwrap().span_losses();
    (Tracer::start(telemetry, losses.clone()).unwrap().unwrap(), losses)
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
        port: 8443,
        protocol: http::Version::HTTP_2,
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
        route: Some("shop.example.com/cart/*"),
        caller: None,
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
    let losses = Metrics::new().unwrap().span_losses();
    assert!(Tracer::start(&Telemetry::default(), losses).unwrap().is_none());
}

#[test]
fn a_request_is_exported_with_the_ids_of_its_trace() {
    let (telemetry, received) = collector();
    let (tracer, _) = started(&telemetry);
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
    let (tracer, _) = started(&telemetry);
    let (trace, id) = (parented("00"), RequestId::fresh());
    tracer.request(&trace, &record(&id, &trace));
    assert!(tracer.shutdown(Duration::from_secs(10)));
    assert!(received.try_recv().is_err());
}

#[test]
fn a_collector_that_hangs_does_not_hold_up_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap()).parse().unwrap();
    let (tracer, _) = started(&Telemetry { otlp_endpoint: Some(endpoint), ..Telemetry::default() });
    let (trace, id) = (Trace::root(), RequestId::fresh());
    tracer.request(&trace, &record(&id, &trace));
    let begun = std::time::Instant::now();
    assert!(!tracer.shutdown(Duration::from_millis(200)));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_tracer_may_be_started_and_ended_inside_a_runtime() {
    let (telemetry, received) = collector();
    let (tracer, _) = started(&telemetry);
    let trace = Trace::root();
    let now = SystemTime::now();
    let span =
        Span { name: "dns".into(), kind: SpanKind::Client, start: now, end: now, attributes: Vec::new(), failed: true };
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
    assert_eq!((span.name.as_ref(), span.failed), ("HTTP", false));
    assert_eq!(value(&span, "http.request.method").unwrap(), "_OTHER");
    assert_eq!(value(&span, "http.request.method_original").unwrap(), "BREW");
    assert_eq!(value(&span, "error.type"), None);
}

fn value(span: &Span, key: &str) -> Option<String> {
    span.attributes.iter().find(|pair| pair.key.as_str() == key).map(|pair| pair.value.to_string())
}

#[test]
fn a_server_span_keeps_to_the_conventions() {
    let (trace, id) = (Trace::root(), RequestId::fresh());
    let span = Span::server(&record(&id, &trace));
    assert_eq!(span.name, "GET /cart/*");
    assert_eq!(value(&span, "http.route").unwrap(), "/cart/*", "the path alone; the host is another attribute");
    assert_eq!(value(&span, "server.address").unwrap(), "shop.example.com");
    assert_eq!(value(&span, "server.port").unwrap(), "8443");
    assert_eq!(value(&span, "network.protocol.version").unwrap(), "2");
    assert_eq!(value(&span, "error.type").unwrap(), "worker_trapped");
    let (telemetry, _received) = collector();
    let data = started(&telemetry).0.data(&trace, span);
    assert_eq!(data.status, Status::error(""), "what the status code says needs no description");
}

/// Waits for the next batch and returns its body.
fn next(received: &Receiver<Received>) -> Vec<u8> {
    received.recv_timeout(Duration::from_secs(10)).unwrap().1
}

#[test]
fn a_call_to_an_origin_is_the_parent_that_the_origin_is_told() {
    let (telemetry, received) = collector();
    let (tracer, _) = started(&telemetry);
    let trace = parented("01");
    let url = || Some("http://10.0.0.7:3000/base/cart".to_owned());
    let (call, told) = Call::begin(Some(&tracer), &trace, &http::Method::GET, url);
    call.ended(Ok(503));
    assert!(tracer.shutdown(Duration::from_secs(10)));
    let body = next(&received);
    assert_eq!(told.id(), trace.id());
    for part in [&told.span().to_bytes(), &trace.span().to_bytes()] {
        assert!(has(&body, part), "the told parent is exported, below the request's own span");
    }
    for part in ["url.full", "http://10.0.0.7:3000/base/cart", "server.port", "error.type", "503"] {
        assert!(has(&body, part.as_bytes()), "no {part}");
    }
}

#[test]
fn a_call_that_nobody_waits_for_is_recorded_as_cancelled() {
    let (telemetry, received) = collector();
    let (tracer, _) = started(&telemetry);
    drop(Call::begin(Some(&tracer), &Trace::root(), &http::Method::GET, || None));
    assert!(tracer.shutdown(Duration::from_secs(10)));
    assert!(has(&next(&received), b"cancelled"));
}

#[test]
fn where_nothing_is_recorded_the_origin_gets_the_callers_span_as_its_parent() {
    let sent = HeaderMap::from_iter([(
        http::HeaderName::from_static("traceparent"),
        http::HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    )]);
    let mut headers = HeaderMap::new();
    let trace = Tracer::trace(None, &sent);
    let (call, told) = Call::begin(None, &trace, &http::Method::GET, || None);
    call.ended(Ok(200));
    told.inject(&mut headers);
    assert_eq!(headers, sent);
}

#[test]
fn a_share_of_the_traces_that_begin_here_is_recorded_and_the_callers_decision_stands() {
    let (telemetry, _received) = collector();
    let share = |sample| {
        let (tracer, _) = started(&Telemetry { sample: Some(sample), ..telemetry.clone() });
        let sampled = (0..1000).filter(|_| Tracer::trace(Some(&tracer), &HeaderMap::new()).is_sampled()).count();
        let mut sent = HeaderMap::new();
        for flags in ["00", "01"] {
            parented(flags).inject(&mut sent);
            assert_eq!(Tracer::trace(Some(&tracer), &sent).is_sampled(), flags == "01", "{sample}");
        }
        sampled
    };
    assert_eq!((share(0.0), share(1.0)), (0, 1000));
    assert!((150..350).contains(&share(0.25)));
}

#[test]
fn spans_that_find_no_room_and_those_that_nobody_takes_are_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (tracer, losses) = started(&Telemetry { otlp_endpoint: Some(endpoint), ..Telemetry::default() });
    let (trace, id) = (Trace::root(), RequestId::fresh());
    let all = 2 * QUEUE as u64;
    // Nobody answers, so at most one batch leaves the queue.
    (0..all).for_each(|_| tracer.request(&trace, &record(&id, &trace)));
    let without_room = losses.dropped.get();
    assert!((all - QUEUE as u64 - 512..=all - QUEUE as u64).contains(&without_room), "{without_room}");
    drop(listener);
    tracer.shutdown(Duration::from_secs(20));
    assert_eq!(losses.dropped.get(), all, "what was refused is lost too");
    assert!(losses.failed_exports.get() >= 4);
}
