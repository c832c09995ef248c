//! Pools of connections: one for each named origin, one for what workers reach by their allow lists, one for open egress.
//!
//! A connection is found again by scheme and authority alone, so what was allowed to be dialled must be the same for everyone
//! who shares a pool.

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use hyper_rustls::{DefaultServerNameResolver, HttpsConnector};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioTimer;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::connect::{Connector, Dial};
use crate::http::Body;
use crate::observe;

/// How many connections of one authority may wait.
const MOST_IDLE: usize = 64;
/// An HTTP/1.1 response head; also what is read and written at a time.
const HEAD_BYTES: usize = 64 * 1024;
/// An HTTP/2 header list. HTTP/1.1 is held to hyper's 100 fields, which it parses without allocating.
const HEADER_LIST_BYTES: u32 = 64 * 1024;
/// What an HTTP/2 origin may send ahead of a reader that stands still.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The largest window that there is (RFC 9113 §6.9.1).
const LARGEST_WINDOW: u64 = (1 << 31) - 1;
/// When a silent HTTP/2 connection is asked whether it lives, and how long it has to answer.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The pooled client of hyper-util, over our own connector.
pub(super) type Pool = Client<Connector, Body>;

/// What is spoken on a pool's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1, a connection for each request that is under way: none waits for another.
    Http1,
    /// HTTP/2, by ALPN (RFC 7301) or, over plain text, by prior knowledge (RFC 9113 §3.3). All requests of a core share one
    /// connection, so its window holds the windows of all of them: a client that does not read its response stops no other.
    Http2 {
        /// How many there may be at once.
        streams: u64,
    },
}

/// The times of a pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// To resolve, connect and shake hands, each time.
    pub(super) connect: Duration,
    /// How long a connection may wait for its next request.
    pub(super) idle: Duration,
}

/// Makes a pool.
///
/// `retry_canceled_requests` stays on, hyper-util's default: it takes a request back that was not begun because the pooled
/// connection it was meant for had closed, and gives it to another one. Not a byte was sent, so that is safe for any request.
/// What was sent and met a closing connection is decided in [`super::exchange`].
pub(super) fn pool(dial: Dial, roots: Roots, protocol: Protocol, times: Times) -> Pool {
    let streams = match protocol {
        Protocol::Http1 => None,
        Protocol::Http2 { streams } => Some(streams),
    };
    let window = streams.unwrap_or(1).saturating_mul(u64::from(STREAM_WINDOW)).min(LARGEST_WINDOW);
    let tls = Arc::new(Tls { roots, protocol, config: OnceLock::new() });
    Client::builder(Tasks)
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(times.idle)
        .pool_max_idle_per_host(MOST_IDLE)
        .http1_max_buf_size(HEAD_BYTES)
        .http2_only(streams.is_some())
        .http2_max_header_list_size(HEADER_LIST_BYTES)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(u32::try_from(window).unwrap_or(STREAM_WINDOW))
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        // Host is set by `headers`, always.
        .set_host(false)
        .build(Connector { dial, tls, timeout: times.connect })
}

/// Whom a pool trusts.
#[derive(Clone, Debug)]
pub(super) enum Roots {
    /// Whoever the system trusts.
    System,
    /// These alone.
    Of(Arc<RootCertStore>),
}

/// TLS as a pool's connections speak it. Made for the first of them: the system has hundreds of roots, which take longer to read than
/// all else that a start does, and many nodes ask nobody by TLS.
#[derive(Debug)]
pub(super) struct Tls {
    roots: Roots,
    protocol: Protocol,
    config: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Tls {
    /// Opens a connection with it.
    pub(super) fn over(&self, dial: Dial) -> Result<HttpsConnector<Dial>, String> {
        let make = || {
            let roots = match &self.roots {
                Roots::System => system_roots(),
                Roots::Of(roots) => Arc::clone(roots),
            };
            client_config(roots, self.protocol).map(Arc::new)
        };
        let config = Arc::clone(self.config.get_or_init(make).as_ref().map_err(String::clone)?);
        Ok(HttpsConnector::new(dial, config, false, Arc::new(DefaultServerNameResolver::default())))
    }
}

/// Reads the system's roots in a thread of its own, after whatever else a start does: they are a few hundred files. Only a request by TLS
/// that comes before has to wait for them on its core.
pub fn read_roots_ahead() {
    // Where there can be no thread, the first request by TLS waits.
    let _ = thread::Builder::new().name("eyot-roots".to_owned()).spawn(|| {
        // A thread has a niceness of its own on Linux.
        let _ = rustix::process::setpriority_process(None, NICE);
        thread::park_timeout(SETTLED);
        system_roots()
    });
}

/// A tenth of a core that others want.
const NICE: i32 = 10;

/// A start is over by then.
const SETTLED: Duration = Duration::from_millis(200);

fn client_config(roots: Arc<RootCertStore>, protocol: Protocol) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = match protocol {
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 { .. } => vec![b"h2".to_vec()],
    };
    Ok(tls)
}

/// The system's trusted roots, read once for all cores. Certificates that rustls cannot read are left out.
pub(super) fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    Arc::clone(roots)
}

/// The roots of one PEM file. Each of its certificates must be good: an operator who trusts one means it.
pub(super) fn roots_of(file: &Path) -> Result<Arc<RootCertStore>, String> {
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(Arc::new(roots)) }
}

/// Where hyper's connections run: on the core that opened them.
#[derive(Clone, Copy, Debug)]
struct Tasks;

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        observe::spawn("origin connection", future);
    }
}
