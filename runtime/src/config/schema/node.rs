//! node.toml.

use schemars::JsonSchema;

use super::parts::{Addresses, Auth, File, Limits, Name, Pattern, SocketAddress, Strings, Time, Url};

/// A node: what it listens on, its workers and origins, and how they are reached.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
pub(super) struct Node {
    /// Where to listen for HTTP.
    #[schemars(length(min = 1))]
    listener: Vec<Listener>,
    /// The operator's own listener: health, readiness, metrics.
    admin: Option<Admin>,
    /// Where compiled components are kept. Without it: a folder of this user's cache.
    state: Option<File>,
    /// Where deployed workers are kept, and what is known of them. Without it: none can be deployed.
    store: Option<File>,
    /// Where `eyot backup` makes copies of the store. Without it: a folder beside the store, named like it with `-backups` behind.
    backups: Option<File>,
    /// The file with the key under which secrets of deployed workers are kept. Without it: EYOT_SECRETS_KEY of the environment.
    secrets_key: Option<File>,
    /// Who issues the certificates that listeners order (ACME).
    acme: Option<Acme>,
    /// Below which host versions are tried that do not serve: `7-shop.HOST` is version 7 of worker `shop`. Without it: nowhere.
    preview: Option<String>,
    /// Whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed. Without it: nobody's.
    trusted_proxies: Option<Vec<Addresses>>,
    /// The workers of this node.
    worker: Option<Vec<Worker>>,
    /// Host and path that lead to a worker, an origin, a redirect or a fixed answer.
    route: Option<Vec<Route>>,
    /// The upstream HTTP servers that routes and workers name.
    origin: Option<Vec<Origin>>,
    /// The named ways to authenticate.
    auth: Option<Vec<Auth>>,
    /// Limits in place of the built-in ones; `eyot limits` shows all of them.
    limits: Option<Limits<true>>,
    /// Where traces go.
    telemetry: Option<Telemetry>,
    /// The nodes that this one shares with what should run. Without it: none.
    fleet: Option<Fleet>,
    /// What keeps the messages of queues. Without it: this node's disk.
    queues: Option<Server>,
    /// What keeps workers' keys and values. Without it: this node's disk.
    kv: Option<KvServer>,
}

/// One address to listen on.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct Listener {
    /// With port 0 the kernel chooses one.
    address: SocketAddress,
    /// TLS by this certificate and key. Without it: plain text.
    tls: Option<ListenerTls>,
    /// Further certificates, each for the names that stand in it.
    certificate: Option<Vec<Certificate>>,
    /// HTTP/3 as well, on the port of UDP with the same number. Needs `tls`. Without it: no.
    http3: Option<bool>,
}

/// The first certificate, which clients get that name no host, or one that none is for; and what is asked of clients.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct ListenerTls {
    #[schemars(flatten)]
    first: Certificate,
    /// Who vouches for clients, PEM. Without it they are not asked for certificates.
    client_ca: Option<File>,
    /// Whether a client without a certificate is refused. Without it: required, where there is a `client_ca`.
    client_certificates: Option<ClientCertificates>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "it is described, not made")]
enum ClientCertificates {
    Required,
    Optional,
}

/// A certificate chain and what belongs to it: files, or one that is ordered.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct Certificate {
    /// The chain in PEM, the node's own certificate first. It goes with `key`.
    certificate: Option<File>,
    /// The private key in PEM: PKCS #8, PKCS #1 or SEC 1.
    key: Option<File>,
    /// What the issuer says of its state (OCSP) in DER, to be handed out with it.
    ocsp: Option<File>,
    /// In place of files: the hosts for which a certificate is ordered by `[acme]`.
    #[schemars(length(min = 1))]
    acme: Option<Vec<String>>,
}

/// Who issues certificates to this node, and who asks for them.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct Acme {
    /// The directory of the authority. Without it: that of Let's Encrypt.
    directory: Option<Url>,
    /// Roots to trust in place of the system's when it is asked, PEM.
    certificate_authority: Option<File>,
    /// Whom it writes to: `mailto:` URLs.
    contact: Option<Vec<String>>,
    /// That its terms of service were read, and are agreed to.
    terms_of_service: Terms,
    /// The customer that the account is for, where the authority has customers.
    external_account: Option<ExternalAccount>,
    /// What passes after an order that was refused, before the next; longer each time. Without it: 2m.
    retry: Option<Time>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "it is described, not made")]
