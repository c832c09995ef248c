//! The SDK's streams under slow peers: a worker that waits for the other side uses no CPU time.

mod harness;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use harness::{Node, eyot, root};

/// More than all sockets and buffers between two ends hold.
const LARGE: usize = 20_000_000;

/// What the worker has for the whole of a body, in a debug build on a slow machine.
const CPU_TIME: Duration = Duration::from_millis(1500);

/// How long somebody stands still: three times as long.
const STILL: Duration = Duration::from_millis(4500);

/// The example origin-proxy, built by `eyot build`.
fn proxy() -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let output = eyot().args(["build", "examples/origin-proxy"]).current_dir(root()).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    });
    root().join("examples/target/wasm32-wasip2/release/origin_proxy.wasm")
}

/// An origin that reads a request's head, then waits to be told, then reads the body and answers with `answer` bytes.
struct Origin {
    address: SocketAddr,
    go: Sender<()>,
}

impl Origin {
    fn start(answer: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (go, told) = channel();
        std::thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                // The node that is killed at the end of a test cuts it off.
                let _ = Self::answer(socket, &told, answer);
            }
        });
        Self { address, go }
    }

    fn answer(mut socket: TcpStream, told: &Receiver<()>, answer: usize) -> std::io::Result<()> {
        let (head, rest) = read_head(&mut socket)?;
        let _ = told.recv();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length - rest.len()];
        socket.read_exact(&mut body)?;
        write!(socket, "HTTP/1.1 200 OK\r\ncontent-length: {answer}\r\nconnection: close\r\n\r\n")?;
        socket.write_all(&vec![b'x'; answer])
    }

    /// A node with the proxy before this origin.
    fn proxied(&self) -> Node {
        let configuration = format!(
            "[[worker]]\npath = \"proxy\"\n[[origin]]\nname = \"api\"\nurl = \"http://{}\"\n\
             [[route]]\nhost = \"other.test\"\nrespond = {{ body = \"here\" }}\n",
            self.address
        );
        let limits = format!(
            "origins = [\"api\"]\n[limits]\ncpu_time = \"{}ms\"\nrequest_body = \"64MiB\"\n[[route]]\npath = \"/*\"\n",
            CPU_TIME.as_millis()
        );
        let manifest = harness::fixtures::worker("proxy", &proxy(), &limits);
        Node::start(&configuration, &[("proxy/eyot.toml", &manifest)])
    }
}

/// The head in lower case, and what came with it.
fn read_head(socket: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let rest = read.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&read).to_lowercase(), rest));
        }
        match socket.read(&mut piece)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            length => read.extend_from_slice(&piece[..length]),
        }
    }
}

/// Somebody stands still; the node is used by others meanwhile.
fn others_are_served(node: &Node) {
    let began = Instant::now();
    while began.elapsed() < STILL {
        assert_eq!(node.get_from("other.test", "/").body, "here");
    }
}

#[test]
fn a_proxy_whose_client_stops_reading_waits_without_cpu_time_and_sends_the_rest() {
    let origin = Origin::start(LARGE);
    let node = origin.proxied();
    let mut client = node.connect();
    client.write_all(b"GET /big HTTP/1.1\r\nhost: p.test\r\nconnection: close\r\n\r\n").expect("it reads");
    origin.go.send(()).expect("it waits");
    let (head, mut body) = read_head(&mut client).expect("a head");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    others_are_served(&node);
    client.read_to_end(&mut body).expect("the rest");
    assert_eq!(body.len(), LARGE, "{}", node.log());
}

#[test]
fn a_proxy_whose_origin_stops_reading_waits_without_cpu_time_and_sends_the_rest() {
    for (length, expect) in [(LARGE, ""), (3_000_000, "expect: 100-continue\r\n")] {
        let origin = Origin::start(2);
        let node = origin.proxied();
        let mut client = node.connect();
        write!(
            client,
            "POST / HTTP/1.1\r\nhost: p.test\r\n{expect}content-length: {length}\r\nconnection: close\r\n\r\n"
        )
        .expect("it reads");
        if !expect.is_empty() {
            let (head, _) = read_head(&mut client).expect("a head");
            assert!(head.starts_with("http/1.1 100"), "{head}");
        }
        let mut upload = client.try_clone().expect("a socket");
        std::thread::scope(|scope| {
            scope.spawn(move || upload.write_all(&vec![b'x'; length]).expect("all of it is taken"));
            others_are_served(&node);
            origin.go.send(()).expect("it waits");
        });
        let (head, mut body) = read_head(&mut client).expect("a head");
        assert!(head.starts_with("http/1.1 200"), "{head}\n{}", node.log());
        client.read_to_end(&mut body).expect("the rest");
        assert_eq!(body, b"xx");
    }
}

#[test]
fn a_proxy_whose_client_stops_sending_waits_without_cpu_time_and_takes_the_rest() {
    let origin = Origin::start(2);
    let node = origin.proxied();
    let mut client = node.connect();
    let length = 3_000_000;
    write!(client, "POST / HTTP/1.1\r\nhost: p.test\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n")
        .expect("it reads");
    origin.go.send(()).expect("it waits");
    client.write_all(&vec![b'x'; length / 2]).expect("it reads");
    others_are_served(&node);
    client.write_all(&vec![b'x'; length / 2]).expect("it reads");
    let (head, _) = read_head(&mut client).expect("a head");
    assert!(head.starts_with("http/1.1 200"), "{head}\n{}", node.log());
}
