//! TLS of a listener: one certificate chain and its key, from PEM files.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, ServerConfig, ServerConnection};

use crate::config::{Diagnostic, Diagnostics, ListenerTls, Place};
use crate::http::Tls;

/// The ALPN name of HTTP/2 (RFC 9113 §3.1).
pub(super) const H2: &[u8] = b"h2";

/// What a listener proves its name with.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub(super) config: Arc<ServerConfig>,
    certificate: Arc<CertificateDer<'static>>,
}

/// Reads and checks a certificate chain and its key. Every fault of both files is reported.
///
/// # Errors
/// A file that cannot be read or holds nothing of use, or a key that is not the certificate's.
pub fn load(files: &ListenerTls) -> Result<Credentials, Diagnostics> {
    let chain = certificates(&files.certificate);
    let key = private_key(&files.key);
    let (chain, key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err(Diagnostics(chain.err().into_iter().chain(key.err()).collect())),
    };
    let certificate = Arc::new(chain[0].clone());
    // Not the process-wide default provider: what a listener speaks does not depend on who was there first.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    let mut config = config.map_err(|error| Diagnostics(vec![unusable(files, &error)]))?;
    config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    Ok(Credentials { config: Arc::new(config), certificate })
}

/// What a finished handshake agreed on.
pub(super) fn agreed(connection: &ServerConnection, credentials: &Credentials) -> Tls {
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    };
    // rustls calls the suites of TLS 1.3 `TLS13_…`, IANA `TLS_…`.
    let cipher = connection
        .negotiated_cipher_suite()
        .map(|suite| format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1))
        .unwrap_or_default();
    let server_name = connection.server_name().map(str::to_ascii_lowercase);
    Tls { version, cipher, server_name, certificate: Arc::clone(&credentials.certificate) }
}

/// At least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Diagnostic> {
    let help = "give a PEM file with the certificate chain, the server's own certificate first";
    let chain = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match chain {
        Ok(chain) if chain.is_empty() => Err(fault(file, "there is no certificate in this file", help)),
        Ok(chain) => Ok(chain),
        Err(error) => Err(unreadable(file, "certificate", &error, help)),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Diagnostic> {
    let help = "give a PEM file with an unencrypted private key (PKCS #8, PKCS #1 or SEC 1)";
    PrivateKeyDer::from_pem_file(file).map_err(|error| match error {
        PemError::NoItemsFound => fault(file, "there is no private key in this file", help),
        error => unreadable(file, "private key", &error, help),
    })
}

fn unreadable(file: &Path, what: &str, error: &PemError, help: &str) -> Diagnostic {
    match error {
        PemError::Io(error) => fault(file, &format!("cannot read the {what}: {error}"), help),
        error => fault(file, &format!("this {what} is not valid PEM: {error}"), help),
    }
}

fn unusable(files: &ListenerTls, error: &rustls::Error) -> Diagnostic {
    if let rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) = error {
        let message = format!("this key does not belong to the certificate in {}", files.certificate.display());
        return fault(&files.key, &message, "give the key that the certificate was issued for");
    }
    let message = format!("this certificate and its key cannot be used: {error}");
    fault(&files.certificate, &message, "give an X.509 certificate with an RSA, ECDSA or Ed25519 key")
}

fn fault(file: &Path, message: &str, help: &str) -> Diagnostic {
    let place = Place { file: file.to_owned(), ..Place::default() };
    Diagnostic { place, message: message.to_owned(), help: Some(help.to_owned()) }
}
