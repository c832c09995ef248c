//! node.toml: what one node listens on, which workers and origins it has, and how they are reached.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::limits::LimitTable;
use super::worker::{Route, Worker};

/// One node's configuration, complete: every worker's eyot.toml has been read too.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where to listen for HTTP. At least one.
    pub listeners: Vec<Listener>,
    /// The operator's own listener: `/healthz`, `/readyz`, `/metrics`. `None`: there is none.
    pub admin: Option<Admin>,
    /// Where compiled components are kept. `None`: a folder of this user's cache.
    pub state: Option<PathBuf>,
    /// Whose `X-Forwarded-For` and `Forwarded` are believed. Empty: nobody's.
    pub trusted_proxies: Vec<IpNet>,
    /// The workers of this node, each with its limits resolved.
    pub workers: Vec<Worker>,
    /// The routes of node.toml. A worker's own routes are in [`Worker::routes`].
    pub routes: Vec<Route>,
    /// The origins that routes and workers name.
    pub origins: Vec<Origin>,
    /// The named ways to authenticate.
    pub auths: Vec<Auth>,
    /// Every limit: built in, then `--limits FILE`, then `[limits]` of node.toml.
    pub limits: LimitTable,
    /// Where traces go.
    pub telemetry: Telemetry,
}

/// One address to listen on.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Address and port; port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// TLS by this certificate and key, or plain text.
    pub tls: Option<ListenerTls>,
}

/// A certificate chain and its key, PEM.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    /// The chain, the node's own certificate first.
    pub certificate: PathBuf,
    /// The private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// The operator's listener.
#[derive(Clone, Debug)]
pub struct Admin {
    /// A loopback address.
    pub address: SocketAddr,
}

/// Traces and what identifies them.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    /// An OTLP/HTTP endpoint, such as `http://127.0.0.1:4318`. `None`: no spans are made.
    pub otlp_endpoint: Option<url::Url>,
    /// `service.name` of the resource; `eyot` if not given.
    pub service_name: Option<String>,
}

/// An upstream HTTP server that we were told about.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The name that routes and workers use; a guest reaches it as `http://NAME.origin.internal/`.
    pub name: String,
    /// Scheme, authority and a base path that is put before the request's path.
    pub url: url::Url,
    /// Send the client's `Host` on, in place of the origin's own authority.
    pub preserve_host: bool,
    /// Time to resolve, connect and shake hands.
    pub connect_timeout: Duration,
    /// Time from the request to the response head.
    pub first_byte_timeout: Duration,
    /// Time without a byte in the response body.
    pub idle_timeout: Duration,
    /// Prior-knowledge HTTP/2 over plain text. Over TLS, ALPN decides.
    pub http2: bool,
    /// Roots to trust in place of the system's, PEM. For private certificate authorities and tests.
    pub certificate_authority: Option<PathBuf>,
}

/// A named way to authenticate: which tokens are good.
#[derive(Clone, Debug)]
pub struct Auth {
    /// The name that routes and workers use.
    pub name: String,
    /// Where the token stands in a request.
    pub source: TokenSource,
    /// The keys; a token's `kid`, if it has one, must name one of them.
    pub keys: Vec<Key>,
    /// `iss` must be one of these. Empty: not looked at.
    pub issuers: Vec<String>,
    /// `aud` must hold one of these. Empty: a token that has an audience is refused (RFC 7519 §4.1.3).
    pub audiences: Vec<String>,
    /// Allowed difference of clocks for `exp` and `nbf`.
    pub leeway: Duration,
    /// Scopes (`scope`, RFC 8693 §4.2) that must all be there; otherwise 403.
    pub scopes: Vec<String>,
    /// The realm of the challenge.
    pub realm: String,
}

/// Where a token stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// `Authorization: Bearer …` (RFC 6750 §2.1).
    Header,
    /// A cookie of this name.
    Cookie(String),
}

/// A verification key, bound to one algorithm: the token never chooses (RFC 8725 §3.1).
#[derive(Clone, Debug)]
pub struct Key {
    /// What the key verifies.
    pub algorithm: Algorithm,
    /// A PEM public key, or the raw secret of HS256 (at least 32 bytes).
    pub file: PathBuf,
    /// The key's id, matched against `kid`.
    pub id: Option<String>,
}

/// The signature algorithms that we verify (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[allow(missing_docs)]
pub enum Algorithm {
    HS256,
    RS256,
    PS256,
    ES256,
    EdDSA,
}
