//! From a socket to a request: listeners, TLS, HTTP/1.1, HTTP/2 and HTTP/3 connections, and their drain.
//!
//! May import: `failure`, `http`, `config`, `observe`.
//!
//! The way in: bind each address with [`Listening::bind`], start the threads with [`Cores::start`], hand them the addresses with
//! [`Cores::listen`]; requests come out at a [`Handle`]. [`Cores::drain`] ends it, [`Cores::part`] where another process goes on with
//! the same sockets; those that another process gave are in [`Given`].
//!
//! Invariants:
//! - No client can stop a listener: no error ends an accept loop, and nothing that a client does is awaited in one.
//! - Whatever a connection waits for has a deadline: a handshake, a first byte, a head, the next request, a client that reads.
//! - What costs a client nothing has a bound: connections of one address, and frames of HTTP/2 and HTTP/3 that bring nothing.
//! - A connection lives on one core from its first byte to its last, and so do the requests on it.
//! - Certificates are read again as a whole or not at all; handshakes that have begun end as they began.
//! - A handshake that answers an authority's challenge leads to no request.
//! - Whom a client's certificate names is known only after it was verified, also when a session is resumed.
//! - A connection holds its permit and its place until it is gone; both free themselves.
//! - hyper never writes a 500: a handler that has no answer drops the connection.

mod addresses;
mod alt_svc;
mod connection;
mod cores;
mod cut;
mod descriptors;
mod given;
mod glitches;
mod http1;
mod http2;
mod http3;
mod listener;
mod outbox;
mod phase;
mod pulse;
mod sniff;
mod socket;
mod tls;

#[cfg(test)]
pub(crate) mod tests;

use std::future::Future;
use std::sync::Arc;

use hyper::{Request, Response};

use crate::failure::Failure;
use crate::http::{Body, Client};

pub use cores::{Cores, available};
pub use descriptors::raise_descriptors;
pub use given::Given;
pub use listener::{ListenError, Listening};
pub use tls::{Answering, Challenges, Credentials, Known, Validity, load as load_tls};

/// What answers requests: the dispatcher, and the operator's own listener.
///
/// Each core has one value of its own, made on its thread; a clone is made for each request and should cost no more than a
/// reference count.
pub trait Handle: Clone + Send + Sync + 'static {
    /// Answers one request. Dropped, wherever it waits, when the client goes away before the response head.
    fn handle(
        &self,
        client: &Arc<Client>,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, Closed>> + Send;

    /// Hears of a request that was none: it was refused before anybody was asked, with a bare status on HTTP/1 and HTTP/3, or with an error
    /// of the connection on HTTP/2 and HTTP/3.
    fn refused(&self, client: &Client, failure: &Failure);

    /// Hears of a host that a client will probably ask for: its TLS handshake has named it.
    fn expected(&self, _: &str) {}

    /// Hears of a connection that was ended because of what its client did or did not do, by a name of a short list.
    fn cut(&self, why: &'static str);
}

/// There is nobody to answer: an HTTP/1 connection is closed without a word, and a stream of HTTP/2 or HTTP/3 reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("closed without an answer")]
pub struct Closed;

/// A limit as hyper wants it.
fn count(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}
