//! Each limit of limits.toml, at its bound and one past it.

mod harness;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use harness::{Answer, Node, PATIENCE, client, fixtures, until};

/// A node with the fixture at every path, under these limits of its own.
fn fixture(limits: &str) -> Node {
    fixture_with("", limits)
}

/// The same, with more of node.toml.
fn fixture_with(node: &str, limits: &str) -> Node {
    let manifest = fixtures::manifest(&format!("[[route]]\npath = \"/*\"\n[limits]\n{limits}"));
    Node::start(&format!("{node}\n[[worker]]\npath = \"fixture\"\n"), &[("fixture/eyot.toml", &manifest)])
}

#[track_caller]
fn fails(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{}", answer.body);
}

#[test]
fn memory_up_to_the_limit_is_given_and_past_it_ends_the_isolate() {
    let node = fixture("memory = \"64MiB\"");
    assert_eq!(node.get("/grow?mib=40").status, 200);
    fails(&node.get("/grow?mib=80"), 500, "worker_memory_exceeded");
    assert_eq!(node.get("/count").body.trim(), "1", "the next request has a fresh isolate");
}

#[test]
fn a_denied_growth_is_an_error_to_the_guest_and_the_sum_is_the_limit() {
    let node = fixture("memory = \"64MiB\"");
    let answer = node.get("/grow-checked");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let bytes = answer.json()["after"].as_u64().expect("the guest answers how many bytes it has");
    assert!(bytes <= 64 << 20, "{bytes}");
    assert!(bytes > 63 << 20, "nearly all of the limit can be used: {bytes}");
}

#[test]
fn cpu_time_below_the_limit_is_given_and_a_spinning_guest_ends_at_it() {
    let node = fixture("cpu_time = \"100ms\"");
    assert_eq!(node.get("/spin-ms?ms=50").status, 200);
    let began = Instant::now();
    fails(&node.get("/spin"), 500, "worker_cpu_exceeded");
    assert!(began.elapsed() >= Duration::from_millis(90), "not before its budget is used: {:?}", began.elapsed());
    let charged = node.metric("eyot_guest_cpu_seconds_total", "worker=\"fixture\"");
    // The first burns by the wall clock, of which other processes may have a part.
    assert!((0.1..0.4).contains(&charged), "{charged} s for two invocations of 50 and 100 ms");
}

#[test]
fn a_guest_that_waits_pays_no_cpu_time() {
    let node = fixture("cpu_time = \"20ms\"");
    assert_eq!(node.get("/sleep?ms=300").status, 200);
}

