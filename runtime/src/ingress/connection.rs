//! One connection from its first byte to its last: TLS, the protocol, its requests, its end.

use std::error::Error as _;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::{HttpService, service_fn};
use hyper::{Request, Response, server::conn as hyper_conn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::alt_svc::AltSvc;
use super::cut::Cut;
use super::glitches::Watched;
use super::http2::{Answering, Paced, Streams};
use super::phase::{self, Phase};
use super::pulse::{Alarm, Pulse};
use super::sniff::{self, Protocol};
use super::socket::{Socket, broken, linger};
use super::tls::{self, Agreed};
use super::{Closed, Credentials, Handle, http1, http2};
use crate::config::NodeLimits;
use crate::failure::Failure;
use crate::http::{Body, BodyError, Client};

/// What every connection of a core is served with.
#[derive(Clone, Debug)]
pub(super) struct Service<H> {
    pub(super) handler: H,
    pub(super) limits: Arc<NodeLimits>,
    pub(super) phase: phase::Listener,
}

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// Both sides are done.
    Done,
    /// We are, and the client may still be sending.
    Answered,
    /// hyper has refused what the client sent, and may have said so.
    Refused(Failure),
    /// The client has gone, or never came so far as to speak HTTP.
    Lost(io::Error),
    /// It waited for too long.
    Cut(Cut),
    /// The node ends.
    Dropped,
}

impl End {
    /// Says so in the log, and to whoever counts.
    pub(super) fn tell<H: Handle>(self, peer: SocketAddr, handler: &H) {
        match self {
            Self::Done | Self::Answered | Self::Refused(_) => tracing::trace!(%peer, "connection closed"),
            Self::Cut(cut) => {
                handler.cut(cut.as_str());
                tracing::debug!(%peer, ?cut, "connection cut");
            }
            Self::Dropped => tracing::debug!(%peer, "connection dropped with the node"),
            Self::Lost(error) => tracing::debug!(%peer, %error, "connection lost"),
        }
    }
}

/// A connection that is ready for HTTP.
enum Ready {
    Plain(Protocol, Socket),
    Tls(Protocol, Agreed, Box<TlsStream<Socket>>),
}

/// Serves an accepted connection to its end.
pub(super) async fn serve<H: Handle>(
    service: Service<H>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Credentials>,
    announced: Option<Arc<AltSvc>>,
) {
    let stream = Arc::new(stream);
    let handler = service.handler.clone();
    let end = greet_and_run(service, &stream, peer, tls, announced).await.unwrap_or_else(End::Lost);
    end.tell(peer, &handler);
}

async fn greet_and_run<H: Handle>(
    mut service: Service<H>,
    stream: &Arc<TcpStream>,
    peer: SocketAddr,
    tls: Option<Credentials>,
    announced: Option<Arc<AltSvc>>,
) -> io::Result<End> {
    let pulse = Pulse::new();
    let local = stream.local_addr()?;
    let (limits, handler) = (Arc::clone(&service.limits), service.handler.clone());
    let mut greeting = pin!(greet(&handler, stream, &pulse, tls, &limits));
    let ready = tokio::select! {
        biased;
        () = service.phase.reached(Phase::Draining) => {
            // Where nothing has been asked yet, nothing is lost; what has come before the end is answered.
            if !sniff::has_come(stream) {
                return Ok(End::Dropped);
            }
            greeting.await?
        }
        ready = &mut greeting => ready?,
    };
    let ready = match ready {
        Ok(ready) => ready,
        Err(cut) => return Ok(End::Cut(cut)),
    };
    let (protocol, tls, certificate) = match &ready {
        Ready::Plain(protocol, _) => (*protocol, None, None),
        Ready::Tls(protocol, Agreed { tls, certificate }, _) => (*protocol, Some(Arc::clone(tls)), certificate.clone()),
    };
    let client = Arc::new(Client { address: canonical(peer), local: canonical(local), tls, certificate });
    pulse.begin(protocol == Protocol::Http2);
    let mut phase = service.phase.clone();
    let end = match ready {
        Ready::Plain(protocol, io) => run(service, protocol, io, stream, &client, &pulse, None).await,
        Ready::Tls(protocol, _, io) => run(service, protocol, io, stream, &client, &pulse, announced).await,
    };
    if let End::Refused(failure) = &end {
        handler.refused(&client, failure);
    }
    // The client should get to read the answer.
    if let End::Answered | End::Refused(_) = end {
        tokio::select! {
            _ = timeout(limits.header_timeout, linger(stream)) => {}
            () = phase.reached(Phase::Stopped) => {}
        }
    }
    Ok(end)
}

