//! The limits of a connection.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::frames::{self, HEADERS, RST_STREAM, SETTINGS};
use crate::harness::wire::Wire;
use crate::harness::{Node, PATIENCE, until};
use crate::{SOON, fails, fixture_with};

#[test]
pub(crate) fn connections_past_the_limit_wait_until_one_is_free() {
    let node = fixture_with("[limits]\nconnections = 2", "");
    let held = [node.connect(), node.connect()];
    for mut socket in &held {
        socket.write_all(b"GET /sleep?ms=3000 HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    }
    // Seen from outside: the metrics have a listener, and permits, of their own.
    until("both are at work", || node.metric("eyot_isolates_in_use", "") == 2.0);
    let mut third = node.connect();
    third.write_all(b"GET /count HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    third.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    assert!(third.read(&mut [0; 512]).is_err(), "not served while two are at work");
    third.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert!(third.read(&mut [0; 512]).expect("an answer, once one of them is done") > 0);
    drop(held);
}

#[test]
pub(crate) fn a_client_that_has_closed_its_side_is_answered_within_half_close_and_gone_past_it() {
    let node = fixture_with("[limits]\nhalf_close = \"1s\"", "");
    let ask = |path: &str| {
        let mut socket = node.connect();
        socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).expect("sent");
        socket.shutdown(std::net::Shutdown::Write).expect("half closed");
        let mut answer = String::new();
        let _ = socket.read_to_string(&mut answer);
        answer
    };
    for path in ["/count", "/sleep?ms=100", "/stream?chunks=5&bytes=1&delay=400"] {
        assert!(ask(path).starts_with("HTTP/1.1 200"), "{path}: {}", ask(path));
    }
    assert_eq!(ask("/sleep?ms=20000"), "");
    node.wait_until_idle();
    assert_eq!(node.metric("eyot_failures_total", "code=\"client_gone\""), 1.0);
}

#[test]
pub(crate) fn a_target_at_the_limit_is_served_and_one_byte_more_is_414() {
    let node = fixture_with("[limits]\nuri = \"1KiB\"", "");
    let path = |length: usize| format!("/count?{}", "x".repeat(length - "/count?".len()));
    assert_eq!(node.get(&path(1024)).status, 200);
    fails(&node.get(&path(1025)), 414, "uri_too_long");
}

#[test]
pub(crate) fn a_header_section_at_the_limit_is_read_and_one_byte_more_is_431() {
    let node = fixture_with("[limits]\nheader_bytes = \"8KiB\"", "");
    let ask = |bytes: usize| {
        // A field is its name, its value and four bytes around them.
        let others = "host".len() + "a".len() + 4 + "connection".len() + "close".len() + 4 + "x-big".len() + 4;
        let value = "y".repeat(bytes - others);
        node.raw(format!("GET /count HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-big: {value}\r\n\r\n"))
    };
    let whole = ask(8 << 10);
    assert!(whole.starts_with("HTTP/1.1 200"), "{whole}");
    let more = ask((8 << 10) + 1);
    assert!(more.starts_with("HTTP/1.1 431") && more.contains("eyot-error: request_header_too_large"), "{more}");
}

#[test]
pub(crate) fn as_many_header_fields_as_the_limit_are_read_and_one_more_is_431() {
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
pub(crate) fn a_head_that_does_not_end_is_closed_after_header_timeout() {
    let node = fixture_with("[limits]\nheader_timeout = \"300ms\"", "");
    for begun in ["", "G", "GET / HTTP/1.1\r\nhost:"] {
        let began = Instant::now();
        let wire = Wire::exchange(node.connect(), begun);
        assert!(wire.closed && began.elapsed() < SOON, "{begun:?}: {:?}", began.elapsed());
        assert!(wire.answers().iter().all(|(status, _)| *status == 408), "{begun:?}: {}", wire.text());
    }
}

#[test]
pub(crate) fn a_handshake_that_does_not_end_is_closed_after_handshake_timeout() {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let node = Node::start_exactly(
        "[limits]\nhandshake_timeout = \"300ms\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         tls = { certificate = \"chain.pem\", key = \"key.pem\" }\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [[route]]\nrespond = { body = \"ok\" }",
        &[("chain.pem", &certificate.cert.pem()), ("key.pem", &certificate.signing_key.serialize_pem())],
    );
    let url = format!("https://localhost:{}/", node.address().port());
    let curl =
        Command::new("curl").args(["-s", "--cacert", "chain.pem", &url]).current_dir(node.folder.path()).output();
    assert_eq!(curl.expect("curl runs").stdout, b"ok", "one that ends is answered");
    // Nothing, and the beginning of a ClientHello's record (RFC 8446 §5.1).
    for begun in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let began = Instant::now();
        let wire = Wire::exchange(node.connect(), begun);
        assert!(wire.closed && began.elapsed() < SOON, "{begun:?}: {:?}", began.elapsed());
    }
}

#[test]
pub(crate) fn an_idle_connection_is_closed_after_keepalive_idle() {
    let node = fixture_with("[limits]\nkeepalive_idle = \"300ms\"", "");
    let began = Instant::now();
    let wire = Wire::exchange(node.connect(), "GET /count HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(wire.closed && began.elapsed() < SOON, "closed by the node: {:?}", began.elapsed());
    assert_eq!(wire.answers(), [(200, String::new())]);
}

#[test]
pub(crate) fn a_request_body_that_does_not_arrive_is_408() {
    let node = fixture_with("[limits]\nrequest_body_idle = \"300ms\"", "");
    let began = Instant::now();
    let answer = node.raw("POST /read-body HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc");
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("request_timeout"), "{answer}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[test]
pub(crate) fn a_client_that_does_not_read_is_cut_after_write_idle() {
    // Nothing else ends this: the guest could stand still for ten minutes.
    let node = fixture_with("[limits]\nwrite_idle = \"300ms\"", "stream_idle = \"10m\"\nwait_until = \"100ms\"");
    let mut socket = node.connect();
    socket.write_all(b"GET /big-body?mib=64 HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    until("it runs", || node.metric("eyot_isolates_started_total", "") == 1.0);
    until("the connection ends", || node.metric("eyot_connections", "") == 0.0);
    node.wait_until_idle();
    let wire = Wire::read(&mut socket);
    assert!(wire.closed && wire.bytes.len() < 64 << 20, "{} bytes", wire.bytes.len());
}

#[test]
pub(crate) fn as_many_http_2_streams_as_the_limit_are_served_and_the_next_is_refused() {
    const MAX_CONCURRENT_STREAMS: &[u8] = &[0, 3, 0, 0, 0, 2];
    const REFUSED_STREAM: &[u8] = &[0, 0, 0, 7];
    let node = fixture_with("[limits]\nh2_streams = 2", "");
    let mut socket = node.connect();
    let mut request = frames::preface(&[]);
    for stream in [1, 3, 5] {
        request.extend(frames::get(stream, "/sleep?ms=500"));
    }
    socket.write_all(&request).expect("sent");
    let (mut refused, mut served) = (Vec::new(), Vec::new());
    while refused.len() + served.len() < 3 {
        let mut head = [0; 9];
        socket.read_exact(&mut head).expect("a frame");
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        socket.read_exact(&mut payload).expect("its payload");
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        match head[3] {
            SETTINGS if head[4] == 0 => {
                assert!(payload.chunks(6).any(|setting| setting == MAX_CONCURRENT_STREAMS), "{payload:?}");
            }
            RST_STREAM => {
                assert_eq!(payload, REFUSED_STREAM);
                refused.push(stream);
            }
            HEADERS => served.push(stream),
            _ => {}
        }
    }
    served.sort_unstable();
    assert_eq!((served, refused), (vec![1, 3], vec![5]));
}

#[test]
pub(crate) fn as_many_connections_of_one_address_as_the_limit_are_served_and_one_more_is_closed() {
    let node = fixture_with("[limits]\nconnections_per_address = 2", "");
    let ask = |mut socket: &TcpStream| {
        // A socket that is closed already may refuse the request, too.
        let _ = socket.write_all(b"GET /count HTTP/1.1\r\nhost: a\r\n\r\n");
        socket.read(&mut [0; 512]).unwrap_or(0)
    };
    let held = [node.connect(), node.connect()];
    assert!(held.iter().all(|socket| ask(socket) > 0));
    assert_eq!(ask(&node.connect()), 0, "closed without a word");
    assert!(ask(&held[0]) > 0, "the others are not affected");
    until("it is counted", || node.metric("eyot_connections_cut_total", "reason=\"address\"") >= 1.0);
    drop(held);
    until("there is room again", || ask(&node.connect()) > 0);
}

#[test]
pub(crate) fn as_many_frames_that_bring_nothing_as_h2_glitches_are_taken_and_one_more_ends_the_connection() {
    let node = fixture_with("[limits]\nh2_glitches = 20", "");
    // The settings that a connection begins with are one. All comes at once, so that no time makes up for it.
    let ask = |pings: usize| {
        let pings = frames::frame(frames::PING, 0, 0, b"12345678").repeat(pings);
        let mut socket = node.connect();
        socket.write_all(&[frames::preface(&[]), pings, frames::get(1, "/count")].concat()).expect("sent");
        frames::head_of(&mut socket, 1)
    };
    let cut = || node.metric("eyot_connections_cut_total", "reason=\"glitches\"");
    assert!(ask(19), "a request behind them is answered");
    assert_eq!(cut(), 0.0);
    assert!(!ask(20), "the connection ends");
    until("it is counted", || cut() == 1.0);
}
