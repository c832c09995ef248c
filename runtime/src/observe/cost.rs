//! What observing one request costs. A measurement, so it runs only when asked:
//! `cargo test --release --lib observe::cost -- --ignored --nocapture`.

use std::hint::black_box;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;

use super::*;

/// Few enough that the lines of all of them fit into a lane.
const ROUNDS: u32 = 2_000;

fn measured<T>(what: &str, mut run: impl FnMut() -> T) -> Duration {
    // The best of many, so that a neighbour on the machine does not count; the pause lets the writer empty its lane.
    let best = (0..100)
        .map(|_| {
            std::thread::park_timeout(Duration::from_millis(3));
            let begun = Instant::now();
            (0..ROUNDS).for_each(|_| drop(black_box(run())));
            begun.elapsed() / ROUNDS
        })
        .min()
        .unwrap();
    println!("{what:<44} {best:?}");
    best
}

#[test]
#[ignore = "a measurement, to be run in release"]
fn observing_a_request_costs_less_than_a_microsecond() {
    let metrics = Metrics::new().unwrap();
    let worker = metrics.worker("hello");
    let (headers, mut joined) = (HeaderMap::new(), HeaderMap::new());
    joined.insert("x-request-id", HeaderValue::from_static("0199a3c1-7f7e-7cc3-98c4-dc0c0c07398f"));
    joined.insert("traceparent", HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    let writer =
        Writer::start_on(Box::new(io::sink()), Duration::from_millis(100), metrics.access_log_dropped()).unwrap();
    let log = AccessLog::on(writer.lane(), AccessForm::Json);

    measured("request id, fresh", || RequestId::from_headers(&headers, SystemTime::now()));
    measured("request id, the client's", || RequestId::from_headers(&joined, SystemTime::now()));
    measured("trace, new", || Trace::from_headers(&headers));
    measured("trace, joined", || Trace::from_headers(&joined));
    measured("time", Timestamp::now);
    measured("guard of an isolate", || metrics.isolate_started(Start::Warm));
    measured("counters and histogram of a request", || {
        worker.target().finished(black_box(200), black_box(Duration::from_micros(12)));
    });
    measured("usage of a guest", || worker.used(Duration::from_micros(9), 1 << 20, Duration::from_micros(12)));
    measured("a failure", || worker.target().failed("worker_trapped"));
    let id = RequestId::from_headers(&headers, SystemTime::now());
    let trace = Trace::from_headers(&headers);
    let record = Record {
        time: Timestamp::now(),
        request_id: &id,
        trace_id: trace.id(),
        client: "192.0.2.7".parse().unwrap(),
        method: "GET",
        scheme: "http",
        host: "hello.localhost:8080",
        port: 8080,
        protocol: http::Version::HTTP_11,
        path: "/",
        status: 200,
        failure: None,
        bytes_in: 0,
        bytes_out: 12,
        duration: Duration::from_micros(12),
        cpu: Some(Duration::from_micros(9)),
        peak_memory: Some(1 << 20),
        start: Some(Start::Warm),
        worker: Some("hello"),
        version: Some("3f2a"),
        route: Some("hello.localhost/*"),
        caller: None,
    };
    let mut line = Vec::with_capacity(1024);
    measured("a time as text", || {
        line.clear();
        io::Write::write_fmt(&mut line, format_args!("{:.6}", black_box(record.time)))
    });
    measured("an address as text", || {
        line.clear();
        io::Write::write_fmt(&mut line, format_args!("{}", black_box(record.client)))
    });
    measured("a line of the access log, JSON", || {
        line.clear();
        black_box(&record).write(AccessForm::Json, &mut line);
    });
    measured("a line of the access log, text", || {
        line.clear();
        black_box(&record).write(AccessForm::Text { colour: true }, &mut line);
    });
    let made = AtomicU64::new(0);
    let whole = measured("all of it, ids and JSON line included", || {
        let (id, trace) = (RequestId::from_headers(&headers, SystemTime::now()), Trace::from_headers(&headers));
        let in_use = metrics.isolate_started(Start::Warm);
        worker.used(Duration::from_micros(9), 1 << 20, Duration::from_micros(12));
        worker.target().finished(200, Duration::from_micros(12));
        drop(in_use);
        log.record(&Record { time: Timestamp::now(), request_id: &id, trace_id: trace.id(), ..record.clone() });
        made.fetch_add(1, Ordering::Relaxed);
    });
    println!("lost {} lines of {}", metrics.access_log_dropped().get(), made.into_inner());
    assert!(whole < Duration::from_micros(1), "{whole:?}");
}
