//! Claims about who sees what, and what it costs the others.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use super::wanted::{NotWanted, Workers};
use super::*;
use crate::observe::{Start, Trace};

fn everything() -> Wanted {
    let workers: Workers = Box::new(|_| true);
    Wanted {
        workers,
        statuses: Vec::new(),
        methods: Vec::new(),
        headers: Vec::new(),
        search: None,
        sample: Sample::ALL,
    }
}

fn record<'a>(request_id: &'a RequestId, worker: Option<&'a str>, status: u16) -> Record<'a> {
    Record {
        time: "2026-02-03T04:05:06.789Z".parse().unwrap(),
        request_id,
        trace_id: Trace::root().id(),
        client: "192.0.2.7".parse().unwrap(),
        method: "GET",
        scheme: "https",
        host: "shop.example.com",
        port: 443,
        protocol: http::Version::HTTP_2,
        path: "/cart/7",
        status,
        failure: None,
        bytes_in: 0,
        bytes_out: 12,
        duration: Duration::from_micros(1240),
        cpu: None,
        peak_memory: None,
        start: Some(Start::Warm),
        worker,
        version: worker.map(|_| "3"),
        route: None,
        caller: None,
    }
}

/// Whether a tail that wants this sees the request.
async fn sees(wanted: Wanted, record: &Record<'_>, headers: &HeaderMap) -> bool {
    let tails = Tails::default();
    let mut tail = tails.open(wanted).unwrap();
    let kept = tails.keep(headers);
    tails.request(record, kept.as_deref());
    tails.end();
    tail.next().await.is_some()
}

#[tokio::test]
async fn a_request_is_told_as_the_access_log_has_it() {
    let (tails, id) = (Tails::default(), RequestId::fresh());
    let record = record(&id, Some("shop"), 200);
    tails.request(&record, None);
    let mut tail = tails.open(everything()).unwrap();
    tails.request(&record, None);
    let Some(Told::Request(json)) = tail.next().await else { panic!("a request") };
    let mut line = Vec::new();
    record.write(super::super::AccessForm::Json, &mut line);
    assert_eq!(format!("{json}\n").as_bytes(), line);
    tails.end();
    assert_eq!(tail.next().await, None, "what was before the tail is not seen");
}

#[tokio::test]
async fn of_several_filters_all_have_to_fit() {
    let (id, mut head) = (RequestId::fresh(), HeaderMap::new());
    head.append("x-tenant", HeaderValue::from_static("one"));
    head.append("x-tenant", HeaderValue::from_static("two"));
    let record = record(&id, Some("shop"), 404);
    let status = |text| vec![Statuses::parse(text).unwrap()];
    let field = |value| vec![(HeaderName::from_static("x-tenant"), HeaderValue::from_static(value))];
    let of = |name: &'static str| -> Workers { Box::new(move |worker| worker == Some(name)) };
    let cases = [
        (Wanted { statuses: status("4xx"), ..everything() }, true),
        (Wanted { statuses: status("404"), ..everything() }, true),
        (Wanted { statuses: status("5xx"), ..everything() }, false),
        (Wanted { methods: vec![Method::POST, Method::GET], ..everything() }, true),
        (Wanted { methods: vec![Method::POST], ..everything() }, false),
        (Wanted { headers: field("two"), ..everything() }, true),
        (Wanted { headers: field("three"), ..everything() }, false),
        (Wanted { search: Some("cart".to_owned()), ..everything() }, true),
        (Wanted { search: Some("Cart".to_owned()), ..everything() }, false),
        (Wanted { workers: of("shop"), ..everything() }, true),
        (Wanted { workers: of("mail"), ..everything() }, false),
        (Wanted { sample: Sample::of(0.0).unwrap(), ..everything() }, false),
        (Wanted { statuses: status("4xx"), methods: vec![Method::POST], ..everything() }, false),
    ];
    for (index, (wanted, expected)) in cases.into_iter().enumerate() {
        assert_eq!(sees(wanted, &record, &head).await, expected, "{index}");
    }
}

