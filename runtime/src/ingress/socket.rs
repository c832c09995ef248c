//! A connection's bytes. The socket is shared with whoever watches over it, so everything goes through `&TcpStream`.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::outbox::Outbox;
use super::pulse::Pulse;

/// The I/O under rustls and hyper: reads and writes, and tells the connection's [`Pulse`] of them.
#[derive(Debug)]
pub(super) struct Socket(Arc<Outbox>);

impl Socket {
    pub(super) fn new(stream: Arc<TcpStream>, pulse: Arc<Pulse>) -> Self {
        Self(Outbox::new(stream, pulse))
    }
}

/// Reads once. When the kernel had less than was asked for, there is nothing more for now: the readiness is given back at once,
/// which saves the read that would only say so. That is safe because the poller reports edges, and because `try_io` gives
/// back the readiness that it saw before the read, never one that came later.
fn read_some(stream: &TcpStream, buffer: &mut ReadBuf<'_>) -> io::Result<usize> {
    let room = buffer.remaining();
    let mut partial = None;
    let read = stream.try_io(Interest::READABLE, || {
        let read = stream.try_read_buf(buffer)?;
        if read == 0 || read == room {
            return Ok(read);
        }
        partial = Some(read);
        Err(io::ErrorKind::WouldBlock.into())
    });
    partial.map_or(read, Ok)
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let Outbox { stream, pulse, .. } = &*self.0;
        loop {
            ready!(stream.poll_read_ready(context))?;
            match read_some(stream, buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(read) => {
                    if read > 0 {
                        pulse.read();
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What waits to go out together with others does so without being asked.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_rest(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_send(context))?;
        match SockRef::from(&*self.0.stream).shutdown(Shutdown::Write) {
            // The client was quicker.
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// Resolves when the connection is broken, and tells the [`Pulse`] when the client has closed its side. hyper does not look while it
/// has a request, and could not tell that a client has gone which left behind an unread body or pipelined bytes.
///
/// `PRIORITY` stands for the end of the stream alone: waiting for it takes no readiness away from hyper, as `READABLE` would.
pub(super) async fn broken(stream: &TcpStream, pulse: &Pulse) {
    match stream.ready(Interest::PRIORITY | Interest::ERROR).await {
        Ok(ready) if !ready.is_error() => pulse.half_closed(),
        _ => return,
    }
    // An error says that the reactor has gone.
    let _ = stream.ready(Interest::ERROR).await;
}

/// How many bytes a client may still send us after our last one.
const UNHEARD: usize = 1 << 20;

/// Reads and forgets until the client closes, too, or has sent [`UNHEARD`]. Closing a socket with unread bytes sends a reset, and a
/// client that is still sending its body would lose the answer that tells it to stop (RFC 9112 §9.6).
pub(super) async fn linger(stream: &TcpStream) -> io::Result<()> {
    let mut unheard = 0;
    let mut buffer = [0; 4096];
    while unheard < UNHEARD {
        stream.readable().await?;
        match stream.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => unheard += read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
