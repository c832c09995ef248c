//! TLS: what is agreed on, what is refused, and what is loaded.

use std::path::PathBuf;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::config::{Certificate, CertificateFiles, Diagnostics, ListenerTls, OrderedCertificate};

/// A folder with a certificate for `localhost` and its key, and a client that trusts it.
struct Files {
    folder: TempDir,
    roots: RootCertStore,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("cert.pem"), cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        Self { folder, roots }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn load(&self, certificate: &str, key: &str) -> Result<Credentials, Diagnostics> {
        let files = CertificateFiles { certificate: self.path(certificate), key: self.path(key), ocsp: None };
        let certificates = vec![Certificate::Files(files)];
        load_tls(&ListenerTls { certificates, clients: None }, &Challenges::default())
    }

    fn start(&self) -> Running {
        Running::with(1, &limits(), Some(self.load("cert.pem", "key.pem").unwrap()))
    }

    async fn connect(&self, node: &Running, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(self.roots.clone()).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        within(TlsConnector::from(Arc::new(config)).connect(name, node.connect().await)).await
    }
}

#[tokio::test]
async fn alpn_decides_between_the_protocols() {
    let files = Files::new();
    let node = files.start();
    for alpn in [&["http/1.1"][..], &[]] {
        let mut client = files.connect(&node, alpn).await.unwrap();
        client.write_all(get("/tls").as_bytes()).await.unwrap();
        let answer = within(response(&mut client)).await;
        assert!(answer.contains("http/1.1 some(tls"), "{answer}");
        assert!(answer.contains(r#"version: "tlsv1.3", cipher: "tls_aes_256_gcm_sha384""#), "{answer}");
        assert!(answer.contains(r#"server_name: some("localhost")"#), "{answer}");
    }
    let mut client = files.connect(&node, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = [0; 9];
    within(client.read_exact(&mut frame)).await.unwrap();
    assert_eq!(frame[3], 4, "the first frame is SETTINGS: {frame:?}");
}

#[tokio::test]
async fn a_protocol_that_we_do_not_speak_is_refused_in_the_handshake() {
    let files = Files::new();
    let node = files.start();
    let error = files.connect(&node, &["spdy/3"]).await.unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
}

#[tokio::test]
async fn a_handshake_that_stops_is_closed() {
    let files = Files::new();
    let node = files.start();
    // Nothing, and the first bytes of a ClientHello.
    for opening in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00"] {
        // The node's clock runs from when it accepts.
        let began = std::time::Instant::now();
        let mut client = node.connect().await;
        client.write_all(opening).await.unwrap();
        until_closed(&mut client).await;
        assert!(began.elapsed() >= limits().handshake_timeout, "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn silence_after_the_handshake_is_closed() {
    let files = Files::new();
    let node = files.start();
    for alpn in ["http/1.1", "h2"] {
        let mut client = files.connect(&node, &[alpn]).await.unwrap();
        let (_, took) = until_closed(&mut client).await;
        // The node has heard the end of the handshake before this client begins to count.
        assert!(took >= limits().header_timeout / 2, "{took:?}");
    }
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_behind_tls_too() {
    let files = Files::new();
    let node = files.start();
    let mut client = files.connect(&node, &["http/1.1"]).await.unwrap();
    client.write_all(get("/endless").as_bytes()).await.unwrap();
    node.opened(1).await;
    node.opened(0).await;
}

#[tokio::test]
async fn plain_text_on_a_tls_port_is_closed() {
    let files = Files::new();
    let node = files.start();
    let mut client = node.connect().await;
    client.write_all(GET.as_bytes()).await.unwrap();
    let (seen, _) = until_closed(&mut client).await;
    assert!(!seen.contains("HTTP"));
}

#[test]
fn each_fault_of_the_files_is_named() {
    let (files, other) = (Files::new(), Files::new());
    let faults = |certificate: &str, key: &str| -> Vec<String> {
        files.load(certificate, key).unwrap_err().0.iter().map(|fault| fault.message.clone()).collect()
    };
    let missing = faults("none.pem", "none.pem");
    assert!(missing.len() == 2 && missing[0].starts_with("cannot read the certificate"), "{missing:?}");
    assert!(missing[1].starts_with("cannot read the private key"), "{missing:?}");
    assert_eq!(faults("key.pem", "key.pem"), ["there is no certificate in this file"]);
    assert_eq!(faults("cert.pem", "cert.pem"), ["there is no private key in this file"]);
    std::fs::copy(other.path("key.pem"), files.path("other.pem")).unwrap();
    assert!(faults("cert.pem", "other.pem")[0].starts_with("this key does not belong to the certificate"));
    std::fs::write(files.path("broken.pem"), "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
    assert!(faults("broken.pem", "key.pem")[0].starts_with("this certificate is not valid PEM"));
}

#[test]
fn a_name_of_a_file_and_of_an_order_is_a_fault_before_anything_is_issued() {
    let files = Files::new();
    let own = CertificateFiles { certificate: files.path("cert.pem"), key: files.path("key.pem"), ocsp: None };
    let load = |name: &str| {
        let ordered = OrderedCertificate { names: vec![name.to_owned()], file: files.path("none.pem") };
        let certificates = vec![Certificate::Files(own.clone()), Certificate::Ordered(ordered)];
        load_tls(&ListenerTls { certificates, clients: None }, &Challenges::default())
    };
    let faults = load("localhost").unwrap_err().0;
    assert!(faults[0].message.contains("`localhost` is a name of this certificate and of"), "{faults:?}");
    assert_eq!(load("shop.test").unwrap().known().len(), 1, "one is not there yet");
}
