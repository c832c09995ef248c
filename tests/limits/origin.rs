//! The limits of what goes to origins.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::fails;
use crate::harness::{Node, PATIENCE, until};

/// An origin that answers with a head and a piece of its body, and then with nothing until the test ends; it tells of each request.
fn unending_origin() -> (std::net::SocketAddr, std::sync::mpsc::Receiver<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (sender, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for mut socket in listener.incoming().flatten() {
            let _ = socket.read(&mut [0; 4096]);
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n");
            held.push(socket);
            let _ = sender.send(());
        }
    });
    (address, asked)
}

#[test]
pub(crate) fn past_origin_concurrency_and_origin_queue_the_next_request_is_503_at_once_until_a_body_is_over() {
    let (address, asked) = unending_origin();
    let route = "[[route]]\npath = \"/*\"\norigin = \"o\"";
    let limits = "[limits]\norigin_concurrency = 2\norigin_queue = 0";
    let node = Node::start(&format!("[[origin]]\nname = \"o\"\nurl = \"http://{address}\"\n{route}\n{limits}"), &[]);
    let ask = || {
        let mut socket = node.connect();
        socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
        socket
    };
    let held = [ask(), ask()];
    for _ in &held {
        asked.recv_timeout(PATIENCE).expect("both are asked");
    }
    let refused = node.get("/");
    fails(&refused, 503, "overloaded");
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1));
    drop(held);
    until("a request is sent again", || {
        let _socket = ask();
        asked.recv_timeout(Duration::from_millis(100)).is_ok()
    });
}

#[test]
pub(crate) fn a_request_waits_for_an_origin_as_long_as_origin_queue_wait_and_an_origin_may_have_its_own_concurrency() {
    let (address, asked) = unending_origin();
    let origin = format!("[[origin]]\nname = \"o\"\nurl = \"http://{address}\"\nconcurrency = 1");
    let limits = "[limits]\norigin_queue = 5\norigin_queue_wait = \"300ms\"";
    let node = Node::start(&format!("{origin}\n[[route]]\npath = \"/*\"\norigin = \"o\"\n{limits}"), &[]);
    let mut held = node.connect();
    held.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    asked.recv_timeout(PATIENCE).expect("asked");
    let began = Instant::now();
    fails(&node.get("/"), 503, "overloaded");
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
}

#[test]
pub(crate) fn a_request_that_comes_back_more_often_than_loop_hops_is_508() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let relay = listener.local_addr().expect("an address");
    let node = Node::start(
        &format!(
            "[[origin]]\nname = \"o\"\nurl = \"http://{relay}\"\n[[route]]\npath = \"/*\"\norigin = \"o\"\n[limits]\nloop_hops = 3"
        ),
        &[],
    );
    let address = node.address();
    let relayed = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&relayed);
    std::thread::spawn(move || {
        for from in listener.incoming().flatten() {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let to = std::net::TcpStream::connect(address).expect("the node accepts");
            for (mut from, mut to) in [(from.try_clone(), to.try_clone()), (Ok(to), Ok(from))]
                .map(|(from, to)| (from.expect("a socket"), to.expect("a socket")))
            {
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        }
    });
    fails(&node.get("/"), 508, "");
    assert_eq!(relayed.load(std::sync::atomic::Ordering::SeqCst), 3);
    assert_eq!(node.metric("eyot_failures_total", "loop_detected"), 1.0);
}