#[test]
fn a_response_head_within_wall_time_is_sent_and_past_it_is_a_timeout() {
    let node = fixture("wall_time = \"500ms\"");
    assert_eq!(node.get("/sleep?ms=100").status, 200);
    let began = Instant::now();
    fails(&node.get("/sleep?ms=20000"), 504, "worker_timeout");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_stream_that_stands_still_past_stream_idle_is_cut_without_a_clean_end() {
    let node = fixture("stream_idle = \"300ms\"\nwait_until = \"100ms\"");
    let whole = node.get("/stream?chunks=3&bytes=10&delay=100");
    assert_eq!((whole.status, whole.body.len()), (200, 30), "pauses below the limit are fine");
    let broken = node.request("GET", "/stream?chunks=2&bytes=10&delay=5000").send().expect("a head");
    assert_eq!(broken.status(), 200);
    assert!(broken.bytes().is_err(), "never a clean end");
}

#[test]
fn a_stream_longer_than_stream_total_is_cut() {
    let node = fixture("stream_total = \"500ms\"\nwait_until = \"100ms\"");
    assert_eq!(node.get("/stream?chunks=2&bytes=10&delay=50").body.len(), 20);
    let broken = node.request("GET", "/stream?chunks=1000&bytes=10&delay=50").send().expect("a head");
    assert!(broken.bytes().is_err());
}

#[test]
fn work_after_the_response_goes_on_until_wait_until() {
    let node = fixture("wait_until = \"400ms\"");
    assert_eq!(node.get("/background?ms=100").status, 200);
    node.wait_until_idle();
    assert_eq!(node.metric("eyot_failures_total", "worker_wait_until_exceeded"), 0.0);
    assert_eq!(node.get("/background?ms=20000").status, 200, "the client has its answer");
    node.wait_until_idle();
    assert_eq!(node.metric("eyot_failures_total", "worker_wait_until_exceeded"), 1.0);
}

#[test]
fn subrequests_up_to_the_limit_are_sent_and_the_next_is_refused_to_the_guest() {
    let origin = harness_origin();
    let node = format!("[[origin]]\nname = \"o\"\nurl = \"http://{origin}\"");
    let manifest = fixtures::manifest("origins = [\"o\"]\n[[route]]\npath = \"/*\"\n[limits]\nsubrequests = 3");
    let node = Node::start(&format!("{node}\n[[worker]]\npath = \"fixture\""), &[("fixture/eyot.toml", &manifest)]);
    let url = "http%3A%2F%2Fo.origin.internal%2F";
    let three = node.get(&format!("/fetch?url={url}&n=3"));
    assert_eq!(three.body.matches("200").count(), 3, "{}", three.body);
    let four = node.get(&format!("/fetch?url={url}&n=4"));
    assert_eq!(four.body.matches("200").count(), 3, "{}", four.body);
    assert!(node.metric("eyot_limits_reached_total", "worker_subrequests_exceeded") >= 1.0);
}

/// An origin that answers 200 to everything, until the test ends.
fn harness_origin() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while socket.read(&mut buffer).is_ok_and(|read| read > 0) {
                    if socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn as_many_subrequests_as_may_wait_are_sent_and_the_next_waits() {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    static HELD: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = socket.read(&mut [0; 4096]);
                MOST.fetch_max(HELD.fetch_add(1, SeqCst) + 1, SeqCst);
                let began = Instant::now();
                while began.elapsed() < Duration::from_millis(200) {
                    std::thread::yield_now();
                }
                HELD.fetch_sub(1, SeqCst);
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            });
        }
    });
    let manifest =
        fixtures::manifest("origins = [\"o\"]\n[[route]]\npath = \"/*\"\n[limits]\nsubrequests_concurrent = 2");
    let node = format!("[[origin]]\nname = \"o\"\nurl = \"http://{address}\"\n[[worker]]\npath = \"fixture\"");
    let node = Node::start(&node, &[("fixture/eyot.toml", &manifest)]);
    let answer = node.get("/fetch?url=http%3A%2F%2Fo.origin.internal%2F&n=5&parallel=1");
    assert_eq!(answer.body.matches("200").count(), 5, "{}", answer.body);
    assert_eq!(MOST.load(SeqCst), 2);
}

#[test]
fn a_request_body_at_the_limit_is_read_and_one_byte_more_is_413() {
    let node = fixture("request_body = \"1KiB\"");
    let send = |body: Vec<u8>| Answer::of(node.request("POST", "/read-body").body(body));
    assert_eq!(send(vec![b'x'; 1024]).status, 200);
    fails(&send(vec![b'x'; 1025]), 413, "request_body_too_large");
}

#[test]
fn a_chunked_request_body_over_the_limit_is_413_too() {
    let node = fixture("request_body = \"1KiB\"");
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let head = "POST /read-body HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let whole = node.raw(format!("{head}{chunk}0\r\n\r\n"));
    assert!(whole.starts_with("HTTP/1.1 200"), "{whole}");
    let more = node.raw(format!("{head}{chunk}1\r\nx\r\n0\r\n\r\n"));
    assert!(more.starts_with("HTTP/1.1 413") && more.contains("request_body_too_large"), "{more}");
}

#[test]
fn a_response_body_past_the_limit_is_cut_without_a_clean_end() {
    let node = fixture("response_body = \"1MiB\"");
    assert_eq!(node.get("/big-body?mib=1").body.len(), 1 << 20);
    let broken = node.request("GET", "/big-body?mib=2").send().and_then(reqwest::blocking::Response::bytes);
    assert!(broken.is_err());
}

#[test]
fn a_response_header_at_the_limit_is_sent_and_past_it_fails() {
    let node = fixture("response_header = \"16KiB\"");
    let whole = node.get("/headers?n=10&bytes=1500");
    assert_eq!(whole.status, 200, "{}", whole.body);
    fails(&node.get("/headers?n=10&bytes=1700"), 500, "worker_header_too_large");
}

#[test]
fn handles_up_to_the_limit_are_given_and_past_it_end_the_isolate() {
    let node = fixture("handles = 500\nresource_table = 5000");
    assert_eq!(node.get("/handles?n=300").status, 200);
    fails(&node.get("/handles?n=1000"), 500, "worker_handles_exceeded");
}

#[test]
fn host_resources_past_the_table_end_the_isolate() {
    let node = fixture("handles = 5000\nresource_table = 500");
    assert_eq!(node.get("/handles?n=300").status, 200);
    fails(&node.get("/handles?n=1000"), 500, "worker_resources_exceeded");
}

