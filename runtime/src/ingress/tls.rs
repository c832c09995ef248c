//! TLS of a listener: which certificate a client is shown, what the two agree on, and what is known of the client afterwards.

mod certificate;
mod clients;
mod files;
mod names;
mod presented;
mod quic;
mod staple;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::{Acceptor, ClientHello, ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use rustls::{CipherSuite, ServerConfig, ServerConnection};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::socket::Socket;
use crate::config::{Diagnostic, Diagnostics, ListenerTls, Place};
use crate::http::{ClientCertificate, Tls};
use clients::Clients;
use names::{Clash, Names};
use presented::{Presented, Shown};

/// The ALPN name of HTTP/2 (RFC 9113 §3.1).
pub(super) const H2: &[u8] = b"h2";
/// That of HTTP/3 (RFC 9114 §3.1).
const H3: &[u8] = b"h3";

/// So many sessions of clients that take no tickets are remembered, the newest; with client certificates in them that is 4 MiB.
const SESSIONS: usize = 1024;

/// What a listener proves its names with. Clones share it: what is read anew holds for the next handshake of all.
#[derive(Clone, Debug)]
pub struct Credentials(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    files: ListenerTls,
    loaded: ArcSwap<Loaded>,
}

/// All that was read, complete.
#[derive(Debug)]
struct Loaded {
    /// In the order of the configuration.
    presented: Vec<Presented>,
    names: Names,
    clients: Option<Clients>,
    resumption: Resumption,
    warnings: Vec<Diagnostic>,
}

/// Files that were read again and found good; nothing uses them yet.
#[derive(Debug)]
#[must_use = "the old ones are used until `serve` is called"]
pub struct Fresh(Arc<Shared>, Arc<Loaded>);

/// What is told of a certificate that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its first name.
    pub name: String,
    /// Where it was read.
    pub file: PathBuf,
    /// Its last second, in Unix time.
    pub not_after: i64,
}

/// What a finished handshake has brought.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) tls: Arc<Tls>,
    pub(super) certificate: Option<Arc<ClientCertificate>>,
}

/// What sessions are resumed by. It outlives the certificates: a client that comes again need not notice that they are new ones.
#[derive(Clone, Debug)]
struct Resumption {
    /// For clients that keep a session themselves: its keys are new every six hours, and good for twelve.
    tickets: Arc<dyn ProducesTickets>,
    /// For clients of TLS 1.2 that do not.
    sessions: Arc<dyn StoresServerSessions>,
}

/// Reads and checks all files of a listener. Every fault of all of them is reported.
///
/// # Errors
/// A file that cannot be read or holds nothing of use, a key that is not the certificate's, or two certificates for one name.
pub fn load(files: &ListenerTls) -> Result<Credentials, Diagnostics> {
    let loaded = ArcSwap::from_pointee(Loaded::read(files, None)?);
    Ok(Credentials(Arc::new(Shared { files: files.clone(), loaded })))
}

impl Credentials {
    /// Reads the same files once more. What is in use stays in use, until [`Fresh::serve`].
    ///
    /// # Errors
    /// As [`load`].
    pub fn read_again(&self) -> Result<Fresh, Diagnostics> {
        let loaded = Loaded::read(&self.0.files, Some(&self.0.loaded.load()))?;
        Ok(Fresh(Arc::clone(&self.0), Arc::new(loaded)))
    }

    /// The certificates in use.
    #[must_use]
    pub fn known(&self) -> Vec<Known> {
        self.0.loaded.load().presented.iter().map(Presented::known).collect()
    }

    /// What is odd about them, and no reason not to start.
    #[must_use]
    pub fn warnings(&self) -> Vec<Diagnostic> {
        self.0.loaded.load().warnings.clone()
    }

    /// A handshake, with the certificate that the client's first message asks for.
    pub(super) async fn accept(&self, socket: Socket) -> io::Result<(TlsStream<Socket>, Agreed)> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
        let loaded = self.0.loaded.load_full();
        let shown = loaded.choose(&start.client_hello());
        let stream = start.into_stream(Arc::clone(&shown.config)).await?;
        let connection = stream.get_ref().1;
        let certificate = match &loaded.clients {
            Some(clients) => clients.identity(connection)?,
            None => None,
        };
        let agreed = Agreed { tls: Arc::new(agreed(connection, shown)), certificate };
        Ok((stream, agreed))
    }
}

impl Fresh {
    /// From now on handshakes use these. Those that have begun end as they began.
    pub fn serve(self) {
        self.0.loaded.store(self.1);
    }
}

