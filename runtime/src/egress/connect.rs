//! From an authority to a connection: resolve, judge every address, dial one of those that were judged, shake hands.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustix::io::Errno;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

use super::BoxFuture;
use super::own::Own;
use super::pool::Tls;
use super::resolve::Resolve;
use crate::failure::{Failure, Wait};
use crate::http::is_public;

/// How many addresses of one name are tried.
const MOST_ADDRESSES: usize = 8;
/// When the next address is tried beside those that have not answered yet (RFC 8305 §8 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);
/// When a silent connection is probed, so that a peer that vanished does not hold it for ever.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// What to do where a worker asks for a server that is not public.
pub(super) const AS_ORIGIN: &str =
    "a private server is asked as an origin: add it to node.toml as [[origin]], and its name to origins in eyot.toml";

/// Which addresses may be dialled. The node's own listeners never are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Any: the operator named the origin, or opened the egress.
    Anywhere,
    /// Only those that [`is_public`] lets through.
    Public,
}

/// Opens TCP connections.
#[derive(Clone)]
pub(super) struct Dial {
    pub(super) reach: Reach,
    pub(super) own: Own,
    pub(super) resolver: Arc<dyn Resolve>,
}

impl Dial {
    /// The addresses of this host that may be dialled, and that are: there is no second look-up, so a name cannot answer with a
    /// public address when it is asked and with a private one when it is dialled.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let mut addresses = match literal.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => {
                let resolved = self.resolver.resolve(host, port).await;
                resolved.map_err(|error| {
                    exhausted(&error).unwrap_or_else(|| Failure::OriginDns(format!("{host}: {error}")))
                })?
            }
        };
        if addresses.is_empty() {
            return Err(Failure::OriginDns(format!("{host}: no address")));
        }
        addresses.retain(|address| !self.own.reaches(*address));
        if addresses.is_empty() {
            return Err(Failure::EgressDenied(format!("{host}:{port} is a listener of this node")));
        }
        if self.reach == Reach::Public {
            addresses.retain(|address| is_public(address.ip()));
            if addresses.is_empty() {
                // Which addresses these are is not told: a worker is not to learn the names of a private network.
                return Err(Failure::EgressDenied(format!("{host}:{port} has no public address; {AS_ORIGIN}")));
            }
        }
        addresses.truncate(MOST_ADDRESSES);
        Ok(addresses)
    }

    async fn connect(self, target: Uri) -> Result<TokioIo<TcpStream>, Failure> {
        let host = target.host().unwrap_or_default();
        let default = if target.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
        let port = target.port_u16().unwrap_or(default);
        let addresses = self.addresses(host, port).await?;
        let stream = first_to_answer(addresses).await;
        let stream = stream.map_err(|error| {
            exhausted(&error).unwrap_or_else(|| Failure::OriginRefused(format!("{host}:{port}: {error}")))
        })?;
        // Neither is worth a request: without them it is only slower.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
        Ok(TokioIo::new(stream))
    }
}

/// That there are no descriptors left, in this process or on this machine, is not the origin's fault.
fn exhausted(error: &io::Error) -> Option<Failure> {
    let none_left = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| none_left.contains(&code)).then_some(Failure::Overloaded {
        reason: "the node has no file descriptors left",
        retry_after: Duration::from_secs(1),
    })
}

impl Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = Failure;
    type Future = BoxFuture<Result<TokioIo<TcpStream>, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        Box::pin(self.clone().connect(target))
    }
}

/// Tries the addresses in their order, the next one as soon as one has failed or has not answered for [`STAGGER`]; the first
/// connection wins and the others are dropped (RFC 8305 §5). The last error is told when none is left.
async fn first_to_answer(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut running: Vec<BoxFuture<io::Result<TcpStream>>> = Vec::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = waiting.next() {
            running.push(Box::pin(TcpStream::connect(address)));
        } else if running.is_empty() {
            return Err(last);
        }
        let answer = poll_fn(|context| poll_any(&mut running, context));
        let answer = if waiting.len() == 0 { Ok(answer.await) } else { tokio::time::timeout(STAGGER, answer).await };
        match answer {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => {}
        }
    }
}