enum Terms {
    Agreed,
}

/// A customer of an authority.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct ExternalAccount {
    /// The key identifier.
    id: String,
    /// The file with the MAC key, in base64url.
    key: File,
}

/// The operator's own listener.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct Admin {
    /// A loopback address.
    address: SocketAddress,
}

/// A worker of this node.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct Worker {
    /// The worker's folder, or its eyot.toml.
    path: File,
    /// A name in place of the one in its eyot.toml.
    name: Option<Name>,
    /// A component in place of the one that its eyot.toml names; it is not built.
    component: Option<File>,
}

/// Host, path and method, and where they lead.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct Route {
    #[schemars(flatten)]
    pattern: Pattern,
    /// To this worker.
    worker: Option<Name>,
    /// To this origin.
    origin: Option<Name>,
    /// To another place.
    redirect: Option<Redirect>,
    /// To a fixed answer.
    respond: Option<Respond>,
}

/// A redirect.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct Redirect {
    /// 301, 302, 303, 307 or 308.
    #[schemars(extend("enum" = [301, 302, 303, 307, 308]))]
    status: u16,
    /// A URL or an absolute path, with `{path}`, `{query}` and the parameters of the route's path.
    location: String,
}

/// A fixed answer.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct Respond {
    /// Without it: 200.
    #[schemars(range(min = 200, max = 599))]
    status: Option<u16>,
    /// Header fields.
    headers: Option<Strings>,
    /// The body.
    body: Option<String>,
}

/// An upstream HTTP server.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct Origin {
    /// The name that routes and workers use; a guest reaches it as `http://NAME.origin.internal/`.
    name: Name,
    /// Scheme, authority and a base path that is put before the request's path.
    url: Url,
    /// Send the client's `Host` on, in place of the origin's own authority.
    preserve_host: Option<bool>,
    /// Time to resolve, connect and shake hands. Without it: 1s.
    connect_timeout: Option<Time>,
    /// Time from the request to the response head. Without it: 30s.
    first_byte_timeout: Option<Time>,
    /// Time without a byte in the response body. Without it: 30s.
    idle_timeout: Option<Time>,
    /// How long a connection may wait for its next request. Without it: 4s.
    keepalive_idle: Option<Time>,
    /// Requests at once, in place of limit `origin_concurrency`.
    #[schemars(range(min = 1))]
    concurrency: Option<u64>,
    /// HTTP/2: by ALPN over TLS, by prior knowledge over plain text. Without it: HTTP/1.1.
    http2: Option<bool>,
    /// Roots to trust in place of the system's, PEM.
    certificate_authority: Option<File>,
}

/// Traces, and what identifies them.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct Telemetry {
    /// An OTLP/HTTP endpoint. Without it no spans are made.
    otlp_endpoint: Option<Url>,
    /// `service.name` of the resource. Without it: eyot.
    service_name: Option<String>,
    /// Which share of the traces that begin here is recorded. Without it: all.
    #[schemars(range(min = 0.0, max = 1.0))]
    sample: Option<f64>,
}

/// The nodes that share what should run, and the server on which they do.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct Fleet {
    /// How this node is called among them.
    name: Name,
    #[schemars(flatten)]
    server: Server,
}

/// A server that keeps what workers keep, for all nodes that name it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct Server {
    /// `sqlite:`, this node's disk; `nats://HOST:PORT`; for queues also `redis://HOST:PORT/NUMBER`.
    url: String,
    /// The file that says who the node is (NATS).
    credentials: Option<File>,
    /// Where each server tells that it writes before it acknowledges (NATS: its `http_port`).
    monitor: Option<Vec<Url>>,
    /// On how many servers of a cluster what is kept stands (NATS). Without it: one.
    #[schemars(range(min = 1, max = 5))]
    replicas: Option<u32>,
    /// Whether it may acknowledge what it has not written to its disk. Without it: no.
    allow_unsynced: Option<bool>,
}

/// The same for keys and values, which nodes may use for a while after they have read them.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described, not made")]
struct KvServer {
    #[schemars(flatten)]
    server: Server,
    /// For how long what was read is used without asking again; with 0s each read asks. Without it: 1s.
    staleness: Option<Time>,
}