#[test]
fn a_status_is_a_number_or_a_class() {
    for good in ["100", "599", "5xx", "2XX"] {
        assert!(Statuses::parse(good).is_ok(), "{good}");
    }
    for bad in ["", "5", "5x", "6xx", "0xx", "600", "099", "+50", "50x", "5xxx"] {
        assert_eq!(Statuses::parse(bad), Err(NotWanted::Status), "{bad}");
    }
}

#[test]
fn a_sample_is_a_part_of_all_requests_and_always_the_same() {
    let ids: Vec<_> = (0..2000).map(|_| RequestId::fresh()).collect();
    let sample = Sample::of(0.25).unwrap();
    let found = ids.iter().filter(|id| sample.has(id)).count();
    assert!((400..600).contains(&found), "{found}");
    assert_eq!(ids.iter().filter(|id| sample.has(id)).count(), found);
    for bad in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert_eq!(Sample::of(bad), Err(NotWanted::Sample), "{bad}");
    }
}

#[tokio::test]
async fn lines_are_told_and_cannot_drive_a_terminal() {
    let (tails, id) = (Tails::default(), RequestId::fresh());
    let mut tail = tails.open(Wanted { search: Some("red".to_owned()), ..everything() }).unwrap();
    let said = Said { worker: "shop", request: &id, trace: TraceId::from(7), stream: Stream::Stderr };
    tails.line(said, Level::INFO, b"blue");
    tails.line(said, Level::WARN, b"\x1b[31mred\xff");
    let Some(Told::Line(json)) = tail.next().await else { panic!("a line") };
    let line: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&line["level"], &line["stream"], &line["worker"]), (&"WARN".into(), &"stderr".into(), &"shop".into()));
    assert_eq!(line["message"], "\\x1b[31mred\\xff");
    assert_eq!(line["request_id"], id.as_str());
}

#[tokio::test]
async fn a_reader_that_is_slow_is_told_what_it_missed_and_holds_nobody_up() {
    let (tails, id) = (Tails::default(), RequestId::fresh());
    let mut slow = tails.open(everything()).unwrap();
    let record = record(&id, Some("shop"), 200);
    for _ in 0..QUEUE + 100 {
        tails.request(&record, None);
    }
    assert_eq!(slow.next().await, Some(Told::Dropped(100)));
    let mut seen = 0;
    tails.end();
    while let Some(told) = slow.next().await {
        assert!(matches!(told, Told::Request(_)));
        seen += 1;
    }
    assert_eq!((seen, slow.queue.bytes.load(Relaxed)), (QUEUE, 0));
}

#[tokio::test]
async fn a_queue_is_bounded_in_bytes() {
    let (tails, id) = (Tails::default(), RequestId::fresh());
    let mut tail = tails.open(everything()).unwrap();
    let said = Said { worker: "shop", request: &id, trace: TraceId::from(7), stream: Stream::Stdout };
    for _ in 0..QUEUE {
        tails.line(said, Level::INFO, &[b'x'; 8192]);
    }
    assert!(tail.queue.bytes.load(Relaxed) <= QUEUE_BYTES);
    assert!(matches!(tail.next().await, Some(Told::Dropped(896..=905))));
}

#[test]
fn there_are_sixteen_tails_at_most_and_one_that_is_over_makes_room() {
    let tails = Tails::default();
    let mut open: Vec<_> = (0..MOST).map(|_| tails.open(everything()).unwrap()).collect();
    assert_eq!(tails.open(everything()).err(), Some(NoTail::TooMany));
    open.pop();
    open.push(tails.open(everything()).unwrap());
    assert_eq!(tails.end(), MOST);
    drop(open);
    assert_eq!(tails.open(everything()).err(), Some(NoTail::Ended));
}

#[test]
fn a_head_is_kept_only_while_somebody_asks_for_a_field() {
    let (tails, head) = (Tails::default(), HeaderMap::new());
    assert!(tails.keep(&head).is_none());
    let plain = tails.open(everything()).unwrap();
    assert!(tails.keep(&head).is_none());
    let name = (HeaderName::from_static("x"), HeaderValue::from_static("y"));
    let asks = tails.open(Wanted { headers: vec![name], ..everything() }).unwrap();
    assert!(tails.keep(&head).is_some());
    drop(asks);
    assert!(tails.keep(&head).is_none());
    drop(plain);
    assert_eq!(tails.0.needs.load(Relaxed), 0);
}
