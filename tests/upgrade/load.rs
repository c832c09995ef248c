//! Clients that never try again: a request fails unless its connection had said before that it takes no more.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http2::{SendRequest, handshake};
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
pub fn http1(address: SocketAddr, seen: &Seen) {
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

/// The same of HTTP/2 over TLS, so many connections at once, each with a few streams.
pub fn http2(address: SocketAddr, client: &Client, connections: usize, seen: &Seen) {
    const STREAMS: usize = 4;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = client.clone().forgetful().speaking(&["h2"]);
    let one = async || {
        while seen.goes_on() {
            let mut sender = match connect(address, &client).await {
                Ok(sender) => sender,
                Err(error) => {
                    seen.failed(error);
                    continue;
                }
            };
            // It no longer is when a GOAWAY has come.
            while seen.goes_on() && sender.ready().await.is_ok() {
                let asked = (0..STREAMS).map(|_| ask(sender.clone()));
                for answer in futures_util::future::join_all(asked).await.into_iter().flatten() {
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

async fn connect(address: SocketAddr, client: &Client) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
    let socket = tokio::net::TcpStream::connect(address).await?;
    let name = ServerName::try_from("shop.test")?;
    let socket = TlsConnector::from(Arc::new(client.config.clone())).connect(name, socket).await?;
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(socket)).await?;
    // How it ends, its requests tell.
    hyper::rt::Executor::execute(&TokioExecutor::new(), async { drop(connection.await) });
    Ok(sender)
}

/// `None`: the connection has said before that it takes no more.
async fn ask(mut sender: SendRequest<Empty<Bytes>>) -> Option<Result<String, hyper::Error>> {
    sender.ready().await.ok()?;
    let request = hyper::Request::builder().uri("https://shop.test/").body(Empty::new()).expect("a request");
    let answer = async {
        let body = sender.send_request(request).await?.into_body().collect().await?.to_bytes();
        Ok(String::from_utf8_lossy(&body).into_owned())
    };
    Some(answer.await)
}
