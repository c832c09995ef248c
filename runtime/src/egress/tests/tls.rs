//! Origins behind TLS: verified always, by whom the operator says.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Version;
use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use super::{forward, get, origin, raw, says, text};
use crate::config::Origin;
use crate::egress::{Egress, Own};
use crate::failure::Failure;
use crate::http::Body;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "test authority");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// An origin with a certificate for these names; it answers with the version that it was asked in.
async fn serve(authority: &Authority, name: &str, change: impl Fn(&mut CertificateParams)) -> SocketAddr {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    change(&mut params);
    let certificate = params.signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    raw(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                let said = format!("{:?} {:?}", request.version(), request.headers().get("host"));
                Ok::<_, std::convert::Infallible>(http::Response::new(Body::from(bytes::Bytes::from(said))))
            });
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let stream = hyper_util::rt::TokioIo::new(stream);
            if http2 {
                let server = hyper::server::conn::http2::Builder::new(super::proxying::Local);
                let _ = server.serve_connection(stream, service).await;
            } else {
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
            }
        }
    })
    .await
}

fn trusting(authority: &Authority, folder: &TempDir, address: SocketAddr) -> Origin {
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let mut origin = origin("o", &format!("https://secure.test:{}/", address.port()));
    origin.certificate_authority = Some(file);
    origin
}

async fn ask(origin: Origin) -> Result<http::Response<Body>, Failure> {
    let resolver = says(&[&["127.0.0.1"]]);
    let egress = Egress::with_resolvers(&[origin], Own::default(), resolver.clone(), resolver).unwrap();
    forward(&egress, get("http://front.example/")).await
}

async fn reason(origin: Origin) -> String {
    match ask(origin).await.unwrap_err() {
        Failure::OriginCertificate(reason) => reason,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_origin_that_the_operators_authority_signed_is_asked_by_http1_and_by_http2_where_that_is_wanted() {
    let (authority, folder) = (authority(), TempDir::new().unwrap());
    let address = serve(&authority, "secure.test", |_| {}).await;
    for (http2, via, version) in [(false, "1.1 eyot", "HTTP/1.1"), (true, "2 eyot", "HTTP/2.0")] {
        let mut origin = trusting(&authority, &folder, address);
        origin.http2 = http2;
        let response = ask(origin).await.unwrap();
        assert_eq!(response.headers()["via"], via);
        assert_eq!(response.version(), Version::HTTP_11);
        assert!(text(response).await.unwrap().starts_with(version));
    }
}

#[tokio::test]
async fn a_preserved_host_is_asked_by_http1() {
    let (authority, folder) = (authority(), TempDir::new().unwrap());
    let address = serve(&authority, "secure.test", |_| {}).await;
    let mut origin = trusting(&authority, &folder, address);
    origin.preserve_host = true;
    assert_eq!(text(ask(origin).await.unwrap()).await.unwrap(), "HTTP/1.1 Some(\"front.example\")");
}

#[tokio::test]
async fn an_origin_that_is_not_who_it_says_is_refused_with_the_reason() {
    let (known, folder) = (authority(), TempDir::new().unwrap());
    let unknown = authority();

    let stranger = serve(&unknown, "secure.test", |_| {}).await;
    let said = reason(trusting(&known, &folder, stranger)).await;
    assert!(said.contains("BadSignature") || said.contains("UnknownIssuer"), "{said}");

    let other_name = serve(&known, "other.test", |_| {}).await;
    let said = reason(trusting(&known, &folder, other_name)).await;
    assert!(said.contains("other.test"), "{said}");

    let expired = serve(&known, "secure.test", |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1)).await;
    let said = reason(trusting(&known, &folder, expired)).await;
    assert!(said.contains("expired"), "{said}");

    let early = serve(&known, "secure.test", |params| params.not_before = rcgen::date_time_ymd(2999, 1, 1)).await;
    let said = reason(trusting(&known, &folder, early)).await;
    assert!(said.contains("not valid yet"), "{said}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused() {
    let (authority, folder) = (authority(), TempDir::new().unwrap());
    let address = raw(|_, mut stream| async move {
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    assert_eq!(ask(trusting(&authority, &folder, address)).await.unwrap_err().code(), "origin_tls");
}