/// The TLS handshake, or a look at the first bytes: what comes before HTTP, bounded.
async fn greet<H: Handle>(
    handler: &H,
    stream: &Arc<TcpStream>,
    pulse: &Arc<Pulse>,
    tls: Option<Credentials>,
    limits: &NodeLimits,
) -> io::Result<Result<Ready, Cut>> {
    let socket = Socket::new(Arc::clone(stream), Arc::clone(pulse));
    let Some(tls) = tls else {
        let Ok(protocol) = timeout(limits.header_timeout, sniff::protocol(stream)).await else {
            return Ok(Err(Cut::Silent));
        };
        return Ok(Ok(Ready::Plain(protocol?, socket)));
    };
    // Boxed, so that a connection without TLS has no room for it.
    let accepting = Box::pin(tls.accept(socket, |host| handler.expected(host)));
    let Ok(accepted) = timeout(limits.handshake_timeout, accepting).await else { return Ok(Err(Cut::Handshake)) };
    let (socket, agreed) = accepted?;
    let protocol = match socket.get_ref().1.alpn_protocol() {
        Some(tls::H2) => Protocol::Http2,
        _ => Protocol::Http1,
    };
    Ok(Ok(Ready::Tls(protocol, agreed, Box::new(socket))))
}

async fn run<H, I>(
    service: Service<H>,
    protocol: Protocol,
    io: I,
    stream: &TcpStream,
    client: &Arc<Client>,
    pulse: &Arc<Pulse>,
    announced: Option<Arc<AltSvc>>,
) -> End
where
    H: Handle,
    I: AsyncRead + AsyncWrite + Unpin,
{
    let Service { handler, limits, phase } = service;
    match protocol {
        Protocol::Http1 => {
            let (bodies, client) = (Arc::clone(pulse), Arc::clone(client));
            let answer = service_fn(move |request: Request<Incoming>| {
                let (handler, client) = (handler.clone(), Arc::clone(&client));
                bodies.expects_body(!request.body().is_end_stream());
                let (pulse, announced) = (Arc::clone(&bodies), announced.clone());
                async move {
                    let mut answer = handler.handle(&client, received(request)).await;
                    announce(announced.as_deref(), &mut answer);
                    // hyper itself says so only where it knew before the request came.
                    if let Ok(answer) = &mut answer
                        && pulse.is_parting()
                    {
                        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    }
                    answer
                }
            });
            let connection = http1::builder(&limits, Arc::clone(pulse)).serve_connection(TokioIo::new(io), answer);
            drive(pin!(connection), broken(stream, pulse), pulse, &limits, phase).await
        }
        Protocol::Http2 => {
            let (attempts, client) = (Arc::clone(pulse), Arc::clone(client));
            let answer = service_fn(move |request: Request<Incoming>| {
                let (handler, client, attempt) = (handler.clone(), Arc::clone(&client), attempts.attempt());
                let announced = announced.clone();
                let handler = async move {
                    let mut answer = handler.handle(&client, received(request)).await;
                    announce(announced.as_deref(), &mut answer);
                    attempt.answered();
                    answer.map(|response| response.map(Paced::from))
                };
                Answering::new(handler)
            });
            let io = TokioIo::new(Watched::new(io, limits.h2_glitches, Arc::clone(pulse)));
            let connection = http2::builder(&limits, Arc::clone(pulse)).serve_connection(io, answer);
            // Here hyper reads on whatever happens, and sees for itself that a client goes.
            drive(pin!(connection), std::future::pending(), pulse, &limits, phase).await
        }
    }
}

/// A request with a body of ours.
fn received(request: Request<Incoming>) -> Request<Body> {
    let version = request.version();
    request.map(|body| Body::received(body, version))
}

fn announce(announced: Option<&AltSvc>, answer: &mut Result<Response<Body>, Closed>) {
    if let (Some(announced), Ok(answer)) = (announced, answer) {
        announced.announce(answer.headers_mut());
    }
}

/// What hyper's two kinds of connection have in common.
trait Connection: Future<Output = hyper::Result<()>> {
    /// Take no further request; end when the last one is answered.
    fn finish(self: Pin<&mut Self>);

