//! The room from outside, with real sockets on 127.0.0.1: origins that behave, and origins that do not.

mod bounds;
mod failures;
mod proxying;
mod tls;
mod uploads;
mod workers;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::resolve::{Resolve, Resolving, System};
use super::{Egress, Forward, OriginId, Own, origin as origins};
use crate::config::{Diagnostics, LimitTable, Origin};
use crate::failure::Failure;
use crate::http::{Body, BodyError, Client};
use crate::observe::{RequestId, Trace};

#[allow(clippy::disallowed_methods, reason = "a test has no core to name tasks on")]
fn spawn<F: Future<Output = ()> + Send + 'static>(future: F) {
    tokio::spawn(future);
}

/// Nothing in a test may wait longer.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("it takes too long")
}

/// An origin that does with its connections what the test says; they are counted from 0.
async fn raw<F, S>(serve: F) -> SocketAddr
where
    F: Fn(usize, TcpStream) -> S + Send + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn(async move {
        let mut count = 0;
        while let Ok((stream, _)) = listener.accept().await {
            spawn(serve(count, stream));
            count += 1;
        }
    });
    address
}

/// An origin that answers each head with the same bytes, and tells the heads.
async fn canned(answer: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (heads, told) = mpsc::unbounded_channel();
    let address = raw(move |_, mut stream| {
        let heads = heads.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                let _ = heads.send(head);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    (address, told)
}

/// A head up to its empty line, in lower case; `None` at the end of the stream.
async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap().to_lowercase())
}

async fn read_exactly(stream: &mut TcpStream, expected: &str) {
    let mut bytes = vec![0; expected.len()];
    soon(stream.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}

fn origin(name: &str, url: &str) -> Origin {
    let (connect_timeout, first_byte_timeout, idle_timeout) =
        (Duration::from_secs(5), Duration::from_secs(5), Duration::from_secs(5));
    let unsaid = Origin::new(name.to_owned(), url.parse().unwrap());
    Origin { connect_timeout, first_byte_timeout, idle_timeout, ..unsaid }
}

impl Egress {
    /// The way out of a node with one core.
    fn new(origins: &[Origin], own: Own) -> Result<Self, Diagnostics> {
        Self::with_resolvers(origins, own, Arc::new(System::new(4)), Arc::new(System::new(4)))
    }

    fn with_resolvers(
        origins: &[Origin],
        own: Own,
        of_origins: Arc<dyn Resolve>,
        of_workers: Arc<dyn Resolve>,
    ) -> Result<Self, Diagnostics> {
        let mut limits = LimitTable::builtin().node_limits();
        (limits.origin_queue, limits.origin_queue_wait) = (1, Duration::from_millis(50));
        Self::with(origins, &origins::gates(origins, &limits), &own, &limits, [of_origins, of_workers])
    }
}

/// An egress whose only origin, `o`, is at this address.
fn egress(address: SocketAddr) -> Egress {
    Egress::new(&[origin("o", &format!("http://{address}"))], Own::default()).unwrap()
}

fn client(address: &str) -> Client {
    Client { address: address.parse().unwrap(), local: "127.0.0.1:80".parse().unwrap(), tls: None, certificate: None }
}

/// Forwards to the first origin for a client of no interest.
async fn forward(egress: &Egress, request: Request<Body>) -> Result<Response<Body>, Failure> {
    forward_from(egress, &client("198.51.100.1:5000"), None, request).await
}

/// The same for this client, which may have come by a proxy.
async fn forward_from(
    egress: &Egress,
    client: &Client,
    trusted_proxy: Option<IpAddr>,
    request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    let passed = egress.pass(request.headers(), 4)?;
    let (request_id, trace) = (RequestId::parse(b"its-id").unwrap(), Trace::root());
    let claims = Some((HeaderName::from_static("eyot-claims"), HeaderValue::from_static("true-ones")));
    let said = Forward { client, trusted_proxy, request_id: &request_id, trace: &trace, claims, passed: &passed };
    soon(egress.forward(OriginId(0), request, said)).await
}

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::empty()).unwrap()
}

fn post(body: Body) -> Request<Body> {
    Request::post("http://front.example/").body(body).unwrap()
}

async fn text(response: Response<Body>) -> Result<String, BodyError> {
    let bytes = soon(response.into_body().collect()).await?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

/// Why a body broke.
async fn body_failure(response: Response<Body>) -> Failure {
    *text(response).await.expect_err("a clean end").downcast::<Failure>().unwrap()
}

/// A body that a test feeds; it notices when nobody wants more.
struct Fed(mpsc::Receiver<Result<Frame<Bytes>, BodyError>>);

type Feeder = mpsc::Sender<Result<Frame<Bytes>, BodyError>>;

fn fed() -> (Feeder, Body) {
    let (feeder, frames) = mpsc::channel(1);
    (feeder, Body::boxed(Fed(frames)))
}

async fn feed(feeder: &Feeder, text: &'static str) {
    soon(feeder.send(Ok(Frame::data(Bytes::from_static(text.as_bytes()))))).await.unwrap();
}

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(context)
    }
}

/// A resolver that says what the test says, one answer for each look-up, the last one again and again.
struct Says {
    answers: Vec<Vec<&'static str>>,
    asked: std::sync::atomic::AtomicUsize,
}

fn says(answers: &[&[&'static str]]) -> Arc<Says> {
    Arc::new(Says { answers: answers.iter().map(|answer| answer.to_vec()).collect(), asked: 0.into() })
}

impl Says {
    fn asked(&self) -> usize {
        self.asked.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Resolve for Says {
    fn resolve(&self, _: &str, port: u16) -> Resolving {
        let asked = self.asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let answer = self.answers.get(asked).or(self.answers.last()).map(|answer| {
            answer.iter().map(|address| SocketAddr::new(address.parse().unwrap(), port)).collect::<Vec<_>>()
        });
        Box::pin(async move { answer.ok_or_else(|| io::Error::other("no such name")) })
    }
}
