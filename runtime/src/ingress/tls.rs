//! TLS of a listener: which certificate a client is shown, what the two agree on, and what is known of the client afterwards.

mod certificate;
mod challenge;
mod clients;
mod files;
mod loaded;
mod names;
mod presented;
mod quic;
mod staple;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::Acceptor;
use rustls::{CipherSuite, ServerConnection};
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use super::socket::Socket;
use crate::config::{Diagnostic, Diagnostics, ListenerTls};
use crate::http::{ClientCertificate, Tls};
pub use challenge::{Answering, Challenges};
use loaded::Loaded;
use presented::Presented;

/// The ALPN name of HTTP/2 (RFC 9113 §3.1).
pub(super) const H2: &[u8] = b"h2";
/// That of HTTP/3 (RFC 9114 §3.1).
const H3: &[u8] = b"h3";

/// What a listener proves its names with. Clones share it: what is read anew holds for the next handshake of all.
#[derive(Clone, Debug)]
pub struct Credentials(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    files: ListenerTls,
    challenges: Challenges,
    loaded: ArcSwap<Loaded>,
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

/// From when until when a certificate is good, in Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its first second.
    pub not_before: i64,
    /// Its last one.
    pub not_after: i64,
}

/// What a finished handshake has brought.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) tls: Arc<Tls>,
    pub(super) certificate: Option<Arc<ClientCertificate>>,
}

/// Reads and checks all files of a listener. Every fault of all of them is reported.
///
/// # Errors
/// A file that cannot be read or holds nothing of use, a key that is not the certificate's, or two certificates for one name.
pub fn load(files: &ListenerTls, challenges: &Challenges) -> Result<Credentials, Diagnostics> {
    let loaded = ArcSwap::from_pointee(Loaded::read(files, None)?);
    Ok(Credentials(Arc::new(Shared { files: files.clone(), challenges: challenges.clone(), loaded })))
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

    /// Reads this ordered certificate, which is a new one, and nothing else. `None`: it is none of this listener's.
    ///
    /// # Errors
    /// It is of no use, or is for a name that another one is for.
    pub fn read_ordered(&self, file: &Path) -> Result<Option<Fresh>, Diagnostics> {
        let loaded = self.0.loaded.load().with_ordered(&self.0.files, file)?;
        Ok(loaded.map(|loaded| Fresh(Arc::clone(&self.0), Arc::new(loaded))))
    }

    /// Until when an ordered certificate is good that is in use.
    #[must_use]
    pub fn ordered(&self, file: &Path) -> Option<Validity> {
        let loaded = self.0.loaded.load();
        let facts = &loaded.presented.iter().find(|one| one.shown.file == file)?.shown.facts;
        Some(Validity { not_before: facts.not_before, not_after: facts.not_after })
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

    /// A handshake, with the certificate that the client's first message asks for. An authority that looks whether a name is ours gets
    /// its answer, and an error ends that connection: there is nothing else to be had on it.
    pub(super) async fn accept(
        &self,
        socket: Socket,
        expected: impl Fn(&str),
    ) -> io::Result<(TlsStream<Socket>, Agreed)> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
        let answer = self.0.challenges.find(&start.client_hello());
        if let Some(answer) = answer {
            return Err(challenge::answer(start, answer).await?);
        }
        let loaded = self.0.loaded.load_full();
        let Some(shown) = loaded.choose(&start.client_hello()) else { return Err(refuse(start).await?) };
        if let Some(host) = start.client_hello().server_name() {
            expected(host);
        }
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

/// Not the process-wide default: what a listener speaks does not depend on who was there first.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Tells the client that its name is none of ours yet. rustls would say that it may not have access.
async fn refuse(start: StartHandshake<Socket>) -> io::Result<io::Error> {
    // A fatal alert, `unrecognized_name` (RFC 8446 §6, RFC 6066 §3), in a record of its own.
    const UNRECOGNIZED: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
    let mut socket = start.io;
    socket.write_all(&UNRECOGNIZED).await?;
    socket.shutdown().await?;
    Ok(io::Error::other("there is no certificate yet for the name that was asked for"))
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
