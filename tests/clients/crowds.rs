//! Many clients at once, each of which holds a connection and does no more. A hundred of each kind; a thousand with `EYOT_FULL=1`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::harness::{Node, PATIENCE, frames};
use crate::{Arena, is_closed, send};

/// How many.
fn crowd() -> usize {
    if std::env::var_os("EYOT_FULL").is_some() { 1000 } else { 100 }
}

/// So many clients that send this and then wait, and a well-behaved one among them, until the node has ended them all.
fn crowd_that_sends(arena: &Arena, bytes: &[u8]) -> Vec<TcpStream> {
    let mut sockets: Vec<_> = (0..crowd()).map(|_| arena.connect()).collect();
    for socket in &mut sockets {
        // Those that came first may have been closed already.
        let _ = socket.write_all(bytes);
    }
    arena.others_are_served();
    sockets
}

fn are_closed(arena: &Arena, mut sockets: Vec<TcpStream>) {
    for socket in &mut sockets {
        assert!(is_closed(socket));
    }
    drop(sockets);
    arena.is_as_before();
}

#[test]
fn t01_clients_that_send_nothing_are_closed() {
    let arena = Arena::new();
    let sockets = crowd_that_sends(&arena, b"");
    are_closed(&arena, sockets);
}

#[test]
fn t01_clients_that_never_end_their_head_are_closed() {
    let arena = Arena::new();
    let sockets = crowd_that_sends(&arena, b"GET /count HTTP/1.1\r\nhost: a\r\nx-slow: ");
    are_closed(&arena, sockets);
}

#[test]
fn t01_clients_that_stop_in_the_preface_of_http_2_are_closed() {
    let arena = Arena::new();
    let sockets = crowd_that_sends(&arena, b"PRI * HTTP/2.0\r\n\r\nS");
    are_closed(&arena, sockets);
}

#[test]
fn t01_clients_that_begin_http_2_and_ask_nothing_are_closed() {
    let arena = Arena::new();
    let sockets = crowd_that_sends(&arena, &frames::preface(&[]));
    are_closed(&arena, sockets);
}

#[test]
fn t02_clients_that_never_send_their_body_are_answered_and_closed() {
    let arena = Arena::new();
    let sockets = crowd_that_sends(&arena, b"POST /read-body HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nabc");
    are_closed(&arena, sockets);
}

#[test]
fn t03_clients_that_never_read_are_cut_and_their_isolates_freed() {
    let arena = Arena::with("node_memory = \"2GiB\"\nprocess_memory = \"3GiB\"\n");
    let sockets = crowd_that_sends(&arena, b"GET /big-body?mib=64 HTTP/1.1\r\nhost: a\r\n\r\n");
    // Nothing is read: what ends them is the node.
    crate::until("the connections are gone", || arena.node.metric("eyot_connections", "") <= 1.0);
    drop(sockets);
    arena.node.wait_until_idle();
    arena.others_are_served();
}

#[test]
fn t04_clients_that_open_tls_and_stop_are_closed() {
    let arena = Arena::tls();
    // The beginning of a ClientHello's record (RFC 8446 §5.1), and none at all.
    for begun in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b""] {
        let sockets = crowd_that_sends(&arena, begun);
        are_closed(&arena, sockets);
    }
}

#[test]
fn clients_that_come_and_go_leave_nothing() {
    let arena = Arena::new();
    for _ in 0..crowd() {
        drop(arena.connect());
        let mut socket = arena.connect();
        let _ = socket.write_all(b"GET /sleep?ms=60000 HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    arena.is_as_before();
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", arena.node.id())).expect("descriptors").count();
    crate::until("their descriptors are closed", || descriptors() < 100);
}

#[test]
fn clients_that_ask_ten_thousand_times_and_never_read_hold_no_more_than_a_connection() {
    let arena = Arena::new();
    let mut socket = arena.connect();
    send(&mut socket, (0..10_000).map(|_| b"GET /count HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()));
    arena.others_are_served();
    crate::until("it is cut", || arena.node.metric("eyot_connections", "") <= 1.0);
    arena.is_as_before();
}

/// A connection from another address of this machine.
fn connect_from(arena: &Arena, from: [u8; 4]) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((from, 0)).into()).expect("the whole of 127.0.0.0/8 is ours");
    socket.connect(&arena.node.address().into()).expect("the node accepts");
    socket.into()
}

/// Whether a request over it is answered.
fn is_served(mut socket: &TcpStream) -> bool {
    // Closed already, it may refuse the request, too.
    let _ = socket.write_all(b"GET /count HTTP/1.1\r\nhost: a\r\n\r\n");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.read(&mut [0; 512]).is_ok_and(|read| read > 0)
}

#[test]
fn an_address_that_opens_all_it_may_takes_nothing_from_another() {
    let arena = Arena::with("connections = 1000\nconnections_per_address = 50\n");
    let from = [127, 0, 0, 2];
    let greedy: Vec<_> = (0..200).map(|_| connect_from(&arena, from)).collect();
    let refused = || arena.node.metric("eyot_connections_cut_total", "reason=\"address\"");
    crate::until("the others are closed", || refused() == 150.0);
    arena.others_are_served();
    assert!(is_served(&connect_from(&arena, [127, 0, 0, 3])));
    drop(greedy);
    crate::until("there is room again", || is_served(&connect_from(&arena, from)));
    arena.is_as_before();
}

#[test]
fn a_trusted_proxy_may_have_as_many_connections_as_it_likes() {
    let node = Node::start(
        "trusted_proxies = [\"127.0.0.1\"]\n[limits]\nconnections_per_address = 2\n[[route]]\nrespond = { body = \"ok\" }",
        &[],
    );
    let sockets: Vec<_> = (0..10).map(|_| node.connect()).collect();
    assert!(sockets.iter().all(is_served));
    assert_eq!(node.metric("eyot_connections_cut_total", "reason=\"address\""), 0.0);
}
