//! HTTP out: to origins that the operator named, and to what a worker may ask besides.
//!
//! May import: `failure`, `http`, `config`, `observe`. The way in: [`Egress::forward`] for routes, [`Egress::fetch`] for workers.
//! Invariants:
//! - Egress is denied unless allowed. What is checked is what is dialled: the URL is read once, and each resolved address is judged
//!   (`guard.rs`) before that same address is connected to. The node's own listeners ([`Own`]) are behind no name.
//! - A connection that a worker's request rides on was opened under the same rules as its own: named origins, allow lists and open
//!   egress have pools of their own, and the allow list is asked for each request, before the pool.
//! - Nothing is buffered, no redirect is followed, nothing is decoded. Every wait has a bound.
//! - A response body ends cleanly only if the origin ended it. Trailers are held to the rules of headers.
//! - `eyot-*` fields pass in neither direction, except those that the caller of `forward` sets.

mod connect;
mod download;
mod exchange;
mod guard;
mod headers;
mod origin;
mod own;
mod policy;
mod pool;
mod resolve;
#[cfg(test)]
mod tests;
mod upload;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri};

pub use own::Own;
pub use policy::Policy;

use crate::config::{self, Diagnostics};
use crate::failure::Failure;
use crate::http::{Body, Client};
use connect::{Dial, Reach};
use exchange::{Head, Outgoing};
use origin::Origin;
use policy::Destination;
use pool::{Pool, Protocol};
use resolve::{Resolve, System};
use upload::Sender;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Name look-ups under way at once, for origins and for workers each, so that the ones cannot hold up the others.
const LOOKUPS: usize = 16;

/// How long an origin may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To resolve, connect and shake hands.
    pub connect: Duration,
    /// From the request to the response head.
    pub first_byte: Duration,
    /// Without a byte of the response body.
    pub idle: Duration,
}

impl Timeouts {
    /// No worker waits longer than this, whatever it asks for.
    pub const MAX: Self =
        Self { connect: Duration::from_secs(30), first_byte: Duration::from_secs(600), idle: Duration::from_secs(600) };

    /// Each time, but no longer than the limit's, and no shorter than a millisecond: a worker may ask for zero.
    #[must_use]
    pub fn within(self, limits: Self) -> Self {
        let held = |time: Duration, limit: Duration| time.min(limit).max(Duration::from_millis(1));
        Self {
            connect: held(self.connect, limits.connect),
            first_byte: held(self.first_byte, limits.first_byte),
            idle: held(self.idle, limits.idle),
        }
    }
}

/// What `forward` says about the client to an origin.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a> {
    /// The client: its address stands in `Forwarded`, and whether it came by TLS.
    pub client: &'a Client,
    /// The peer, if it is a proxy that node.toml trusts: what it wrote is kept, and it is added to the list. `None`: the client is
    /// the peer, and what it says about itself is replaced.
    pub trusted_proxy: Option<IpAddr>,
    /// Fields to set, `eyot-claims` among them.
    pub headers: &'a HeaderMap,
}

/// The way out of one core. Cheap to clone; the clones share their connections.
#[derive(Clone)]
pub struct Egress(Arc<Pools>);

struct Pools {
    origins: Vec<Origin>,
    /// For what workers reach by their allow lists: public addresses only.
    public: Pool,
    /// For workers whose egress is open.
    open: Pool,
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress").field("origins", &self.0.origins).finish_non_exhaustive()
    }
}

impl Egress {
    /// Makes the pools of one core. Nothing is resolved or connected before the first request.
    ///
    /// # Errors
    /// Every origin that cannot be used as it is written, together.
    pub fn new(origins: &[config::Origin], own: Own) -> Result<Self, Diagnostics> {
        Self::with_resolvers(origins, own, Arc::new(System::new(LOOKUPS)), Arc::new(System::new(LOOKUPS)))
    }

    fn with_resolvers(
        origins: &[config::Origin],
        own: Own,
        of_origins: Arc<dyn Resolve>,
        of_workers: Arc<dyn Resolve>,
    ) -> Result<Self, Diagnostics> {
        let dial =
            |reach, resolver: &Arc<dyn Resolve>| Dial { reach, own: own.clone(), resolver: Arc::clone(resolver) };
        let origins = origin::all(origins, &dial(Reach::Anywhere, &of_origins))?;
        let pool = |reach| {
            let dial = dial(reach, &of_workers);
            pool::pool(dial, pool::system_roots(), Protocol::Negotiated, Timeouts::MAX.connect)
                .map_err(origin::unusable)
        };
        Ok(Self(Arc::new(Pools { origins, public: pool(Reach::Public)?, open: pool(Reach::Anywhere)? })))
    }

