//! HTTP out: to origins that the operator named, and to what a worker may ask besides.
//!
//! May import: `failure`, `http`, `config`, `observe`. The way in: [`Egress::forward`] for routes, [`Egress::fetch`] for workers,
//! [`Direct`] for the node itself.
//! Invariants:
//! - Egress is denied unless allowed. What is checked is what is dialled: the URL is read once, and each resolved address is judged
//!   ([`is_public`](crate::http::is_public)) before that same address is connected to. The node's own listeners ([`Own`]) are behind no name.
//! - A connection that a worker's request rides on was opened under the same rules as its own: named origins, allow lists and open
//!   egress have pools of their own, and the allow list is asked for each request, before the pool.
//! - Nothing is buffered, no redirect is followed, nothing is decoded. Every wait has a bound.
//! - A response body ends cleanly only if the origin ended it. Trailers are held to the rules of headers.
//! - `eyot-*` fields pass in neither direction, except those that the caller of `forward` sets.

mod connect;
mod direct;
mod download;
mod exchange;
mod forwarded;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod headers;
mod hops;
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

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri};

pub use direct::Direct;
pub use hops::Passed;
pub use own::Own;
pub use policy::{Policy, WORKERS, worker_at, worker_of};
pub use pool::read_roots_ahead;

use crate::config::{self, Diagnostics, NodeLimits};
use crate::failure::Failure;
use crate::http::{Body, Client, Gate};
use crate::observe::id::X_REQUEST_ID;
use crate::observe::{RequestId, Trace};
use connect::{Dial, Reach};
use exchange::{Head, Outgoing};
use origin::Origin;
use policy::Destination;
use pool::{Pool, Protocol, Roots};
use resolve::{PLACES, Resolve, System};
use upload::Sender;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Name look-ups under way at once, for origins and for workers each, so that the ones cannot hold up the others.
const LOOKUPS: usize = 16;
/// How long a connection to a host that a worker named may wait for its next request. Node.js, Apache and uvicorn close theirs
/// after 5 s; it is better that we do, because a request that meets a closing connection may be lost.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(4);

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
#[derive(Clone, Debug)]
pub struct Forward<'a> {
    /// The client: its address stands in `Forwarded`, and whether it came by TLS.
    pub client: &'a Client,
    /// The peer, if it is a proxy that node.toml trusts: what it wrote is kept, and it is added to the list. `None`: the client is
    /// the peer, and what it says about itself is replaced.
    pub trusted_proxy: Option<IpAddr>,
    /// The id of the request.
    pub request_id: &'a RequestId,
    /// The trace, with a span of its own for this.
    pub trace: &'a Trace,
    /// Who it is, where the route demanded a token: a field of ours.
    pub claims: Option<(HeaderName, HeaderValue)>,
    /// The nodes that it has passed.
    pub passed: &'a Passed,
}

/// A request of a worker's own.
pub struct Subrequest {
    /// What it asks.
    pub request: Request<Body>,
    /// How long it would wait.
    pub timeouts: Timeouts,
    /// The trace, with a span of its own for this.
    pub trace: Trace,
    /// The nodes that the request has passed which the worker answers.
    pub passed: Passed,
}

/// One of the origins of node.toml, the same on every core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginId(usize);

impl OriginId {
    /// The origin of this name among those that the ways out are made for.
    #[must_use]
    pub fn find(origins: &[config::Origin], name: &str) -> Option<Self> {
        origins.iter().position(|origin| origin.name == name).map(Self)
    }
}

/// The way out of one core. Cheap to clone; the clones share their connections.
#[derive(Clone)]
pub struct Egress(Arc<Pools>);

struct Pools {
    own: Own,
    origins: Vec<Origin>,
    /// For what workers reach by their allow lists: public addresses only.
    public: Pool,
    /// For workers whose egress is open.
    open: Pool,
}

impl Pools {
    fn origin(&self, name: &str) -> Option<&Origin> {
        self.origins.iter().find(|origin| origin.name == name)
    }
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress").field("origins", &self.0.origins).finish_non_exhaustive()
    }
}

impl Egress {
    /// One way out for each core. Connections are each core's own; how many requests an origin may have is counted for all cores
    /// together. Nothing is resolved or connected before the first request.
    ///
    /// # Errors
    /// Every origin that cannot be used as it is written, together.
    pub fn for_cores(
        cores: usize,
        origins: &[config::Origin],
        own: &Own,
        limits: &NodeLimits,
    ) -> Result<Vec<Self>, Diagnostics> {
        let gates = origin::gates(origins, limits);
        let resolver = || -> Arc<dyn Resolve> { Arc::new(System::new(LOOKUPS)) };
        (0..cores).map(|_| Self::with(origins, &gates, own, limits, [resolver(), resolver()])).collect()
    }

    /// The resolvers are those of origins and of workers.
    fn with(
        origins: &[config::Origin],
        gates: &[Arc<Gate>],
        own: &Own,
        limits: &NodeLimits,
        [of_origins, of_workers]: [Arc<dyn Resolve>; 2],
    ) -> Result<Self, Diagnostics> {
        let dial =
            |reach, resolver: &Arc<dyn Resolve>| Dial { reach, own: own.clone(), resolver: Arc::clone(resolver) };
        let origins = origin::all(origins, gates, limits, &dial(Reach::Anywhere, &of_origins))?;
        let pool = |reach| {
            let times = pool::Times { connect: Timeouts::MAX.connect, idle: KEEPALIVE_IDLE };
            pool::pool(dial(reach, &of_workers), Roots::System, Protocol::Http1, times)
        };
        let (public, open) = (pool(Reach::Public), pool(Reach::Anywhere));
        Ok(Self(Arc::new(Pools { own: own.clone(), origins, public, open })))
    }

