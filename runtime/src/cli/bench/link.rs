//! One connection to a server: hyper's own client, driven by whoever asks, so that it needs no task.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};

use anyhow::Context;
use http::header::{ACCEPT, HOST, HeaderName, USER_AGENT};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::protocol::Asked;

pub(super) type Request = http::Request<Empty<Bytes>>;

/// An open connection.
pub(super) struct Link {
    sender: SendRequest<Empty<Bytes>>,
    driver: Driver,
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Link {
    pub(super) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await.with_context(|| format!("{address} cannot be reached"))?;
        socket.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(socket)).await?;
        Ok(Self { sender, driver: Driver(Some(Box::pin(connection))) })
    }

    /// Whether it takes a request. A server may close a connection after any answer.
    pub(super) async fn ready(&mut self) -> bool {
        let Self { sender, driver } = self;
        driver.during(sender.ready()).await.is_ok()
    }

    /// Asks, tells each piece of the body, and returns at the answer's end.
    pub(super) async fn ask(
        &mut self,
        request: Request,
        mut hear: impl FnMut(&[u8]),
    ) -> hyper::Result<(StatusCode, HeaderMap)> {
        let Self { sender, driver } = self;
        let asked = async {
            let (head, mut body) = sender.send_request(request).await?.into_parts();
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame?.into_data() {
                    hear(&data);
                }
            }
            Ok((head.status, head.headers))
        };
        driver.during(asked).await
    }
}

/// What moves a connection's bytes. Once it has ended it is dropped: only then does whoever waits for the connection hear of it.
struct Driver(Option<Pin<Box<Driven>>>);

type Driven = Connection<TokioIo<TcpStream>, Empty<Bytes>>;

impl Driver {
    async fn during<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|context| {
            // What it ends with reaches whoever waits for an answer.
            if self.0.as_mut().is_some_and(|connection| connection.as_mut().poll(context).is_ready()) {
                self.0 = None;
            }
            work.as_mut().poll(context)
        })
        .await
    }
}

/// Asks once, on a connection of its own.
pub(super) async fn once(address: SocketAddr, request: Request) -> anyhow::Result<Answer> {
    let mut link = Link::open(address).await?;
    let mut body = Vec::new();
    let (status, headers) = link.ask(request, |piece| body.extend_from_slice(piece)).await?;
    Ok(Answer { status, headers, body })
}

/// The request to this host, whatever its fields say.
pub(super) fn request_to(host: &str, asked: &Asked) -> anyhow::Result<Request> {
    let mut request = request(host, asked)?;
    request.headers_mut().insert(HOST, HeaderValue::from_str(host)?);
    Ok(request)
}

/// The request, to whom the address or the host belongs.
pub(super) fn request(host: &str, asked: &Asked) -> anyhow::Result<Request> {
    let mut request = http::Request::get(&asked.path).body(Empty::new())?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(host)?);
    headers.insert(USER_AGENT, HeaderValue::from_static("eyot-bench"));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    for (name, value) in &asked.headers {
        headers.insert(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
    }
    Ok(request)
}
