//! Clients that never try again: a request fails unless its connection had said before that it takes no more.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::dial::Client;
use super::harness::PATIENCE;

/// What was answered, by its text, and what was not.
#[derive(Debug, Default)]
pub struct Seen {
    answers: Mutex<BTreeMap<String, u64>>,
    pub failures: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Seen {
    pub fn count(&self, text: &str) -> u64 {
        self.answers.lock().expect("not poisoned").get(text).copied().unwrap_or(0)
    }

    /// How many were answered.
    pub fn total(&self) -> u64 {
        self.answers.lock().expect("not poisoned").values().sum()
    }

    /// What was answered, each text once.
    pub fn texts(&self) -> Vec<String> {
        self.answers.lock().expect("not poisoned").keys().cloned().collect()
    }

    pub fn end(&self) {
        self.over.store(true, SeqCst);
    }

    fn answered(&self, text: String) {
        *self.answers.lock().expect("not poisoned").entry(text).or_default() += 1;
    }

    fn failed(&self, why: impl std::fmt::Debug) {
        self.failures.lock().expect("not poisoned").push(format!("{why:?}"));
    }

    fn goes_on(&self) -> bool {
        // Many failures say no more than a few.
        !self.over.load(SeqCst) && self.failures.lock().expect("not poisoned").len() < 100
    }
}

/// Ends the load also where an assertion fails.
pub struct Ends<'a>(pub &'a Seen);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// One connection of HTTP/1.1 after the other, each for as long as the node keeps it.
pub fn plain(address: SocketAddr, seen: &Seen) {
    let mut connection = None;
    while seen.goes_on() {
        let asked = (|| {
            let socket = match &mut connection {
                Some(socket) => socket,
                none => {
                    let socket = TcpStream::connect(address)?;
                    socket.set_read_timeout(Some(PATIENCE))?;
                    none.insert(socket)
                }
            };
            socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
            whole(socket)
        })();
        match asked {
            Ok((head, body)) => {
                if head.contains("connection: close") {
                    connection = None;
                }
                seen.answered(body);
            }
            Err(error) => {
                connection = None;
                seen.failed(error);
            }
        }
    }
}

fn whole(socket: &mut TcpStream) -> std::io::Result<(String, String)> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 1024]);
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if length.is_some_and(|length| body.len() >= length) {
                return Ok((head, body.to_owned()));
            }
        }
        match socket.read(&mut piece)? {
            0 => return Err(std::io::Error::other(format!("closed after {:?}", String::from_utf8_lossy(&bytes)))),
            read => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

/// The same over TLS, so many connections at once: of HTTP/2 with a few streams each, or of HTTP/1.1.
pub fn tls(address: SocketAddr, client: &Client, speaks: Speaks, connections: usize, path: &str, seen: &Seen) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = client.clone().forgetful().speaking(&[speaks.name()]);
    let one = async || {
        while seen.goes_on() {
            let mut sender = match connect(address, &client, speaks).await {
                Ok(sender) => sender,
                Err(error) => {
                    seen.failed(error);
                    continue;
                }
            };
            // It no longer is when a GOAWAY or `Connection: close` has come.
            while seen.goes_on() && sender.is_ready().await {
                for answer in sender.ask(path).await {
                    match answer {
                        Ok(text) => seen.answered(text),
                        Err(error) => seen.failed(error),
                    }
                }
            }
        }
    };
    runtime.block_on(futures_util::future::join_all((0..connections).map(|_| one())));
}

/// A protocol.
#[derive(Clone, Copy)]
pub enum Speaks {
    Http1,
    Http2,
}

enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Speaks {
    fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
        }
    }
}

async fn connect(address: SocketAddr, client: &Client, speaks: Speaks) -> anyhow::Result<Sender> {
    let socket = tokio::net::TcpStream::connect(address).await?;
    let name = ServerName::try_from("shop.test")?;
    let socket = TokioIo::new(TlsConnector::from(Arc::new(client.config.clone())).connect(name, socket).await?);
    // How a connection ends, its requests tell.
    Ok(match speaks {
        Speaks::Http1 => {
            let (sender, connection) = http1::handshake(socket).await?;
            hyper::rt::Executor::execute(&TokioExecutor::new(), async { drop(connection.await) });
            Sender::Http1(sender)
        }
        Speaks::Http2 => {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), socket).await?;
            hyper::rt::Executor::execute(&TokioExecutor::new(), async { drop(connection.await) });
            Sender::Http2(sender)
        }
    })
}

impl Sender {
    async fn is_ready(&mut self) -> bool {
        match self {
            Self::Http1(sender) => sender.ready().await.is_ok(),
            Self::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    /// The answers; none where the connection has said before that it takes no more.
    async fn ask(&mut self, path: &str) -> Vec<Result<String, hyper::Error>> {
        const STREAMS: usize = 4;
        match self {
            Self::Http1(sender) => {
                let request = hyper::Request::builder().uri(path).header("host", "shop.test").body(Empty::new());
                vec![text(sender.send_request(request.expect("a request"))).await]
            }
            Self::Http2(sender) => {
                let one = async |mut sender: http2::SendRequest<Empty<Bytes>>| {
                    sender.ready().await.ok()?;
                    let request = hyper::Request::builder().uri(format!("https://shop.test{path}")).body(Empty::new());
                    Some(text(sender.send_request(request.expect("a request"))).await)
                };
                let asked = (0..STREAMS).map(|_| one(sender.clone()));
                futures_util::future::join_all(asked).await.into_iter().flatten().collect()
            }
        }
    }
}

async fn text(
    answer: impl Future<Output = hyper::Result<hyper::Response<hyper::body::Incoming>>>,
) -> Result<String, hyper::Error> {
    let body = answer.await?.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}