    /// Sends a client's request on to an origin, as a proxy does (RFC 9110 §7.6), and its answer back.
    ///
    /// # Errors
    /// The origin's failures; and those of the client's body, which may carry a [`Failure`] as their error.
    pub async fn forward(
        &self,
        origin: &str,
        request: Request<Body>,
        forward: Forward<'_>,
    ) -> Result<Response<Body>, Failure> {
        let origin = self.origin(origin).ok_or_else(|| Failure::Internal(format!("no origin is named {origin}")))?;
        let (mut head, body) = request.into_parts();
        let host = asked_host(&head.uri, &head.headers);
        headers::strip_request(&mut head.headers);
        headers::set_forwarded(&mut head.headers, &forward, host.as_ref());
        headers::append_via(&mut head.headers, head.version);
        head.headers.extend(forward.headers.clone());
        let outgoing = origin.outgoing(head, host, body, Sender::Client)?;
        let mut response = exchange::send(&origin.pool, outgoing, origin.times).await?;
        if let Some(exchange::Received(version)) = response.extensions_mut().remove() {
            headers::append_via(response.headers_mut(), version);
        }
        Ok(response)
    }

    /// Sends a request of a worker's own: to one of its origins by `http://NAME.origin.internal/`, or to a host that its policy
    /// allows. Redirects are the worker's to follow, each by a request that is checked anew.
    pub fn fetch(
        &self,
        policy: &Arc<Policy>,
        request: Request<Body>,
        timeouts: Timeouts,
    ) -> impl Future<Output = Result<Response<Body>, Failure>> + Send + use<> {
        let (pools, policy) = (Arc::clone(&self.0), Arc::clone(policy));
        async move {
            let destination = policy.destination(request.uri())?;
            let (mut head, body) = request.into_parts();
            let host = asked_host(&Uri::default(), &head.headers);
            headers::strip_request(&mut head.headers);
            let mut response = match destination {
                Destination::Origin(name) => {
                    let origin = pools.origins.iter().find(|origin| origin.name == name).ok_or_else(|| {
                        Failure::EgressDenied(format!("node.toml has no origin {name}; add it under [origins]"))
                    })?;
                    let outgoing = origin.outgoing(head, host, body, Sender::Worker)?;
                    exchange::send(&origin.pool, outgoing, timeouts.within(origin.times)).await?
                }
                Destination::Host { scheme, authority } => {
                    refuse_connect(&head.method)?;
                    let path = head.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
                    let host = HeaderValue::from_str(authority.as_str());
                    let target = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
                    let (Ok(host), Ok(target)) = (host, target) else {
                        return Err(Failure::EgressDenied("the URL is not valid".to_owned()));
                    };
                    head.headers.insert(header::HOST, host);
                    let head = Head { method: head.method, target, headers: head.headers };
                    let outgoing = Outgoing { head, body, sender: Sender::Worker };
                    let pool = if policy.open { &pools.open } else { &pools.public };
                    exchange::send(pool, outgoing, timeouts.within(Timeouts::MAX)).await?
                }
            };
            response.extensions_mut().remove::<exchange::Received>();
            Ok(response)
        }
    }

    fn origin(&self, name: &str) -> Option<&Origin> {
        self.0.origins.iter().find(|origin| origin.name == name)
    }
}

/// The host that was asked for: the target's where it has one (RFC 9112 §3.2.2), without user information, else the field's.
fn asked_host(uri: &Uri, headers: &HeaderMap) -> Option<HeaderValue> {
    let authority = uri.authority().and_then(|authority| authority.as_str().rsplit('@').next());
    let asked = authority.and_then(|authority| HeaderValue::from_str(authority).ok());
    asked.or_else(|| headers.get(header::HOST).cloned())
}

/// A tunnel would carry what nobody looked at.
fn refuse_connect(method: &Method) -> Result<(), Failure> {
    if *method == Method::CONNECT { Err(Failure::BadRequest("CONNECT is not available")) } else { Ok(()) }
}
