//! A client of TLS that says what it saw.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, CipherSuite, ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, RootCertStore,
    SignatureScheme, StreamOwned, SupportedProtocolVersion,
};

use super::certificates::{Authority, Issued};
use super::harness::PATIENCE;

/// Both versions, for claims that hold for both.
pub const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// A client, which keeps its sessions.
#[derive(Clone)]
pub struct Client {
    pub config: ClientConfig,
    seen: Arc<Seen>,
}

/// An open connection.
pub struct Connection(pub StreamOwned<ClientConnection, TcpStream>);

/// Verifies what it is shown against one authority, whatever its names are, and remembers the last response of OCSP.
#[derive(Debug)]
struct Seen {
    inner: Arc<WebPkiServerVerifier>,
    schemes: Option<Vec<SignatureScheme>>,
    ocsp: Mutex<Vec<u8>>,
}

impl Client {
    pub fn new(authority: &Authority, version: &'static SupportedProtocolVersion) -> Self {
        Self::trusting(authority.der(), version)
    }

    /// With a certificate of its own.
    pub fn proving(authority: &Authority, version: &'static SupportedProtocolVersion, own: &Issued) -> Self {
        Self::with(authority.der(), version, None, |_| true, Some(own))
    }

    /// One that takes signatures of these schemes only.
    pub fn of_schemes(
        authority: &Authority,
        version: &'static SupportedProtocolVersion,
        schemes: &[SignatureScheme],
    ) -> Self {
        Self::with(authority.der(), version, Some(schemes.to_vec()), |_| true, None)
    }

    /// One that offers these cipher suites only.
    pub fn of_suites(
        authority: &Authority,
        version: &'static SupportedProtocolVersion,
        offered: fn(CipherSuite) -> bool,
    ) -> Self {
        Self::with(authority.der(), version, None, offered, None)
    }

    /// One that trusts this root.
    pub fn trusting(root: CertificateDer<'static>, version: &'static SupportedProtocolVersion) -> Self {
        Self::with(root, version, None, |_| true, None)
    }

    fn with(
        root: CertificateDer<'static>,
        version: &'static SupportedProtocolVersion,
        schemes: Option<Vec<SignatureScheme>>,
        offered: fn(CipherSuite) -> bool,
        own: Option<&Issued>,
    ) -> Self {
        let mut provider = default_provider();
        provider.cipher_suites.retain(|suite| offered(suite.suite()));
        let provider: Arc<CryptoProvider> = Arc::new(provider);
        let mut roots = RootCertStore::empty();
        roots.add(root).expect("an authority");
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        let seen = Arc::new(Seen { inner: inner.expect("a verifier"), schemes, ocsp: Mutex::default() });
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]);
        let builder = builder.expect("a version").dangerous().with_custom_certificate_verifier(seen.clone());
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = vec![own.certificate.clone()];
                builder.with_client_auth_cert(chain, own.private_key()).expect("a certificate of its own")
            }
        };
        Self { config, seen }
    }

    /// One that keeps no sessions.
    pub fn forgetful(mut self) -> Self {
        self.config.resumption = Resumption::disabled();
        self
    }

    /// One that asks for these protocols.
    pub fn speaking(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// A handshake for this name, or for none.
    pub fn connect(&self, address: SocketAddr, name: Option<&str>) -> io::Result<Connection> {
        let mut config = self.config.clone();
        config.enable_sni = name.is_some();
        let server = ServerName::try_from(name.unwrap_or("nobody.test").to_owned()).expect("a name");
        let mut session = ClientConnection::new(Arc::new(config), server).map_err(io::Error::other)?;
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(Connection(StreamOwned::new(session, socket)))
    }

    /// One request on a connection of its own.
    pub fn ask(&self, address: SocketAddr, name: &str, head: &str) -> io::Result<(Connection, String)> {
        let mut connection = self.connect(address, Some(name))?;
        let answer = connection.ask(name, head)?;
        Ok((connection, answer))
    }

    /// What the node handed out about its certificate's state in the last full handshake.
    pub fn ocsp(&self) -> Vec<u8> {
        self.seen.ocsp.lock().expect("not poisoned").clone()
    }
}

impl Connection {
    /// The certificate that was shown, also if that was in an earlier handshake.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.0.conn.peer_certificates().expect("a certificate")[0].clone()
    }

    pub fn is_resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// GET, and the whole answer. `head` is a path, and may have more lines of a head after it.
    pub fn ask(&mut self, host: &str, head: &str) -> io::Result<String> {
        let (path, more) = head.split_once('\n').unwrap_or((head, ""));
        write!(self.0, "GET {path} HTTP/1.1\r\nhost: {host}\r\n{more}\r\n")?;
        self.0.flush()?;
        let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            let text = String::from_utf8_lossy(&answer).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.to_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                if length.is_some_and(|length: usize| body.len() >= length) || text.ends_with("\r\n0\r\n\r\n") {
                    return Ok(text);
                }
            }
            match self.0.read(&mut piece)? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)),
                read => answer.extend_from_slice(&piece[..read]),
            }
        }
    }
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.ocsp.lock().expect("not poisoned") = ocsp.to_vec();
        match self.inner.verify_server_cert(end, chain, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone().unwrap_or_else(|| self.inner.supported_verify_schemes())
    }
}
