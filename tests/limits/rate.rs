//! The rates of bodies. They hold from the sixth second of waiting on, so these tests take that long; they run side by side.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::fixture_with;
use crate::harness::frames::{self, DATA, END_HEADERS, HEADERS, RST_STREAM, Received, WINDOW_UPDATE, frame};
use crate::harness::{Node, PATIENCE, until};

/// A rate that nobody keeps up for whom anybody has to wait.
const UTMOST: &str = "1TiB";

fn node(limits: &str) -> Node {
    fixture_with(&format!("[limits]\n{limits}"), "cpu_time = \"10s\"\nstream_idle = \"10m\"\nwait_until = \"100ms\"")
}

/// Runs both at once and gives both results.
fn together<A: Send, B: Send>(one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B + Send) -> (A, B) {
    std::thread::scope(|scope| {
        let (one, other) = (scope.spawn(one), scope.spawn(other));
        (one.join().expect("no panic"), other.join().expect("no panic"))
    })
}

fn pause(milliseconds: u64) {
    std::thread::park_timeout(Duration::from_millis(milliseconds));
}

#[test]
pub(crate) fn a_request_body_at_request_body_rate_is_read_and_a_slower_one_is_408() {
    // A hundred bytes a second, for longer than the five seconds in which any rate will do.
    const PIECES: usize = 80;
    let drip = |rate: &str| {
        let node = node(&format!("request_body_rate = \"{rate}\""));
        let mut socket = node.connect();
        let length = PIECES * 10;
        let head =
            format!("POST /read-body HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        socket.write_all(head.as_bytes()).expect("sent");
        for _ in 0..PIECES {
            // Refused before its end, it need not be sent to its end.
            if socket.write_all(b"0123456789").is_err() {
                break;
            }
            pause(100);
        }
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let (slower, as_fast) = together(|| drip("1KiB"), || drip("50B"));
    assert!(as_fast.starts_with("HTTP/1.1 200"), "{as_fast}");
    assert!(slower.starts_with("HTTP/1.1 408") && slower.contains("request_timeout"), "{slower}");
}

#[test]
fn a_request_body_of_http_2_slower_than_request_body_rate_is_408() {
    let node = node("request_body_rate = \"1KiB\"");
    let mut socket = node.connect();
    let post = frame(HEADERS, END_HEADERS, 1, &frames::request("POST", "/read-body"));
    socket.write_all(&[frames::preface(&[]), post].concat()).expect("sent");
    let mut sender = socket.try_clone().expect("a descriptor");
    let began = Instant::now();
    std::thread::scope(|scope| {
        let dripping = scope.spawn(move || {
            while sender.write_all(&frame(DATA, 0, 1, b"0123456789")).is_ok() && began.elapsed() < PATIENCE {
                pause(100);
            }
        });
        frames::head_of(&mut socket, 1);
        let _ = socket.shutdown(Shutdown::Both);
        dripping.join().expect("no panic");
    });
    assert!(began.elapsed() > Duration::from_secs(4) && began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    until("it is counted", || node.metric("eyot_failures_total", "request_timeout") == 1.0);
}

/// More than is in all buffers between a client and a guest.
const BODY: usize = 2 << 20;

#[test]
fn a_guest_that_is_slow_to_read_costs_its_client_nothing() {
    let node = node(&format!("request_body_rate = \"{UTMOST}\""));
    let path = "/read-body?waits=14&delay=500";
    let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {BODY}\r\n\r\n");
    let url = format!("http://{}{path}", node.address());
    let (http1, http2) = together(
        || node.raw([head.as_bytes(), &[b'x'; BODY]].concat()),
        || curl(&node, &["--http2-prior-knowledge", "-s", "--data-binary", "@body", &url]),
    );
    assert!(http1.starts_with("HTTP/1.1 200") && http1.contains(&BODY.to_string()), "{http1}");
    assert!(http2.contains(&BODY.to_string()), "{http2}");
}

fn curl(node: &Node, arguments: &[&str]) -> String {
    std::fs::write(node.folder.path().join("body"), vec![b'x'; BODY]).expect("a file");
    let output = std::process::Command::new("curl").args(arguments).current_dir(node.folder.path()).output();
    String::from_utf8_lossy(&output.expect("curl runs").stdout).into_owned()
}

#[test]
fn a_guest_that_is_slow_to_write_costs_its_client_nothing() {
    let node = node(&format!("response_body_rate = \"{UTMOST}\""));
    let path = "/stream?chunks=14&bytes=1000&delay=500";
    let (http1, http2) = together(
        || node.get(path).body.len(),
        || curl(&node, &["--http2-prior-knowledge", "-s", &format!("http://{}{path}", node.address())]).len(),
    );
    assert_eq!((http1, http2), (14_000, 14_000));
}

/// A client whose kernel takes little in advance.
fn narrow(address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(16 << 10).expect("a size");
    socket.connect(&address.into()).expect("the node accepts");
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

/// Takes a body over HTTP/1 in so many bytes a second, until it ends. Says how many came.
fn take_slowly(node: &Node, path: &str, rate: usize) -> usize {
    let mut socket = narrow(node.address());
    socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes()).expect("sent");
    let (mut taken, mut buffer) = (0, vec![0; rate / 20]);
    while let Ok(read @ 1..) = socket.read(&mut buffer) {
        taken += read;
        pause(50);
    }
    let _ = socket.shutdown(Shutdown::Both);
    taken
}

#[test]
pub(crate) fn a_response_taken_at_response_body_rate_is_whole_and_one_taken_more_slowly_is_cut() {
    const MIB: usize = 1 << 20;
    let take = |rate: &str| {
        let node = node(&format!("response_body_rate = \"{rate}\""));
        let taken = take_slowly(&node, "/big-body?mib=16", MIB);
        node.wait_until_idle();
        (taken, node.metric("eyot_connections_cut_total", "reason=\"slow_reader\""))
    };
    let (slower, as_fast) = together(|| take("64MiB"), || take("256KiB"));
    assert!(as_fast.0 > 16 * MIB && as_fast.1 == 0.0, "{as_fast:?}");
    assert!(slower.0 < 16 * MIB && slower.1 == 1.0, "{slower:?}");
}

#[test]
fn a_stream_of_http_2_taken_at_response_body_rate_is_whole_and_one_taken_more_slowly_is_reset() {
    const WHOLE: usize = 128 << 10;
    let take = |rate: &str| {
        let node = node(&format!("response_body_rate = \"{rate}\""));
        let mut socket = node.connect();
        // SETTINGS_INITIAL_WINDOW_SIZE of nothing, and a connection that is no bound.
        let connection = frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 20).to_be_bytes());
        let ask = frames::get(1, &format!("/big-body?bytes={WHOLE}"));
        socket.write_all(&[frames::preface(&[(4, 0)]), connection, ask].concat()).expect("sent");
        let mut taken = 0;
        while taken < WHOLE {
            // Ten thousand bytes a second.
            let window = frame(WINDOW_UPDATE, 0, 1, &1000_u32.to_be_bytes());
            if socket.write_all(&window).is_err() {
                break;
            }
            let want = (taken + 1000).min(WHOLE);
            while taken < want {
                match frames::next(&mut socket) {
                    Some(Received { kind: DATA, payload, .. }) => taken += payload.len(),
                    Some(Received { kind: RST_STREAM, .. }) | None => return taken,
                    Some(_) => {}
                }
            }
            pause(100);
        }
        taken
    };
    let (slower, as_fast) = together(|| take("64KiB"), || take("2KiB"));
    assert_eq!(as_fast, WHOLE);
    assert!(slower < WHOLE && slower > 10_000, "{slower}");
}
