//! TLS within QUIC (RFC 9001): the same certificates and the same clients, TLS 1.3 alone, and nothing before the handshake is over.

use std::any::Any;
use std::io;
use std::sync::{Arc, OnceLock};

use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{Agreed, Credentials, H3, Loaded};
use crate::http::Tls;

/// What one handshake goes by: made for it, because quinn has no word between the client's first message and ours.
#[derive(Debug)]
pub(in crate::ingress) struct Handshake(Arc<Choosing>);

/// Chooses as a handshake over TCP does, and keeps in mind what.
#[derive(Debug)]
struct Choosing {
    loaded: Arc<Loaded>,
    chosen: OnceLock<Chosen>,
}

#[derive(Debug)]
struct Chosen {
    certificate: Arc<CertificateDer<'static>>,
    cipher: String,
}

impl Credentials {
    /// A handshake of QUIC, by the certificates of this moment.
    pub(in crate::ingress) fn quic(&self) -> io::Result<(Handshake, Arc<QuicServerConfig>)> {
        let loaded = self.0.loaded.load_full();
        let builder =
            ServerConfig::builder_with_provider(super::provider()).with_protocol_versions(&[&rustls::version::TLS13]);
        let builder = match (builder.map_err(io::Error::other)?, &loaded.clients) {
            (builder, Some(clients)) => builder.with_client_cert_verifier(clients.verifier()),
            (builder, None) => builder.with_no_client_auth(),
        };
        let tickets = Arc::clone(&loaded.resumption.tickets);
        let choosing = Arc::new(Choosing { loaded, chosen: OnceLock::new() });
        let mut config = builder.with_cert_resolver(Arc::clone(&choosing) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![H3.to_vec()];
        // What comes before the end of a handshake (0-RTT) could be sent again by anybody; it is off where nothing is said.
        config.ticketer = tickets;
        let config = QuicServerConfig::try_from(config).map_err(io::Error::other)?;
        Ok((Handshake(choosing), Arc::new(config)))
    }
}

impl Handshake {
    /// What it has brought.
    pub(in crate::ingress) fn agreed(self, connection: &quinn::Connection) -> io::Result<Agreed> {
        let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        let (Some(data), Some(chosen)) = (data, self.0.chosen.get()) else {
            return Err(io::Error::other("a handshake without its data"));
        };
        let certificate = match &self.0.loaded.clients {
            // Whether its session was resumed is not known, so each is verified here once more.
            Some(clients) => clients.identity_of(shown(connection.peer_identity()).as_deref(), true)?,
            None => None,
        };
        let tls = Arc::new(Tls {
            version: "TLSv1.3",
            cipher: chosen.cipher.clone(),
            server_name: data.server_name.as_deref().map(str::to_ascii_lowercase),
            certificate: Arc::clone(&chosen.certificate),
        });
        Ok(Agreed { tls, certificate })
    }
}

fn shown(identity: Option<Box<dyn Any>>) -> Option<Vec<CertificateDer<'static>>> {
    identity?.downcast().ok().map(|shown| *shown)
}

impl ResolvesServerCert for Choosing {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let presented = self.loaded.choose(&hello)?;
        // rustls takes the first of the client's that it knows, and does not tell which.
        let suites = &presented.config.crypto_provider().cipher_suites;
        let known = |suite| suites.iter().filter_map(|own| own.tls13()).any(|own| own.common.suite == suite);
        let cipher = hello.cipher_suites().iter().copied().find(|suite| known(*suite));
        let cipher = cipher.map(super::iana).unwrap_or_default();
        // A client that is asked to begin again (HelloRetryRequest) names the same.
        let _ = self.chosen.set(Chosen { certificate: Arc::clone(&presented.shown.certificate), cipher });
        Some(presented.shown.current())
    }
}
