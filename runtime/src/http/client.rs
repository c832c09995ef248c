//! Who is at the other end of a connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;

/// The other end of one connection: made once when it is accepted, shared by its requests.
#[derive(Clone, Debug)]
pub struct Client {
    /// The peer's address, or the one that a trusted proxy vouches for.
    pub address: SocketAddr,
    /// The address of ours that it connected to.
    pub local: SocketAddr,
    /// What TLS agreed on; `None` for plain text.
    pub tls: Option<Arc<Tls>>,
    /// Its own certificate, once the node has verified it. A proxy's is never that of whom the proxy names.
    pub certificate: Option<Arc<ClientCertificate>>,
}

/// What a client has proven with a certificate of an authority that the listener trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The distinguished name of its subject as RFC 4514 writes it; may be empty.
    pub subject: String,
    /// Its alternative names (RFC 5280 §4.2.1.6), in their order; of kinds besides these there is no mention.
    pub names: Vec<AlternativeName>,
    /// Its serial number, which is unique to its issuer: hexadecimal, lower case, two digits for each byte.
    pub serial: String,
    /// SHA-256 of the certificate: hexadecimal, lower case.
    pub fingerprint: String,
}

/// One name of a certificate, as it stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlternativeName {
    /// A name of a host.
    Dns(String),
    /// A mailbox.
    Email(String),
    /// A URI, such as a SPIFFE id.
    Uri(String),
    /// An address.
    Ip(IpAddr),
}

/// What a TLS handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The IANA name of the cipher suite.
    pub cipher: String,
    /// The name that the client asked for (SNI, RFC 6066 §3), in lower case.
    pub server_name: Option<String>,
    /// Our certificate, as the client saw it.
    pub certificate: Arc<CertificateDer<'static>>,
}

impl Tls {
    /// Whether the client may ask for this host (in canonical form) here: the one that it named in the handshake, or another one of the
    /// certificate. A client that named none may ask for any.
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        let Some(named) = &self.server_name else { return true };
        named == host || self.certifies(host)
    }

    /// Looked at only when a client asks for more than one host, so it is not worth keeping.
    fn certifies(&self, host: &str) -> bool {
        let Ok(name) = ServerName::try_from(host.trim_matches(['[', ']'])) else { return false };
        let certificate = ParsedCertificate::try_from(&*self.certificate);
        certificate.is_ok_and(|certificate| verify_server_name(&certificate, &name).is_ok())
    }
}

impl Client {
    /// `https` behind TLS, else `http`.
    #[must_use]
    pub fn scheme(&self) -> http::uri::Scheme {
        if self.tls.is_some() { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP }
    }
}
