//! What an authority is shown that looks whether a name is ours, before it issues a certificate for it (TLS-ALPN-01, RFC 8737).

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::ClientHello;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::StartHandshake;

use super::super::socket::Socket;
use super::provider;

/// The ALPN name of such a look (RFC 8737 §6.2).
const ACME: &[u8] = b"acme-tls/1";

/// The answers that are due, by name. All listeners with TLS have them: an authority comes to port 443, whichever orders.
#[derive(Clone, Debug, Default)]
pub struct Challenges(Arc<ArcSwap<HashMap<String, Arc<ServerConfig>>>>);

/// An answer, until it is dropped.
#[derive(Debug)]
#[must_use = "nothing is answered any more when it is dropped"]
pub struct Answering {
    challenges: Challenges,
    name: String,
}

impl Challenges {
    /// From now on an authority that asks for this name gets this digest of its key authorization.
    ///
    /// # Errors
    /// When no certificate can be made, which is no fault of anybody's input.
    pub fn answer(&self, name: &str, digest: &[u8]) -> Result<Answering, String> {
        let config = Arc::new(config(name, digest).map_err(|error| error.to_string())?);
        self.change(|answers| _ = answers.insert(name.to_owned(), Arc::clone(&config)));
        Ok(Answering { challenges: self.clone(), name: name.to_owned() })
    }

    /// Of a client that speaks nothing else.
    pub(super) fn find(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        if !hello.alpn()?.eq([ACME]) {
            return None;
        }
        self.0.load().get(&hello.server_name()?.to_ascii_lowercase()).cloned()
    }

    fn change(&self, change: impl Fn(&mut HashMap<String, Arc<ServerConfig>>)) {
        self.0.rcu(|answers| {
            let mut answers = HashMap::clone(answers);
            change(&mut answers);
            answers
        });
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.challenges.change(|answers| _ = answers.remove(&self.name));
    }
}

/// The handshake is all of it. The error says why there is no connection afterwards.
pub(super) async fn answer(start: StartHandshake<Socket>, answer: Arc<ServerConfig>) -> io::Result<io::Error> {
    let mut stream = start.into_stream(answer).await?;
    stream.shutdown().await?;
    Ok(io::Error::other("an authority has looked whether a name is ours"))
}

/// A certificate that nobody but who asked will take: it has the digest in an extension that is critical.
fn config(name: &str, digest: &[u8]) -> Result<ServerConfig, Box<dyn std::error::Error>> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?.der().clone();
    let provider = provider();
    let key = provider.key_provider.load_private_key(PrivateKeyDer::try_from(key.serialize_der())?)?;
    // Whatever would look whether the two belong together refuses the extension.
    let both = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(both));
    config.alpn_protocols = vec![ACME.to_vec()];
    config.send_tls13_tickets = 0;
    Ok(config)
}
