//! A load generator: one thread on a core of its own, raw keep-alive connections, latencies counted from the time at which a
//! request was due. A generator that waits for its last answer before it sends the next request does not see a stall that it
//! waited through (coordinated omission); this one does. While it is itself kept from its core nothing is due: that is no stall of
//! the node's. How long that was is told.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::PATIENCE;

/// Requests of one kind, over connections of their own.
pub struct Stream<'a> {
    pub host: &'a str,
    pub path: &'a str,
    pub connections: usize,
    pub pace: Pace,
    /// Every answer must have one of these: a status and a failure's code.
    pub expect: &'a [(u16, &'a str)],
}

/// An answer after which a connection is not used again.
enum Answer {
    /// It broke off, as expected.
    Cut,
    Wrong(String),
}

/// When a request is sent.
#[derive(Clone, Copy)]
pub enum Pace {
    /// When the connection has its last answer.
    Closed,
    /// At fixed times, whatever has been answered; so many in a second.
    Open(f64),
}

/// What stands for an answer that breaks off, where one is expected to.
pub const CUT: (u16, &str) = (0, "cut");

/// What came of a stream.
pub struct Outcome {
    /// In microseconds.
    pub latency: Histogram<u64>,
    /// What was answered in another way than expected, or not at all.
    pub failures: Vec<String>,
    /// How long requests were sent.
    pub lasted: Duration,
    /// For how much longer the generator was kept from its core.
    pub paused: Duration,
}

impl Outcome {
    pub fn answered(&self) -> u64 {
        self.latency.len()
    }

    pub fn rate(&self) -> f64 {
        self.answered() as f64 / self.lasted.as_secs_f64()
    }

    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.latency.value_at_quantile(quantile))
    }

    pub fn max(&self) -> Duration {
        Duration::from_micros(self.latency.max())
    }
}

/// Opens all connections, sends all streams at once for so long, then waits for what is still to be answered.
pub fn run(address: SocketAddr, streams: &[Stream<'_>], duration: Duration) -> Vec<Outcome> {
    let mut sockets = Sockets::new();
    let open = |(number, stream)| Running::open(address, number, stream, &sockets);
    let mut running: Vec<_> = streams.iter().enumerate().map(open).collect();
    // Accepted in the order in which they came: when this one is answered, the node has them all.
    let mut last = TcpStream::connect(address).expect("the node accepts");
    last.write_all(b"GET / HTTP/1.1\r\nhost: nobody.test\r\nconnection: close\r\n\r\n").expect("it reads");
    last.read_to_end(&mut Vec::new()).expect("it answers");
    // Later by each pause: what is due is counted from here.
    let (mut began, mut seen, mut paused) = (Instant::now(), Instant::now(), Duration::ZERO);
    let mut over = false;
    loop {
        let now = Instant::now();
        let pause = now - std::mem::replace(&mut seen, now);
        if pause > PAUSE {
            began += pause;
            paused += pause;
        }
        let end = began + duration;
        over |= now >= end;
        for stream in &mut running {
            stream.send(now, began, over, &sockets);
        }
        if over && running.iter().all(Running::is_done) {
            break;
        }
        let waiting = || running.iter().filter(|stream| !stream.is_done()).map(|stream| stream.stream.host);
        assert!(now < end + PATIENCE, "not answered in time: {:?}", waiting().collect::<Vec<_>>());
        let ready: Vec<_> = sockets.ready().collect();
        for (number, index) in ready {
            running[number].read(index, &sockets);
        }
    }
    running.into_iter().map(|stream| stream.outcome(duration, paused)).collect()
}

/// It reads and sends for as long at most, and never waits: for longer it was not running.
const PAUSE: Duration = Duration::from_millis(2);

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// The sockets of all streams.
struct Sockets {
    epoll: OwnedFd,
    ready: Vec<epoll::Event>,
}

impl Sockets {
    /// As many as one wait tells of; what is left is told by the next.
    const READY: usize = 256;

    fn new() -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("sockets can be polled");
        Self { epoll, ready: Vec::with_capacity(Self::READY) }
    }

    /// From now on it is told when there is something new to read. A socket that is closed is forgotten by itself.
    fn add(&self, socket: &TcpStream, stream: usize, index: usize) {
        let place = epoll::EventData::new_u64((stream as u64) << 32 | index as u64);
        epoll::add(&self.epoll, socket, place, epoll::EventFlags::IN | epoll::EventFlags::ET).expect("a new socket");
    }

    /// Those that have something to read: their streams and places. It does not wait: the core is the generator's own, and a core
    /// that sleeps has to be woken by the node, which on a virtual machine costs it as much as the request.
    fn ready(&mut self) -> impl Iterator<Item = (usize, usize)> {
        self.ready.clear();
        epoll::wait(&self.epoll, spare_capacity(&mut self.ready), Some(&NOW)).expect("sockets can be polled");
        self.ready.iter().map(|event| event.data.u64()).map(|place| ((place >> 32) as usize, place as u32 as usize))
    }
}

/// A stream in progress.
struct Running<'a> {
    stream: &'a Stream<'a>,
    number: usize,
    address: SocketAddr,
    request: String,
    connections: Vec<Connection>,
    /// The times of requests that were due when no connection was free.
    late: VecDeque<Instant>,
    sent: u32,
    /// The connection whose turn it is: each is used as often as any other, so that none is idle for so long that the node closes it.
    turn: usize,
    latency: Histogram<u64>,
    failures: Vec<String>,
}