#[test]
fn one_host_call_copies_no_more_than_hostcall_fuel() {
    let node = fixture("hostcall_fuel = \"1MiB\"");
    assert_eq!(node.get("/hostcall?bytes=1000").status, 200);
    fails(&node.get("/hostcall?bytes=8000000"), 500, "worker_hostcall_exceeded");
}

#[test]
fn random_bytes_past_the_limit_end_the_isolate() {
    let node = fixture("random_bytes = \"1KiB\"");
    assert_eq!(node.get("/random?bytes=1024").status, 200);
    fails(&node.get("/random?bytes=1025"), 500, "worker_random_exceeded");
}

#[test]
fn log_bytes_past_the_limit_are_dropped_and_counted_and_the_request_goes_on() {
    let node = fixture("log = \"1KiB\"");
    assert_eq!(node.get("/log?bytes=1024").status, 200);
    assert_eq!(node.metric("eyot_guest_log_bytes_dropped_total", "fixture"), 0.0);
    assert_eq!(node.get("/log?bytes=1025").status, 200);
    until("the dropped byte is counted", || node.metric("eyot_guest_log_bytes_dropped_total", "fixture") >= 1.0);
}

#[test]
fn past_concurrency_and_queue_the_next_request_is_503_at_once() {
    let node = fixture("concurrency = 1\nqueue = 1\nqueue_wait = \"5s\"");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| node.get("/sleep?ms=3000"));
        until("the first runs", || node.metric("eyot_isolates_in_use", "") == 1.0);
        let others: Vec<_> = (0..5)
            .map(|_| {
                scope.spawn(|| {
                    let began = Instant::now();
                    (node.get("/count"), began.elapsed())
                })
            })
            .collect();
        let others: Vec<_> = others.into_iter().map(|other| other.join().expect("no panic")).collect();
        let (served, refused): (Vec<_>, Vec<_>) = others.into_iter().partition(|(answer, _)| answer.status == 200);
        assert_eq!((served.len(), refused.len()), (1, 4), "the one in the queue is served");
        for (answer, time) in refused {
            fails(&answer, 503, "overloaded");
            assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1));
            assert!(time < Duration::from_secs(1), "at once: {time:?}");
        }
        assert_eq!(first.join().expect("no panic").status, 200);
    });
}

#[test]
fn a_wait_longer_than_queue_wait_is_503() {
    let node = fixture("concurrency = 1\nqueue = 10\nqueue_wait = \"200ms\"");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| node.get("/sleep?ms=2000"));
        until("the first runs", || node.metric("eyot_isolates_in_use", "") == 1.0);
        fails(&node.get("/count"), 503, "overloaded");
        assert_eq!(first.join().expect("no panic").status, 200);
    });
}

#[test]
fn isolates_of_all_workers_together_are_bounded() {
    let node = fixture_with("[limits]\nnode_concurrency = 1", "queue_wait = \"100ms\"");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| node.get("/sleep?ms=3000"));
        until("the first runs", || node.metric("eyot_isolates_in_use", "") == 1.0);
        fails(&node.get("/count"), 503, "overloaded");
        assert_eq!(first.join().expect("no panic").status, 200);
    });
}

#[test]
fn past_node_queue_the_next_request_of_any_worker_is_503_at_once() {
    let node = fixture_with("[limits]\nnode_concurrency = 1\nnode_queue = 0\nnode_queue_wait = \"10s\"", "");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| node.get("/sleep?ms=3000"));
        until("the first runs", || node.metric("eyot_isolates_in_use", "") == 1.0);
        let began = Instant::now();
        fails(&node.get("/count"), 503, "overloaded");
        assert!(began.elapsed() < Duration::from_secs(2), "at once: {:?}", began.elapsed());
        assert_eq!(first.join().expect("no panic").status, 200);
    });
}

#[test]
fn a_wait_longer_than_node_queue_wait_is_503() {
    let node = fixture_with("[limits]\nnode_concurrency = 1\nnode_queue = 1\nnode_queue_wait = \"200ms\"", "");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| node.get("/sleep?ms=3000"));
        until("the first runs", || node.metric("eyot_isolates_in_use", "") == 1.0);
        let began = Instant::now();
        fails(&node.get("/count"), 503, "overloaded");
        let waited = began.elapsed();
        assert!(waited >= Duration::from_millis(200) && waited < Duration::from_secs(2), "{waited:?}");
        assert_eq!(first.join().expect("no panic").status, 200);
    });
}