fn poll_any(
    running: &mut Vec<BoxFuture<io::Result<TcpStream>>>,
    context: &mut Context<'_>,
) -> Poll<io::Result<TcpStream>> {
    for index in 0..running.len() {
        if let Poll::Ready(answer) = running[index].as_mut().poll(context) {
            drop(running.swap_remove(index));
            return Poll::Ready(answer);
        }
    }
    Poll::Pending
}

/// Opens connections, with TLS where the scheme asks for it, within a time.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) dial: Dial,
    pub(super) tls: Arc<Tls>,
    /// A bound of its own: hyper-util may let a connection be finished that its request no longer waits for.
    pub(super) timeout: Duration,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Line>;
    type Error = Failure;
    type Future = BoxFuture<Result<TokioIo<Line>, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let (mut dial, secured, limit) = (self.dial.clone(), Arc::clone(&self.tls), self.timeout);
        Box::pin(async move {
            let connecting = async {
                if target.scheme() != Some(&Scheme::HTTPS) {
                    return Ok(MaybeHttpsStream::Http(dial.call(target).await?));
                }
                secured.over(dial)?.call(target).await
            };
            match tokio::time::timeout(limit, connecting).await {
                Ok(Ok(stream)) => Ok(TokioIo::new(Line { stream: TokioIo::new(stream), history: History::default() })),
                // What is not a failure of `Dial` comes from TLS.
                Ok(Err(error)) => Err(match error.downcast::<Failure>() {
                    Ok(failure) => *failure,
                    Err(error) => tls(error.as_ref()),
                }),
                Err(_) => Err(Failure::OriginTimeout { wait: Wait::Connection, limit }),
            }
        })
    }
}

type Cause = dyn std::error::Error + Send + Sync + 'static;

/// Whether it is the certificate, or TLS itself.
fn tls(error: &Cause) -> Failure {
    match is_certificate(error) {
        true => Failure::OriginCertificate(error.to_string()),
        false => Failure::OriginTls(error.to_string()),
    }
}

/// rustls' error comes in one or more of `io::Error`, whose `source` passes over what it holds.
fn is_certificate(error: &Cause) -> bool {
    match error.downcast_ref::<rustls::Error>() {
        Some(error) => matches!(error, rustls::Error::InvalidCertificate(_)),
        None => error.downcast_ref::<io::Error>().and_then(io::Error::get_ref).is_some_and(is_certificate),
    }
}

/// What happened on a connection so far, as far as a retry must know. Shared by all its requests.
#[derive(Clone, Debug, Default)]
pub(super) struct History(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    reads: AtomicU64,
}

impl History {
    /// Counts one more request; whether there was one before it.
    pub(super) fn begin(&self) -> bool {
        self.0.requests.fetch_add(1, Ordering::Relaxed) > 0
    }

    /// How often bytes came from the origin.
    pub(super) fn reads(&self) -> u64 {
        self.0.reads.load(Ordering::Relaxed)
    }
}

/// An open connection to an origin, which notes when bytes come from it.
pub(super) struct Line {
    stream: TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>,
    history: History,
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        self.stream.inner().connected().extra(self.history.clone())
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.history.0.reads.fetch_add(1, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_descriptors_is_overloaded_and_the_origin_is_not_blamed() {
        for code in [Errno::MFILE, Errno::NFILE] {
            let failure = exhausted(&io::Error::from_raw_os_error(code.raw_os_error()));
            assert_eq!(failure.map(|failure| failure.code()), Some("overloaded"));
        }
        assert_eq!(exhausted(&io::Error::from_raw_os_error(Errno::CONNREFUSED.raw_os_error())), None);
    }
}