    /// The same, but what the client is sending already is answered; a client that asks for nothing keeps its connection.
    fn part(self: Pin<&mut Self>, pulse: &Pulse);
}

impl<I, S> Connection for hyper_conn::http1::Connection<TokioIo<I>, S>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: HttpService<Incoming, ResBody = crate::http::Body>,
    S::Error: Into<BodyError>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }

    fn part(self: Pin<&mut Self>, pulse: &Pulse) {
        pulse.part();
    }
}

impl<I, S> Connection for hyper_conn::http2::Connection<TokioIo<I>, S, Streams>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: HttpService<Incoming, ResBody = Paced>,
    S::Future: Send + 'static,
    S::Error: Into<BodyError>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }

    /// A GOAWAY with the highest number first, and with the real one when a ping has come back (RFC 9113 §6.8).
    fn part(self: Pin<&mut Self>, _: &Pulse) {
        self.graceful_shutdown();
    }
}

async fn drive<C: Connection>(
    mut connection: Pin<&mut C>,
    broken: impl Future<Output = ()>,
    pulse: &Pulse,
    limits: &NodeLimits,
    mut phase: phase::Listener,
) -> End {
    let mut broken = pin!(broken);
    let mut alarm = Alarm::new(pulse, limits);
    // A connection that was greeted while the end had begun already is told at once.
    let begun = phase.phase();
    let mut finishing = false;
    let mut finish = begun >= Phase::Draining;
    if begun == Phase::Parting {
        connection.as_mut().part(pulse);
    }
    loop {
        if finish {
            finishing = true;
            if let Poll::Ready(done) = end_of(connection.as_mut(), pulse).await {
                return ended(done, pulse);
            }
            alarm.hurry();
        }
        finish = tokio::select! {
            biased;
            // Before the connection, so that an answer that is ready at the same time says `Connection: close`.
            next = phase.next() => match next {
                now @ (Phase::Serving | Phase::Parting) => {
                    if now == Phase::Parting {
                        connection.as_mut().part(pulse);
                    }
                    if !finishing {
                        alarm.be_patient_for(phase.patience());
                    }
                    false
                }
                Phase::Draining => !finishing,
                Phase::Stopped => return End::Dropped,
            },
            done = connection.as_mut() => return ended(done, pulse),
            () = broken.as_mut() => return End::Lost(io::ErrorKind::ConnectionReset.into()),
            cut = alarm.rings() => match cut {
                // The crowd may be over.
                Cut::Idle if !finishing => !alarm.be_patient_for(phase.patience()),
                cut => return End::Cut(cut),
            },
        };
    }
}

/// Lets a connection answer what has come, and no more. What has come is read first: hyper closes a connection of which it has seen
/// nothing.
async fn end_of<C: Connection>(mut connection: Pin<&mut C>, pulse: &Pulse) -> Poll<hyper::Result<()>> {
    connection.as_mut().part(pulse);
    // The runtime looks at its sockets before it goes on here.
    tokio::task::yield_now().await;
    let done = poll_fn(|context| Poll::Ready(connection.as_mut().poll(context))).await;
    if done.is_pending() {
        connection.finish();
    }
    done
}

fn ended(done: hyper::Result<()>, pulse: &Pulse) -> End {
    match done {
        Ok(()) if pulse.has_body() => End::Answered,
        Ok(()) => End::Done,
        Err(error) => refusal(&error).map_or_else(|| End::Lost(io::Error::other(error)), End::Refused),
    }
}

/// What hyper has refused without asking us: with 400, 414 or 431 on HTTP/1, with GOAWAY on HTTP/2.
fn refusal(error: &hyper::Error) -> Option<Failure> {
    if error.is_parse_too_large() {
        // hyper tells the two apart by their text alone.
        let long = error.to_string() == "URI too long";
        return Some(if long {
            Failure::UriTooLong { limit: http1::LONGEST_URI }
        } else {
            Failure::RequestHeaderTooLarge
        });
    }
    if error.is_parse() {
        return Some(Failure::BadRequest("this is not HTTP/1"));
    }
    let h2 = error.source()?.downcast_ref::<h2::Error>()?;
    h2.is_library().then_some(Failure::BadRequest("this is not HTTP/2"))
}

/// An IPv4 client of a dual-stack socket is an IPv4 client.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