#[test]
fn the_memory_of_all_isolates_together_is_bounded() {
    let node = fixture_with("[limits]\nnode_memory = \"32MiB\"", "");
    assert_eq!(node.get("/grow?mib=10").status, 200);
    fails(&node.get("/grow?mib=60"), 503, "overloaded");
}

#[test]
fn a_target_at_the_limit_is_served_and_one_byte_more_is_414() {
    let node = fixture_with("[limits]\nuri = \"1KiB\"", "");
    let path = |length: usize| format!("/count?{}", "x".repeat(length - "/count?".len()));
    assert_eq!(node.get(&path(1024)).status, 200);
    fails(&node.get(&path(1025)), 414, "uri_too_long");
}

#[test]
fn as_many_header_fields_as_the_limit_are_read_and_one_more_is_431() {
    let node = fixture_with("[limits]\nheader_count = 20", "");
    let ask = |fields: usize| {
        let fields: String = (0..fields - 2).map(|number| format!("x-{number}: y\r\n")).collect();
        node.raw(format!("GET /count HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n"))
    };
    assert!(ask(20).starts_with("HTTP/1.1 200"), "{}", ask(20));
    let more = ask(21);
    assert!(more.starts_with("HTTP/1.1 431") && more.contains("request_header_too_large"), "{more}");
}

#[test]
fn a_header_section_over_header_bytes_is_431() {
    let node = fixture_with("[limits]\nheader_bytes = \"8KiB\"", "");
    let ask = |bytes: usize| Answer::of(node.request("GET", "/count").header("x-big", "y".repeat(bytes)));
    assert_eq!(ask(7000).status, 200);
    fails(&ask(8200), 431, "request_header_too_large");
}

#[test]
fn a_head_that_does_not_end_is_closed_after_header_timeout() {
    let node = fixture_with("[limits]\nheader_timeout = \"300ms\"", "");
    let began = Instant::now();
    let answer = node.raw("GET / HTTP/1.1\r\nhost:");
    assert!(began.elapsed() < PATIENCE / 2, "closed by the node");
    assert!(!answer.contains("200"), "{answer}");
}

#[test]
fn a_request_body_that_does_not_arrive_is_408() {
    let node = fixture_with("[limits]\nrequest_body_idle = \"300ms\"", "");
    let answer = node.raw("POST /read-body HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc");
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("request_timeout"), "{answer}");
}

#[test]
fn an_idle_connection_is_closed_after_keepalive_idle() {
    let node = fixture_with("[limits]\nkeepalive_idle = \"300ms\"", "");
    let began = Instant::now();
    let answer = node.raw("GET /count HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(began.elapsed() < PATIENCE / 2, "closed by the node");
}

#[test]
fn a_client_that_does_not_read_is_cut_after_write_idle() {
    let node = fixture_with("[limits]\nwrite_idle = \"300ms\"", "stream_idle = \"5s\"\nwait_until = \"100ms\"");
    let mut socket = node.connect();
    socket.write_all(b"GET /big-body?mib=64 HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    until("it runs", || node.metric("eyot_isolates_started_total", "") >= 1.0);
    node.wait_until_idle();
}

#[test]
fn connections_past_the_limit_wait_until_one_is_free() {
    let node = fixture_with("[limits]\nconnections = 2", "");
    let held = [node.connect(), node.connect()];
    for mut socket in &held {
        socket.write_all(b"GET /count HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
        assert!(socket.read(&mut [0; 512]).expect("an answer") > 0);
    }
    let mut third = node.connect();
    third.write_all(b"GET /count HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    third.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    assert!(third.read(&mut [0; 512]).is_err(), "not served while two are open");
    drop(held);
    third.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert!(third.read(&mut [0; 512]).expect("an answer") > 0);
}

#[test]
fn every_limit_of_the_file_is_named_in_these_tests() {
    let table: toml::Table = std::fs::read_to_string(harness::root().join("limits.toml"))
        .expect("limits.toml can be read")
        .parse()
        .expect("it is TOML");
    let here = include_str!("limits.rs");
    // These have their test where there is TLS, HTTP/2 or a signal.
    let elsewhere = ["handshake_timeout", "h2_streams", "drain"];
    let missing: Vec<_> =
        table.keys().filter(|key| !here.contains(*key) && !elsewhere.contains(&key.as_str())).collect();
    assert!(missing.is_empty(), "no test names {missing:?}");
    let _ = client();
}
