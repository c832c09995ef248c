//! Noticing that a client has gone while hyper is not reading from it.
//!
//! hyper looks for the end of the stream only when its own buffer is empty, so a client that leaves behind an unread request
//! body or pipelined bytes would hold its isolate until the isolate's own limit. The kernel knows at once (`EPOLLRDHUP`).

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A look at a connection's socket, to be told when the client closes it. Costs nothing until it is waited for.
#[derive(Clone, Debug, Default)]
pub struct Hangup(Option<Arc<TcpStream>>);

impl Hangup {
    /// One that never reports anything: for tests, and for HTTP/2, where hyper reads on and cancels by itself.
    #[must_use]
    pub fn never() -> Self {
        Self(None)
    }

    /// Watches the given socket.
    #[must_use]
    pub fn watch(socket: Arc<TcpStream>) -> Self {
        Self(Some(socket))
    }

    /// Resolves once the client has closed its side, or the connection is broken. Does not read.
    pub async fn wait(&self) {
        let Some(socket) = &self.0 else {
            return std::future::pending().await;
        };
        // A descriptor of its own, because the reactor knows the first one already. It is registered only while somebody
        // waits.
        let watched = socket.as_fd().try_clone_to_owned().map(std::net::TcpStream::from).and_then(TcpStream::from_std);
        let Ok(watched) = watched else {
            // Out of descriptors: the isolate's own limits still end it.
            return std::future::pending().await;
        };
        while !closed(&watched) {
            if watched.readable().await.is_err() {
                return std::future::pending().await;
            }
            // Unread bytes stay where they are: the next wake-up is for something new.
            let _ = watched.try_io(Interest::READABLE, || Err::<(), _>(ErrorKind::WouldBlock.into()));
        }
    }
}

fn closed(socket: &TcpStream) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    rustix::event::poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().intersects(gone)
}
