//! HTTP/3 (RFC 9114): QUIC by quinn, requests by h3, and what neither of them bounds.
//!
//! A listener with `http3` has a UDP socket beside that of TCP, with the same address, port and certificates. A connection of QUIC takes
//! a permit and a place of its address, and lives on one core, as one of TCP does.
//!
//! Invariants:
//! - h3 keeps of what a client sends one head, or one piece of content, for each stream, and of heads that do not end a few for a
//!   connection: it sees only whole frames, and none that is longer than a head may be (`frames`).
//! - What brings nothing costs the connection of a budget, as on HTTP/2 (`watch`).
//! - A response that does not come to its end never ends as if it did: who drops a stream resets it (`streams`).
//! - A client's address is validated before it can take the node's room for handshakes (`listener`).

mod body;
mod connection;
mod date;
mod fields;
mod frames;
mod listener;
mod quic;
mod request;
mod streams;
mod transport;
mod watch;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use h3::error::ConnectionError;

use super::connection::End;
use crate::failure::Failure;

pub(super) use connection::{Offered, serve};
pub(super) use listener::{Datagrams, listen};

/// A handshake that is under way, for as long as it is.
#[derive(Debug)]
struct Pending(Arc<AtomicUsize>);

impl Pending {
    fn of(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// How a connection has ended, by what h3 says of it: of what the client did wrong, the client has been told.
fn ends_of(error: &ConnectionError) -> End {
    match error {
        error if error.is_h3_no_error() => End::Done,
        ConnectionError::Local { .. } => End::Refused(Failure::BadRequest("this is not HTTP/3")),
        error => End::Lost(io::Error::other(error.to_string())),
    }
}
