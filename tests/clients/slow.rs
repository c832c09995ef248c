//! Clients that send or take a little at a time, so that each single wait is short.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::harness::{frames, until};
use crate::{Arena, SOON, is_closed, send};

/// Sends a byte every 50 ms until the node has had enough. Says for how long it took them.
fn drip(arena: &Arena, begun: &[u8], byte: u8) -> Duration {
    let mut socket = arena.connect();
    socket.write_all(begun).expect("sent");
    let began = Instant::now();
    while socket.write_all(&[byte]).is_ok() && began.elapsed() < SOON {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    began.elapsed()
}

#[test]
fn a_head_that_comes_a_byte_at_a_time_is_closed_by_header_timeout() {
    let arena = Arena::new();
    assert!(drip(&arena, b"GET /count HTTP/1.1\r\nhost: a\r\nx-slow: ", b'x') < SOON);
    arena.is_as_before();
}

#[test]
fn a_preface_of_http_2_that_comes_a_byte_at_a_time_is_closed_by_header_timeout() {
    let arena = Arena::new();
    let mut socket = arena.connect();
    let began = Instant::now();
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        if socket.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    assert!(is_closed(&mut socket) && began.elapsed() < SOON);
    arena.is_as_before();
}

#[test]
fn a_client_hello_that_comes_a_byte_at_a_time_is_closed_by_handshake_timeout() {
    let arena = Arena::tls();
    assert!(drip(&arena, b"\x16\x03\x01\x40\x00", b'x') < SOON);
    arena.is_as_before();
}

#[test]
fn a_body_that_comes_a_byte_at_a_time_is_ended_by_request_body_rate() {
    // As it is by default; request_body_idle is never met.
    let arena = Arena::new();
    let head = b"POST /read-body HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n";
    assert!(drip(&arena, head, b'x') < SOON);
    assert_eq!(arena.node.metric("eyot_failures_total", "request_timeout"), 1.0, "{}", arena.node.metrics());
    arena.is_as_before();
}

#[test]
fn a_chunked_body_that_comes_a_byte_at_a_time_is_ended_by_request_body_rate() {
    let arena = Arena::new();
    let mut socket = arena.connect();
    socket.write_all(b"POST /read-body HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").expect("sent");
    let began = Instant::now();
    while socket.write_all(b"1\r\nx\r\n").is_ok() && began.elapsed() < SOON {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert!(began.elapsed() < SOON);
    assert_eq!(arena.node.metric("eyot_failures_total", "request_timeout"), 1.0, "{}", arena.node.metrics());
    drop(socket);
    arena.is_as_before();
}

#[test]
fn a_body_of_http_2_that_comes_a_byte_at_a_time_is_ended_by_request_body_rate() {
    let arena = Arena::new();
    let mut socket = arena.connect();
    let post = frames::frame(frames::HEADERS, frames::END_HEADERS, 1, &frames::request("POST", "/read-body"));
    socket.write_all(&[frames::preface(&[]), post].concat()).expect("sent");
    let (began, timeouts) = (Instant::now(), || arena.node.metric("eyot_failures_total", "request_timeout"));
    while timeouts() == 0.0 && began.elapsed() < SOON {
        socket.write_all(&frames::frame(frames::DATA, 0, 1, b"x")).expect("sent");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert_eq!(timeouts(), 1.0);
    drop(socket);
    arena.is_as_before();
}

#[test]
fn a_chunked_body_of_which_only_extensions_come_ends() {
    let arena = Arena::new();
    let mut socket = arena.connect();
    let head = b"POST /read-body HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1;x=".to_vec();
    // RFC 9112 §7.1.1: a recipient limits the total length of chunk extensions.
    let sent = send(&mut socket, std::iter::once(head).chain((0..1000).map(|_| vec![b'x'; 4 << 10])));
    assert!(is_closed(&mut socket), "{sent} bytes went");
    arena.is_as_before();
}

#[test]
fn trailers_without_end_end() {
    let arena = Arena::new();
    let mut socket = arena.connect();
    let head = b"POST /read-body HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n".to_vec();
    let trailers = (0..100_000).map(|number| format!("x-{number}: y\r\n").into_bytes());
    send(&mut socket, std::iter::once(head).chain(trailers));
    assert!(is_closed(&mut socket));
    arena.is_as_before();
}

#[test]
fn cve_2019_9511_a_stream_whose_window_opens_a_byte_at_a_time_ends_by_write_idle() {
    let arena = Arena::new();
    let mut socket = arena.connect();
    // SETTINGS_INITIAL_WINDOW_SIZE of nothing.
    socket.write_all(&frames::preface(&[(4, 0)])).expect("sent");
    socket.write_all(&frames::get(1, "/big-body?mib=8")).expect("sent");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    crate::until("it runs", || arena.node.metric("eyot_isolates_in_use", "") == 1.0);
    let began = Instant::now();
    let is_at_work = || arena.node.metric("eyot_isolates_in_use", "") > 0.0;
    while is_at_work() && began.elapsed() < SOON {
        let _ = socket.write_all(&frames::frame(frames::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]));
        let _ = socket.read(&mut [0; 4096]);
    }
    assert!(began.elapsed() < SOON, "its isolate is free");
    drop(socket);
    arena.is_as_before();
}

#[test]
fn cve_2019_9517_many_streams_with_open_windows_on_a_socket_that_nobody_reads_are_cut() {
    let arena = Arena::new();
    let mut socket = arena.connect();
    let most = 0x7fff_ffff;
    let window = frames::frame(frames::WINDOW_UPDATE, 0, 0, &(most - 65_535_u32).to_be_bytes());
    let streams = (0..50).map(|stream| frames::get(2 * stream + 1, "/big-body?mib=64"));
    send(&mut socket, [frames::preface(&[(4, most)]), window].into_iter().chain(streams));
    crate::until("they run", || arena.node.metric("eyot_isolates_in_use", "") >= 1.0);
    arena.others_are_served();
    crate::until("it is cut", || arena.node.metric("eyot_connections", "") <= 1.0);
    arena.node.wait_until_idle();
    arena.others_are_served();
}

/// What the kernel holds of a connection of ours to this node that the other side has not taken (proc_net_tcp(5): `tx_queue`).
fn untaken(client: std::net::SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("a table of connections");
    let port = format!(":{:04X}", client.port());
    let mut lines = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let line = lines.find(|fields| fields.get(2).is_some_and(|remote| remote.ends_with(&port)));
    let queue = line.and_then(|fields| fields.get(4)?.split(':').next().map(str::to_owned)).expect("the connection");
    usize::from_str_radix(&queue, 16).expect("a number of bytes")
}

#[test]
fn a_client_that_does_not_read_has_half_a_mebibyte_in_the_kernel_at_most() {
    let arena = Arena::new();
    let mut socket = arena.connect();
    socket.write_all(b"GET /big-body?mib=64 HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    let client = socket.local_addr().expect("an address");
    let mut before = 0;
    // It is full when it grows no more.
    until("it is full", || {
        let now = untaken(client);
        now > 0 && std::mem::replace(&mut before, now) == now
    });
    let held = untaken(client);
    assert!((64 << 10..=512 << 10).contains(&held), "{held} bytes");
    drop(socket);
    arena.is_as_before();
}
