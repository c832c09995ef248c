//! Claims about listeners and connections, with real sockets on port 0.

mod accept;
mod drain;
mod h1;
mod h2;
mod part;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

use super::*;
use crate::config::{LimitTable, NodeLimits};
use crate::http::BodyError;

/// Time-outs that a test can wait for, each of its own length.
pub(crate) fn limits() -> NodeLimits {
    NodeLimits {
        node_concurrency: 10,
        node_queue: 10,
        node_queue_wait: Duration::from_secs(1),
        node_memory: 1 << 20,
        process_memory: 1 << 40,
        component_size: 1 << 20,
        compile_memory: 1 << 30,
        compile_cpu: Duration::from_secs(60),
        compile_time: Duration::from_secs(60),
        connections: 100,
        connections_per_address: 1 << 20,
        uri: 4096,
        header_bytes: 8192,
        header_count: 100,
        header_timeout: Duration::from_millis(200),
        handshake_timeout: Duration::from_millis(300),
        keepalive_idle: Duration::from_millis(500),
        request_body_idle: Duration::from_secs(5),
        request_body_rate: 0,
        write_idle: Duration::from_millis(400),
        response_body_rate: 0,
        half_close: Duration::from_millis(300),
        h2_streams: 10,
        drain: Duration::from_secs(5),
        drain_delay: Duration::ZERO,
        // The rest is about isolates and origins.
        ..LimitTable::builtin().node_limits()
    }
}

/// What is long enough for everything in a test to have happened.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// A handler of many modes, and what the test knows of it.
#[derive(Clone)]
struct Site {
    core: usize,
    release: Arc<Notify>,
    /// Where a request and the test meet, the core of the request waiting.
    block: Arc<Barrier>,
    /// Requests whose handler or body is not finished.
    open: Arc<watch::Sender<usize>>,
    /// The codes of what hyper refused.
    refused: Arc<watch::Sender<Vec<&'static str>>>,
}

/// Counts as open until dropped.
struct Open(Arc<watch::Sender<usize>>);

impl Open {
    fn new(open: &Arc<watch::Sender<usize>>) -> Self {
        open.send_modify(|n| *n += 1);
        Self(Arc::clone(open))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

impl Handle for Site {
    async fn handle(&self, client: &Arc<Client>, request: Request<Body>) -> Result<Response<Body>, Closed> {
        let open = Open::new(&self.open);
        let text = match request.uri().path() {
            "/closed" => return Err(Closed),
            "/endless" => return Ok(Response::new(Body::boxed(Endless(open)))),
            "/whole" => Bytes::from(vec![b'x'; 1 << 20]),
            "/slow" => {
                tokio::time::sleep(limits().keepalive_idle * 2).await;
                Bytes::from_static(b"slow")
            }
            "/wait" => {
                self.release.notified().await;
                Bytes::from_static(b"done")
            }
            "/block" => {
                self.block.wait();
                Bytes::from_static(b"done")
            }
            // Its core waits when it has answered, until the test is there twice.
            "/block-later" => {
                let (release, block) = (Arc::clone(&self.release), Arc::clone(&self.block));
                crate::observe::spawn("blocks", async move {
                    release.notified().await;
                    block.wait();
                    block.wait();
                });
                Bytes::from_static(b"done")
            }
            "/core" => Bytes::from(self.core.to_string()),
            "/tls" => Bytes::from(format!("{:?} {:?}", request.version(), client.tls)),
            _ => Bytes::from(format!("{} fields", request.headers().len())),
        };
        Ok(Response::new(Body::from(text)))
    }

    fn refused(&self, _: &Client, failure: &Failure) {
        self.refused.send_modify(|all| all.push(failure.code()));
    }

    fn cut(&self, _: &'static str) {}
}

/// A body without end.
struct Endless(#[allow(dead_code, reason = "counts while it lives")] Open);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 32 * 1024])))))
    }
}

/// Cores that serve a [`Site`] on one address.
struct Running {
    cores: Cores,
    address: SocketAddr,
    release: Arc<Notify>,
    block: Arc<Barrier>,
    open: Arc<watch::Sender<usize>>,
    refused: Arc<watch::Sender<Vec<&'static str>>>,
}

impl Running {
    fn start(limits: &NodeLimits) -> Self {
        Self::with(1, limits, None)
    }

    fn with(cores: usize, limits: &NodeLimits, tls: Option<Credentials>) -> Self {
        let listening = Listening::bind("127.0.0.1:0".parse().unwrap(), tls).unwrap();
        let address = listening.address();
        let (release, open) = (Arc::new(Notify::new()), Arc::new(watch::Sender::new(0)));
        let refused = Arc::new(watch::Sender::default());
        let (release_, open_, refused_) = (Arc::clone(&release), Arc::clone(&open), Arc::clone(&refused));
        let block = Arc::new(Barrier::new(2));
        let site = Site { core: 0, release: release_, block: Arc::clone(&block), open: open_, refused: refused_ };
        let cores = Cores::start("test", cores, limits, &[], || {}, move |core| Site { core, ..site.clone() }).unwrap();
        cores.listen([listening]);
        Self { cores, address, release, block, open, refused }
    }

    /// One that waits for its clients for long; a client that has had an answer to this and asks no more, and one that is accepted and has
    /// said nothing.
    async fn with_idle_and_silent(request: &str) -> (Self, TcpStream, TcpStream) {
        let patient = NodeLimits { keepalive_idle: PATIENCE * 2, header_timeout: PATIENCE * 2, ..limits() };
        let node = Self::start(&patient);
        let mut idle = node.connect().await;
        exchange(&mut idle, request).await;
        let silent = node.connect().await;
        exchange(&mut node.connect().await, GET).await;
        (node, idle, silent)
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// The core waits from now on, for nobody's sake, until `self.block` is waited for once more.
    async fn hold_the_core(&self) {
        let mut client = self.connect().await;
        client.write_all(b"GET /block-later HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        until_closed(&mut client).await;
        self.release.notify_one();
        self.block.wait();
    }

    /// Waits until this was refused, in this order.
    async fn refused(&self, codes: &[&str]) {
        within(self.refused.subscribe().wait_for(|refused| refused == codes)).await.unwrap();
    }

    /// Waits until so many requests are open.
    async fn opened(&self, wanted: usize) {
        within(self.open.subscribe().wait_for(|n| *n == wanted)).await.unwrap();
    }
}

/// Sends bytes and reads one response with `content-length`, head and body.
async fn exchange(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    within(response(stream)).await
}

async fn response(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut seen = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&seen).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split_once("content-length: ").map_or("0", |(_, rest)| rest.lines().next().unwrap());
            if body.len() >= length.parse().unwrap() {
                return text;
            }
        }
        assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0, "closed after {text:?}");
    }
}

/// Reads until the other end closes; what came, and how long it took.
async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) -> (String, Duration) {
    let (start, mut seen) = (Instant::now(), Vec::new());
    // A reset closes as well as an end does.
    let _ = within(stream.read_to_end(&mut seen)).await;
    (String::from_utf8_lossy(&seen).into_owned(), start.elapsed())
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}
