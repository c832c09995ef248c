//! The hostile clients: connections that are opened, do harm, and are opened anew when the node has ended them.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use socket2::SockRef;

/// What some clients do.
pub struct Client {
    pub name: &'static str,
    /// How many do it at once.
    many: usize,
    /// To the listener with TLS.
    tls: bool,
    /// Sent when the connection is open.
    first: Vec<u8>,
    /// Sent at each turn after that.
    again: &'static [u8],
    reads: bool,
    /// After so long a connection is reset, and the next one opened.
    lasts: Duration,
}

/// How often each connection has its turn.
const TURN: Duration = Duration::from_millis(100);

const FOR_EVER: Duration = Duration::MAX;

/// A record of TLS that holds the beginning of a ClientHello (RFC 8446 §4.1.2), and no more.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hello";

pub fn clients() -> Vec<Client> {
    let client = |name, many, first: &[u8]| Client {
        name,
        many,
        tls: false,
        first: first.to_vec(),
        again: b"",
        reads: true,
        lasts: FOR_EVER,
    };
    let at_once = Duration::ZERO;
    vec![
        Client { again: b"a", ..client("never ends its head", 50, b"GET / HTTP/1.1\r\nhost: neighbour.test\r\nx: ") },
        client("says nothing", 50, b""),
        Client { tls: true, ..client("stops in its handshake", 50, HALF_A_HELLO) },
        Client {
            again: b"x",
            ..client(
                "never ends its body",
                20,
                b"POST /read-body HTTP/1.1\r\nhost: unread.test\r\ncontent-length: 1000000\r\n\r\n",
            )
        },
        Client {
            reads: false,
            lasts: Duration::from_secs(5),
            ..client("never reads", 50, b"GET /big-body?mib=1024 HTTP/1.1\r\nhost: unread.test\r\n\r\n")
        },
        Client {
            lasts: at_once,
            ..client("resets at once", 20, b"GET /sleep?ms=60000 HTTP/1.1\r\nhost: unread.test\r\n\r\n")
        },
        Client { lasts: at_once, ..client("is no HTTP", 5, b"\0\x01\x02 \xff\xfe\r\n\r\n") },
        Client {
            lasts: at_once,
            ..client(
                "smuggles",
                5,
                b"POST / HTTP/1.1\r\nhost: neighbour.test\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            )
        },
        Client { lasts: Duration::from_secs(1), ..client("resets its streams", 5, &rapid_resets(500)) },
    ]
}

/// HTTP/2 streams that are opened and reset in one go (CVE-2023-44487).
fn rapid_resets(streams: u32) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
        bytes.extend_from_slice(&length[1..]);
        bytes.extend_from_slice(&[kind, flags]);
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(payload);
    };
    // SETTINGS, as a preface needs it (RFC 9113 §3.4).
    frame(4, 0, 0, b"");
    // GET http, from the static table, and a literal :authority and :path (RFC 7541 §6.2.2).
    let fields = [b"\x82\x86\x01\x0bunread.test".as_slice(), b"\x04\x0f/sleep?ms=60000"].concat();
    for number in 0..streams {
        let stream = 2 * number + 1;
        // HEADERS with END_STREAM and END_HEADERS, then RST_STREAM with CANCEL.
        frame(1, 0x5, stream, &fields);
        frame(3, 0, stream, &8_u32.to_be_bytes());
    }
    bytes
}

/// What came of one kind of client.
pub struct Tally {
    pub opened: u64,
    /// By the node, before the client did.
    pub ended: u64,
}

/// Attacks until the channel is closed.
pub fn attack(clients: &[Client], plain: SocketAddr, tls: SocketAddr, stop: Receiver<()>) -> Vec<Tally> {
    // What this thread does is not to delay the load generator, whose core it shares.
    rustix::process::setpriority_process(None, 10).expect("a thread may be nicer");
    let mut tallies: Vec<_> = clients.iter().map(|_| Tally { opened: 0, ended: 0 }).collect();
    let mut open: Vec<Vec<Option<(TcpStream, Instant)>>> =
        clients.iter().map(|client| (0..client.many).map(|_| None).collect()).collect();
    while stop.recv_timeout(TURN) == Err(RecvTimeoutError::Timeout) {
        for ((client, tally), slots) in clients.iter().zip(&mut tallies).zip(&mut open) {
            for slot in slots {
                if slot.as_mut().is_some_and(|(socket, _)| client.turn(socket).is_err()) {
                    tally.ended += 1;
                    *slot = None;
                }
                if slot.as_ref().is_some_and(|(_, opened)| opened.elapsed() >= client.lasts) {
                    *slot = None;
                }
                // Where the node takes no more, the next turn comes soon enough.
                if slot.is_none() {
                    *slot = client.open(if client.tls { tls } else { plain }).ok().map(|open| (open, Instant::now()));
                    tally.opened += u64::from(slot.is_some());
                }
            }
        }
    }
    tallies
}

impl Client {
    fn open(&self, address: SocketAddr) -> std::io::Result<TcpStream> {
        let mut socket = TcpStream::connect(address)?;
        // It goes with a reset, and what is not read stays with the node.
        let options = SockRef::from(&socket);
        options.set_linger(Some(Duration::ZERO))?;
        options.set_recv_buffer_size(4096)?;
        socket.set_nonblocking(true)?;
        socket.write_all(&self.first)?;
        Ok(socket)
    }

    /// An error when the node has ended the connection.
    fn turn(&self, socket: &mut TcpStream) -> std::io::Result<()> {
        let waits = |error: std::io::Error| if error.kind() == ErrorKind::WouldBlock { Ok(()) } else { Err(error) };
        // One byte at most, which is sent or not.
        socket.write_all(self.again).or_else(waits)?;
        let mut buffer = [0; 4096];
        match self.reads.then(|| socket.read(&mut buffer)) {
            Some(Ok(0)) => Err(ErrorKind::UnexpectedEof.into()),
            Some(Err(error)) => waits(error),
            Some(Ok(_)) | None => Ok(()),
        }
    }
}
