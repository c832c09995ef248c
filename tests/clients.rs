//! Hostile clients: whatever they send, however slowly, and however many of them, they get no more than their share, the node gives
//! back all that they held, and a well-behaved client is served meanwhile. Names begin with the identifier of the attack where there is
//! one. What a request may look like is in `http1.rs` and `protocol.rs`.

mod harness;

#[path = "clients/crowds.rs"]
mod crowds;
#[path = "clients/floods.rs"]
mod floods;
#[path = "clients/frames.rs"]
mod frames;
#[path = "clients/good.rs"]
mod good;
#[path = "clients/slow.rs"]
mod slow;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use harness::{Answer, Node, PATIENCE, fixtures, until};

/// What is bounded by half a second or a second has ended within this.
const SOON: Duration = Duration::from_secs(10);

/// How much the node may have grown when an attack is over: the places of 200 isolates and their stacks keep up to 20 MiB, and the
/// allocator as much again of what hundreds of connections have had.
const GROWTH: u64 = 96 << 20;

/// A node whose patience with clients is short, and one client that asks as it should.
struct Arena {
    node: Node,
    resident: u64,
}

impl Arena {
    fn new() -> Self {
        Self::with("")
    }

    /// With more of node.toml.
    fn with(more: &str) -> Self {
        // A build without optimization takes a millisecond for each byte that comes alone: what is tried here is other limits than
        // that of CPU time.
        let manifest = fixtures::manifest(
            "[[route]]\npath = \"/*\"\n[limits]\nstream_idle = \"10m\"\nwait_until = \"100ms\"\ncpu_time = \"5s\"",
        );
        let limits = "[limits]\nheader_timeout = \"500ms\"\nhandshake_timeout = \"500ms\"\nkeepalive_idle = \"1s\"\n\
                      request_body_idle = \"500ms\"\nwrite_idle = \"1s\"\n";
        let node = Node::start(
            &format!("{limits}{more}\n[[worker]]\npath = \"fixture\"\n[[worker]]\npath = \"neighbour\"\n"),
            &[("fixture/eyot.toml", &manifest), ("neighbour/eyot.toml", &neighbour())],
        );
        assert_eq!(node.get("/count").status, 200);
        let resident = node.resident();
        Self { node, resident }
    }

    /// The same, over TLS, with a listener for those who behave.
    fn tls() -> Self {
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let node = Node::start_exactly(
            "[limits]\nheader_timeout = \"500ms\"\nhandshake_timeout = \"500ms\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
             tls = { certificate = \"chain.pem\", key = \"key.pem\" }\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [admin]\naddress = \"127.0.0.1:0\"\n[[worker]]\npath = \"fixture\"\n[[worker]]\npath = \"neighbour\"",
            &[
                ("chain.pem", &certificate.cert.pem()),
                ("key.pem", &certificate.signing_key.serialize_pem()),
                ("fixture/eyot.toml", &fixtures::manifest("[[route]]\npath = \"/*\"")),
                ("neighbour/eyot.toml", &neighbour()),
            ],
        );
        let resident = node.resident();
        Self { node, resident }
    }

    fn connect(&self) -> TcpStream {
        let socket = self.node.connect();
        // A node that takes no more from a flood is not to be waited for.
        socket.set_write_timeout(Some(Duration::from_secs(1))).expect("a timeout");
        socket
    }

    /// The well-behaved client, which asks another worker: its answers come, and soon.
    fn others_are_served(&self) {
        let address = self.node.addresses.last().expect("an address");
        for _ in 0..5 {
            let began = Instant::now();
            let request = harness::client().get(format!("http://{address}/")).header("host", "neighbour.test");
            let answer = Answer::of(request);
            assert_eq!(answer.status, 200);
            assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        }
    }

    /// Everything is given back: connections, isolates, memory.
    fn is_as_before(&self) {
        // One is the well-behaved client's own.
        until("the connections are gone", || self.node.metric("eyot_connections", "") <= 1.0);
        self.node.wait_until_idle();
        self.others_are_served();
        self.has_not_grown();
    }

    fn has_not_grown(&self) {
        let grown = self.node.resident().saturating_sub(self.resident);
        assert!(grown < GROWTH, "{} MiB more than before", grown >> 20);
    }

    /// The reason for which the node cut one of its connections, if it did.
    fn why_cut(&self) -> &'static str {
        let reasons = ["glitches", "resets", "slow_reader", "not_reading"];
        let cut = |reason: &&str| self.node.metric("eyot_connections_cut_total", &format!("reason=\"{reason}\"")) > 0.0;
        reasons.into_iter().find(cut).unwrap_or("none of ours")
    }
}

/// The worker of the well-behaved client.
fn neighbour() -> String {
    fixtures::worker("neighbour", &fixtures::hello(), "[[route]]\nhost = \"neighbour.test\"\npath = \"/*\"")
}

/// Sends until it is all sent or the other side takes no more. Says how much went.
fn send(socket: &mut TcpStream, pieces: impl IntoIterator<Item = Vec<u8>>) -> usize {
    let mut sent = 0;
    for piece in pieces {
        if socket.write_all(&piece).is_err() {
            break;
        }
        sent += piece.len();
    }
    sent
}

/// Whether the node closes its side within [`PATIENCE`]; what it says before is read.
fn is_closed(socket: &mut TcpStream) -> bool {
    let mut buffer = [0; 16 << 10];
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        match socket.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                use std::io::ErrorKind::{TimedOut, WouldBlock};
                return !matches!(error.kind(), TimedOut | WouldBlock);
            }
        }
    }
    false
}
