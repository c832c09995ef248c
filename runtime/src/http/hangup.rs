//! Noticing that a client has gone while hyper is not reading from it.
//!
//! hyper looks for the end of the stream only when its own buffer is empty, so a client that leaves behind an unread request
//! body or pipelined bytes would hold its isolate until the isolate's own limit. The kernel knows at once (`EPOLLRDHUP`).

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
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
        // waits, with edge triggering: unread bytes do not wake it twice.
        let watched =
            socket.as_fd().try_clone_to_owned().and_then(|copy| AsyncFd::with_interest(copy, Interest::READABLE));
        let Ok(watched) = watched else {
            // Out of descriptors: the isolate's own limits still end it.
            return std::future::pending().await;
        };
        loop {
            if closed(&watched) {
                return;
            }
            match watched.readable().await {
                Ok(mut ready) => ready.clear_ready(),
                Err(_) => return std::future::pending().await,
            }
        }
    }
}

fn closed(socket: &AsyncFd<OwnedFd>) -> bool {
    let mut polled = [PollFd::new(socket.get_ref(), PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    rustix::event::poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().intersects(gone)
}
