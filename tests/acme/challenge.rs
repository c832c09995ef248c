//! What an authority is answered that looks whether a name is ours, and that this is all.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned};

use crate::harness::{PATIENCE, until};
use crate::{Ordering, certificates_for, directory};

/// The identifier of the extension that holds the answer, 1.3.6.1.5.5.7.1.31 (RFC 8737 §6.1), in DER.
const ACME_IDENTIFIER: [u8; 10] = [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x1f];

#[test]
fn a_challenge_is_answered_while_it_is_open_and_nothing_is_served_by_it() {
    if !directory::is_there() {
        return;
    }
    // Whoever looks there waits in vain for a while, and the challenge stays open.
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port");
    let nowhere = nobody.local_addr().expect("an address").port();
    let mut ordering = Ordering::start(&certificates_for(&[&["shop.test"]]), |site| site.looks_at = nowhere);
    let address = ordering.address();
    assert!(look(address, "shop.test", &["acme-tls/1"]).is_err(), "nobody has asked for anything yet");
    let directory = ordering.site.open();
    let mut looked = None;
    until("the answer is there", || {
        looked = look(address, "shop.test", &["acme-tls/1"]).ok();
        looked.is_some()
    });
    let mut looked = looked.expect("a connection");
    let shown = looked.conn.peer_certificates().expect("a certificate")[0].clone();
    assert!(shown.windows(ACME_IDENTIFIER.len()).any(|bytes| bytes == ACME_IDENTIFIER));
    // A request on such a connection has no answer.
    let _ = looked.write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n");
    let mut answer = Vec::new();
    let _ = looked.read_to_end(&mut answer);
    assert_eq!(String::from_utf8_lossy(&answer), "");
    // Nor does anybody get there who speaks anything else, too, or names another host.
    assert!(look(address, "shop.test", &["acme-tls/1", "http/1.1"]).is_err());
    assert!(look(address, "shop.test", &["http/1.1"]).is_err());
    assert!(look(address, "other.test", &["acme-tls/1"]).is_err());

    drop(directory);
    ordering.site.looks_at = address.port();
    let directory = ordering.site.open();
    let client = ordering.client(&directory);
    ordering.wait_for(&client, "shop.test");
    assert!(look(address, "shop.test", &["acme-tls/1"]).is_err(), "nobody looks any more");
}

/// A handshake as an authority makes it, or somebody who would like to be one.
fn look(address: SocketAddr, name: &str, protocols: &[&str]) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(session, socket))
}

/// Takes whatever certificate it is shown: the authority only compares.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}