    /// What a request that arrived with these fields passes on when it, or what it leads to, leaves this node.
    ///
    /// # Errors
    /// When it has left this node `limit` times already.
    pub fn pass(&self, headers: &HeaderMap, limit: u64) -> Result<Passed, Failure> {
        self.0.own.sign(headers, limit)
    }

    /// Sends a client's request on to an origin, as a proxy does (RFC 9110 §7.6), and its answer back.
    ///
    /// # Errors
    /// The origin's failures; overload; and those of the client's body, which may carry a [`Failure`] as their error.
    pub async fn forward(
        &self,
        origin: OriginId,
        request: Request<Body>,
        forward: Forward<'_>,
    ) -> Result<Response<Body>, Failure> {
        let (mut head, body) = request.into_parts();
        let host = asked_host(&head.uri, &head.headers);
        let headers = &mut head.headers;
        headers::strip_request(headers);
        forwarded::set(headers, &forward, host.as_ref());
        forwarded::append_via(headers, head.version);
        // After the client's `Connection` has had its say about the client's fields: these are the node's.
        headers.insert(X_REQUEST_ID.clone(), forward.request_id.header_value());
        forward.trace.inject(headers);
        forward.passed.set(headers);
        headers.extend(forward.claims);
        let sent = self.0.origins[origin.0].send(head, host, body, Sender::Client, None);
        let mut response = sent.await?;
        if let Some(exchange::Received(version)) = response.extensions_mut().remove() {
            forwarded::append_via(response.headers_mut(), version);
        }
        Ok(response)
    }

    /// Sends a request of a worker's own: to one of its origins by `http://NAME.origin.internal/`, or to a host that its policy
    /// allows. Redirects are the worker's to follow, each by a request that is checked anew.
    pub fn fetch(
        &self,
        policy: &Arc<Policy>,
        subrequest: Subrequest,
    ) -> impl Future<Output = Result<Response<Body>, Failure>> + Send + use<> {
        let (pools, policy) = (Arc::clone(&self.0), Arc::clone(policy));
        PLACES.scope(Arc::clone(&policy.lookups), async move {
            let Subrequest { request, timeouts, trace, passed } = subrequest;
            let destination = policy.destination(request.uri())?;
            let (mut head, body) = request.into_parts();
            let host = asked_host(&Uri::default(), &head.headers);
            headers::strip_request(&mut head.headers);
            trace.inject(&mut head.headers);
            passed.set(&mut head.headers);
            let mut response = match destination {
                Destination::Origin(name) => {
                    let origin = pools.origin(&name).ok_or_else(|| gone(&name))?;
                    origin.send(head, host, body, Sender::Worker, Some(timeouts)).await?
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
                    headers::name_te(&mut head.headers);
                    let head = Head { method: head.method, target, headers: head.headers };
                    let outgoing = Outgoing { head, body, sender: Sender::Worker, permit: None };
                    let pool = if policy.open { &pools.open } else { &pools.public };
                    exchange::send(pool, outgoing, timeouts.within(Timeouts::MAX)).await?
                }
            };
            response.extensions_mut().remove::<exchange::Received>();
            Ok(response)
        })
    }

    /// The URL of a path of an origin, as it is asked for there.
    #[must_use]
    pub fn origin_url(&self, origin: OriginId, path: &str) -> Option<String> {
        self.0.origins.get(origin.0).map(|origin| origin.url(path))
    }

    /// The URL that a worker's request goes to, without its query: of an origin, its own in place of the name that workers use.
    #[must_use]
    pub fn url(&self, asked: &Uri) -> Option<String> {
        let host = asked.host()?;
        let origin = host
            .strip_suffix(policy::ORIGINS)
            .and_then(|name| self.0.origin(name))
            .map(|origin| origin.url(asked.path()));
        let own = || {
            let port = asked.port().map(|port| format!(":{port}")).unwrap_or_default();
            Some(format!("{}://{host}{port}{}", asked.scheme_str()?, asked.path()))
        };
        origin.or_else(own)
    }
}

/// The host that was asked for: the target's where it has one (RFC 9112 §3.2.2), without user information, else the field's.
fn asked_host(uri: &Uri, headers: &HeaderMap) -> Option<HeaderValue> {
    let authority = uri.authority().and_then(|authority| authority.as_str().rsplit('@').next());
    let asked = authority.and_then(|authority| HeaderValue::from_str(authority).ok());
    asked.or_else(|| headers.get(header::HOST).cloned())
}

fn gone(name: &str) -> Failure {
    Failure::EgressDenied(format!("node.toml has no origin {name}"))
}

/// A tunnel would carry what nobody looked at.
fn refuse_connect(method: &Method) -> Result<(), Failure> {
    if *method == Method::CONNECT { Err(Failure::BadRequest("CONNECT is not available")) } else { Ok(()) }
}
