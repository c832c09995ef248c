//! Certificates of clients: who vouches for them, and what is known of a client that has shown one.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConnection};

use super::certificate::{self, Facts};
use super::files;
use crate::config::{ClientAuthority, Diagnostic};
use crate::http::ClientCertificate;

/// Who vouches for clients of a listener.
#[derive(Debug)]
pub(super) struct Clients {
    verifier: Arc<dyn ClientCertVerifier>,
    authorities: Vec<CertificateDer<'static>>,
    file: PathBuf,
}

impl Clients {
    pub(super) fn read(authority: &ClientAuthority, provider: &Arc<CryptoProvider>) -> Result<Self, Diagnostic> {
        let file = &authority.file;
        let authorities = files::authorities(file)?;
        let unfit = |error: &dyn std::fmt::Display| {
            let message = format!("clients cannot be verified by this authority: {error}");
            files::fault(file, &message, "give the certificates of authorities, not those of clients")
        };
        let mut roots = RootCertStore::empty();
        for one in &authorities {
            roots.add(one.clone()).map_err(|error| unfit(&error))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let builder = if authority.required { builder } else { builder.allow_unauthenticated() };
        let verifier = builder.build().map_err(|error| unfit(&error))?;
        Ok(Self { verifier, authorities, file: file.clone() })
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }

    pub(super) fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.authorities
    }

    /// Verifying clients, nobody looks at when an authority ends, so it is said here.
    pub(super) fn warnings(&self, now: i64) -> Vec<Diagnostic> {
        let facts = self.authorities.iter().filter_map(|one| Facts::read(one).ok());
        let warning = |facts: Facts| {
            let (message, help) = facts.out_of_time(now)?;
            Some(files::fault(&self.file, &format!("{}: {message}", facts.label), help))
        };
        facts.filter_map(warning).collect()
    }

    /// What the client has proven, if anything. A session that is resumed carries the certificate of its first handshake, which may have
    /// expired since, so it is verified once more.
    pub(super) fn identity(&self, connection: &ServerConnection) -> io::Result<Option<Arc<ClientCertificate>>> {
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        self.identity_of(connection.peer_certificates(), resumed)
    }

    /// The same of certificates that a handshake has brought; of those from an earlier one with `again`.
    pub(super) fn identity_of(
        &self,
        shown: Option<&[CertificateDer<'static>]>,
        again: bool,
    ) -> io::Result<Option<Arc<ClientCertificate>>> {
        let Some([own, chain @ ..]) = shown else {
            return match self.verifier.client_auth_mandatory() {
                true => Err(io::Error::new(io::ErrorKind::InvalidData, rustls::Error::NoCertificatesPresented)),
                false => Ok(None),
            };
        };
        let refused = |error: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        if again {
            self.verifier.verify_client_cert(own, chain, UnixTime::now()).map_err(refused)?;
        }
        // Who cannot be named is not let in without a name.
        let identity =
            certificate::identity(own).map_err(|error| refused(rustls::Error::General(error.to_string())))?;
        Ok(Some(Arc::new(identity)))
    }
}
