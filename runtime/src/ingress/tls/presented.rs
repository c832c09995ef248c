//! One certificate with its key, and what is shown of it.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig, SignatureAlgorithm, SupportedCipherSuite};

use super::Known;
use super::certificate::{self, Facts};
use super::files;
use super::staple::Staple;
use crate::config::{CertificateFiles, Diagnostic, Diagnostics, OrderedCertificate};

/// A certificate as a handshake uses it.
#[derive(Debug)]
pub(super) struct Presented {
    pub(super) config: Arc<ServerConfig>,
    pub(super) shown: Arc<Shown>,
}

/// A certificate, its key and its state.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) facts: Facts,
    pub(super) key: Arc<CertifiedKey>,
    /// The end of the chain, which is ours.
    pub(super) certificate: Arc<CertificateDer<'static>>,
    pub(super) file: PathBuf,
    staple: Option<Staple>,
}

/// What is in the handshake: with what the issuer says of it, for as long as that holds.
#[derive(Debug)]
pub(super) struct Resolver {
    plain: Arc<CertifiedKey>,
    /// And the Unix time until which it is good.
    stapled: Option<(Arc<CertifiedKey>, i64)>,
}

impl Presented {
    /// Whether a client can use its key: by the signatures that it takes, in TLS 1.2 together with the cipher suites that it has.
    pub(super) fn suits(&self, hello: &ClientHello<'_>) -> bool {
        let (key, offered) = (&self.shown.key.key, hello.signature_schemes());
        let suites = &self.config.crypto_provider().cipher_suites;
        suites.iter().filter(|suite| hello.cipher_suites().contains(&suite.suite())).any(|suite| match suite {
            SupportedCipherSuite::Tls13(_) => key.choose_scheme(offered).is_some(),
            SupportedCipherSuite::Tls12(suite) => {
                let both: Vec<_> = suite.sign.iter().copied().filter(|scheme| offered.contains(scheme)).collect();
                key.choose_scheme(&both).is_some()
            }
        })
    }

    pub(super) fn known(&self) -> Known {
        let Shown { facts, file, .. } = &*self.shown;
        Known { name: facts.label.clone(), file: file.clone(), not_after: facts.not_after }
    }
}

impl Shown {
    /// Every fault of its files.
    pub(super) fn read(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Self, Diagnostics> {
        let (chain, key) = match (files::chain(&files.certificate), files::private_key(&files.key)) {
            (Ok(chain), Ok(key)) => (chain, key),
            (chain, key) => return Err(Diagnostics(chain.err().into_iter().chain(key.err()).collect())),
        };
        let certificate = Arc::new(chain[0].clone());
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| unusable(files, &error))?;
        let facts = Facts::read(&certificate).map_err(|error| {
            let message = format!("this certificate is not one of X.509: {error}");
            files::fault(&files.certificate, &message, "let its authority issue it anew")
        })?;
        let staple = files.ocsp.as_ref().map(|file| Staple::read(file, &facts.serial)).transpose()?;
        Ok(Self { facts, key: Arc::new(key), certificate, file: files.certificate.clone(), staple })
    }

    /// One that was ordered, with its key in the same file. `None`: it was never issued.
    pub(super) fn kept(ordered: &OrderedCertificate, provider: &CryptoProvider) -> Result<Option<Self>, Diagnostics> {
        let file = &ordered.file;
        if !file.exists() {
            return Ok(None);
        }
        let kept = CertificateFiles { certificate: file.clone(), key: file.clone(), ocsp: None };
        let shown = Self::read(&kept, provider)?;
        match ordered.names.iter().find(|name| !shown.facts.names.contains(name)) {
            None => Ok(Some(shown)),
            Some(name) => {
                let message = format!("this certificate was ordered for `{name}`, and is not for it");
                Err(files::fault(file, &message, "it is ordered again").into())
            }
        }
    }

    pub(super) fn algorithm(&self) -> SignatureAlgorithm {
        self.key.key.algorithm()
    }

    pub(super) fn resolver(&self) -> Resolver {
        let stapled = self.staple.as_ref().map(|staple| {
            let with = CertifiedKey { ocsp: Some(staple.bytes.clone()), ..CertifiedKey::clone(&self.key) };
            (Arc::new(with), staple.until)
        });
        Resolver { plain: Arc::clone(&self.key), stapled }
    }

    /// What a handshake shows now.
    pub(super) fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(self.resolver().at(certificate::now()))
    }

    pub(super) fn warnings(&self, now: i64) -> Vec<Diagnostic> {
        let out_of_time = self.facts.out_of_time(now).map(|(message, help)| files::fault(&self.file, &message, help));
        out_of_time.into_iter().chain(self.staple.iter().flat_map(|staple| staple.warnings(now))).collect()
    }

    /// What is to be said of one that is not the first.
    pub(super) fn nameless(&self) -> Diagnostic {
        let message = "this certificate is for no name of a host (it has no subjectAltName), so no client is shown it";
        files::fault(&self.file, message, "let its authority issue it with the names that clients ask for")
    }
}

impl Resolver {
    fn at(&self, now: i64) -> &Arc<CertifiedKey> {
        let good = self.stapled.as_ref().filter(|(_, until)| now <= *until);
        good.map_or(&self.plain, |(stapled, _)| stapled)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.at(certificate::now())))
    }
}

fn unusable(files: &CertificateFiles, error: &rustls::Error) -> Diagnostic {
    if let rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) = error {
        let message = format!("this key does not belong to the certificate in {}", files.certificate.display());
        return files::fault(&files.key, &message, "give the key that the certificate was issued for");
    }
    let message = format!("this certificate and its key cannot be used: {error}");
    files::fault(&files.certificate, &message, "give an X.509 certificate with an RSA, ECDSA or Ed25519 key")
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    #[test]
    fn a_response_whose_time_is_over_is_not_handed_out() {
        let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let plain = CertifiedKey::from_der(vec![made.cert.der().clone()], key, &provider).unwrap();
        let stapled = CertifiedKey { ocsp: Some(vec![1]), ..plain.clone() };
        let resolver = Resolver { plain: Arc::new(plain), stapled: Some((Arc::new(stapled), 100)) };
        assert_eq!(resolver.at(100).ocsp.as_deref(), Some(&[1][..]));
        assert_eq!(resolver.at(101).ocsp, None);
    }
}