struct Connection {
    socket: TcpStream,
    /// When the request that it is waiting for was due.
    due: Option<Instant>,
    answer: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr, stream: usize, index: usize, sockets: &Sockets) -> Self {
        let socket = TcpStream::connect(address).expect("the node accepts");
        socket.set_nodelay(true).expect("an option");
        socket.set_nonblocking(true).expect("an option");
        sockets.add(&socket, stream, index);
        Self { socket, due: None, answer: Vec::new() }
    }
}

impl<'a> Running<'a> {
    fn open(address: SocketAddr, number: usize, stream: &'a Stream<'a>, sockets: &Sockets) -> Self {
        let open = |index| Connection::open(address, number, index, sockets);
        Self {
            stream,
            number,
            address,
            request: format!("GET {} HTTP/1.1\r\nhost: {}\r\n\r\n", stream.path, stream.host),
            connections: (0..stream.connections).map(open).collect(),
            late: VecDeque::new(),
            sent: 0,
            turn: 0,
            latency: Histogram::new(3).expect("three digits"),
            failures: Vec::new(),
        }
    }

    /// Sends what is due.
    fn send(&mut self, now: Instant, began: Instant, over: bool, sockets: &Sockets) {
        match self.stream.pace {
            Pace::Closed if !over => {
                let free = self.connections.iter().filter(|connection| connection.due.is_none()).count();
                self.late.extend(std::iter::repeat_n(now, free));
            }
            Pace::Open(rate) if !over => loop {
                let due = began + Duration::from_secs_f64(f64::from(self.sent) / rate);
                if due > now {
                    break;
                }
                self.sent += 1;
                self.late.push_back(due);
            },
            Pace::Closed | Pace::Open(_) => {}
        }
        let mut sent = 0;
        let places = (self.turn..self.connections.len()).chain(0..self.turn);
        for index in places {
            if self.late.is_empty() {
                break;
            }
            let connection = &mut self.connections[index];
            if connection.due.is_some() {
                continue;
            }
            sent += 1;
            let due = self.late.pop_front();
            match connection.socket.write(self.request.as_bytes()) {
                Ok(written) if written == self.request.len() => connection.due = due,
                other => {
                    self.failures.push(format!("cannot send: {other:?}"));
                    self.reopen(index, sockets);
                }
            }
        }
        self.turn = (self.turn + sent) % self.connections.len();
    }

    fn reopen(&mut self, index: usize, sockets: &Sockets) {
        self.connections[index] = Connection::open(self.address, self.number, index, sockets);
    }

    /// Reads all that there is. What comes to a connection that waits for nothing is found when it is used next.
    fn read(&mut self, index: usize, sockets: &Sockets) {
        while let Some(due) = self.connections[index].due {
            let Some(answer) = self.answer(index) else { return };
            let connection = &mut self.connections[index];
            connection.due = None;
            connection.answer.clear();
            if let Ok(()) | Err(Answer::Cut) = answer {
                self.latency.record(due.elapsed().as_micros() as u64).expect("no upper bound");
            }
            if let Err(answer) = answer {
                self.failures.extend(match answer {
                    Answer::Cut => None,
                    Answer::Wrong(why) => Some(why),
                });
                self.reopen(index, sockets);
            }
        }
    }

    /// `None`: it is not there yet.
    fn answer(&mut self, index: usize) -> Option<Result<(), Answer>> {
        let connection = &mut self.connections[index];
        let mut buffer = [0; 4096];
        loop {
            let read = connection.socket.read(&mut buffer);
            let is_cut = match &read {
                Ok(read) => *read == 0,
                Err(error) => error.kind() == ErrorKind::ConnectionReset,
            };
            if is_cut && self.stream.expect.contains(&CUT) {
                return Some(Err(Answer::Cut));
            }
            let wrong = |why| Some(Err(Answer::Wrong(why)));
            match read {
                Ok(0) => return wrong("closed before the answer".to_owned()),
                Ok(read) => connection.answer.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => return wrong(format!("cannot read: {error}")),
            }
            let Some((status, code, body)) = parsed(&connection.answer) else { continue };
            if self.stream.expect.contains(&(status, &code)) {
                return Some(Ok(()));
            }
            return wrong(format!("{status} {code}: {}", String::from_utf8_lossy(body).trim_end()));
        }
    }

    fn is_done(&self) -> bool {
        self.late.is_empty() && self.connections.iter().all(|connection| connection.due.is_none())
    }

    fn outcome(self, lasted: Duration, paused: Duration) -> Outcome {
        Outcome { latency: self.latency, failures: self.failures, lasted, paused }
    }
}

/// The status, the failure's code, and the body of a whole answer.
fn parsed(bytes: &[u8]) -> Option<(u16, String, &[u8])> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&bytes[..head]).expect("a head is text");
    let (mut length, mut code, mut is_chunked) = (None, "", false);
    for (name, value) in text.lines().filter_map(|line| line.split_once(": ")) {
        match name {
            "content-length" => length = value.parse::<usize>().ok(),
            "transfer-encoding" => is_chunked = true,
            "eyot-error" => code = value,
            _ => {}
        }
    }
    let status = text.get(9..12).and_then(|status| status.parse().ok()).expect("a status line");
    let body = &bytes[head + 4..];
    let is_whole = match length {
        _ if is_chunked => body == b"0\r\n\r\n" || body.ends_with(b"\r\n0\r\n\r\n"),
        Some(length) => body.len() >= length,
        None => panic!("an answer without a length:\n{text}"),
    };
    is_whole.then(|| (status, code.to_owned(), body))
}