impl Loaded {
    fn read(files: &ListenerTls, before: Option<&Self>) -> Result<Self, Diagnostics> {
        // Not the process-wide default provider: what a listener speaks does not depend on who was there first.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut faults = Vec::new();
        let clients = files.clients.as_ref().map(|clients| Clients::read(clients, &provider)).transpose();
        let clients = clients.map_err(|fault| faults.push(fault)).ok().flatten();
        let mut shown = Vec::new();
        for one in &files.certificates {
            match Shown::read(one, &provider) {
                Ok(read) => shown.push(read),
                Err(Diagnostics(more)) => faults.extend(more),
            }
        }
        let (names, clashes) = Names::of(shown.iter().map(|one| (&*one.facts.names, one.algorithm())));
        faults.extend(clashes.iter().map(|clash| twice(&shown, clash)));
        if !faults.is_empty() {
            return Err(Diagnostics(faults));
        }
        let now = certificate::now();
        let mut warnings: Vec<_> = shown.iter().flat_map(|one| one.warnings(now)).collect();
        warnings.extend(clients.iter().flat_map(|clients| clients.warnings(now)));
        warnings.extend(shown.iter().skip(1).filter(|one| one.facts.names.is_empty()).map(Shown::nameless));
        let resumption = Resumption::after(before, clients.as_ref())?;
        let config = |shown: &Shown| server_config(&provider, clients.as_ref(), &resumption, shown);
        let presented = shown.into_iter().map(|one| Ok(Presented { config: config(&one)?, shown: one }));
        let presented = presented.collect::<Result<Vec<_>, rustls::Error>>().map_err(|error| unfit(files, &error))?;
        Ok(Self { presented, names, clients, resumption, warnings })
    }

    fn choose(&self, hello: &ClientHello<'_>) -> &Presented {
        let named = hello.server_name().map(str::to_ascii_lowercase);
        let candidates = self.names.candidates(named.as_deref());
        let usable = candidates.iter().find(|index| self.presented[**index].suits(hello));
        // Where none is usable, rustls finds the words for that.
        &self.presented[usable.or(candidates.first()).copied().unwrap_or(0)]
    }
}

impl Resumption {
    /// Who was let in by one authority is not let in by what another has become: with other authorities, everybody begins anew.
    fn after(before: Option<&Loaded>, clients: Option<&Clients>) -> Result<Self, Diagnostic> {
        if let Some(before) = before
            && before.clients.as_ref().map(Clients::authorities) == clients.map(Clients::authorities)
        {
            return Ok(before.resumption.clone());
        }
        let tickets = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| {
            let message = format!("cannot make keys for TLS sessions: {error}");
            Diagnostic::new(Place::default(), message, "this is not a fault of your input")
        })?;
        Ok(Self { tickets, sessions: ServerSessionMemoryCache::new(SESSIONS) })
    }
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    clients: Option<&Clients>,
    resumption: &Resumption,
    shown: &Shown,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients.verifier()),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(shown.resolver()));
    config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    config.ticketer = Arc::clone(&resumption.tickets);
    config.session_storage = Arc::clone(&resumption.sessions);
    Ok(Arc::new(config))
}

fn agreed(connection: &ServerConnection, presented: &Presented) -> Tls {
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    };
    let cipher = connection.negotiated_cipher_suite().map(|suite| iana(suite.suite())).unwrap_or_default();
    let server_name = connection.server_name().map(str::to_ascii_lowercase);
    Tls { version, cipher, server_name, certificate: Arc::clone(&presented.shown.certificate) }
}

/// The name of a cipher suite: rustls calls those of TLS 1.3 `TLS13_…`, IANA `TLS_…`.
fn iana(suite: CipherSuite) -> String {
    format!("{suite:?}").replacen("TLS13_", "TLS_", 1)
}

fn twice(shown: &[Shown], clash: &Clash) -> Diagnostic {
    let (first, second) = (&shown[clash.first], &shown[clash.second]);
    let name = &clash.name;
    let key = format!("{:?}", second.algorithm());
    let first = first.file.display();
    files::fault(
        &second.file,
        &format!("`{name}` is a name of this certificate and of {first}, and the keys of both are {key}"),
        "leave one of them out: certificates for one name need keys of different types, such as RSA and ECDSA",
    )
}

fn unfit(files: &ListenerTls, error: &rustls::Error) -> Diagnostic {
    let message = format!("TLS cannot be set up with these certificates: {error}");
    let first = files.certificates.first().map(|first| Place::file(&first.certificate));
    Diagnostic::new(first.unwrap_or_default(), message, "give an X.509 certificate with an RSA, ECDSA or Ed25519 key")
}
