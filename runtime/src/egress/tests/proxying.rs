//! What an origin and a client see of a proxied exchange.

use http::{Request, Version};
use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;

use super::{canned, client, egress, forward, forward_from, get, origin, raw, read_head, soon, spawn, text};
use crate::egress::{Egress, Own};
use crate::http::Body;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn hop_by_hop_fields_end_here_in_both_directions() {
    let (address, mut heads) = canned(
        "HTTP/1.1 200 OK\r\nconnection: x-hop, keep-alive\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nproxy-authenticate: Basic\r\n\
         proxy-connection: close\r\nupgrade: h2c\r\neyot-error: x\r\nvia: 1.0 cdn\r\nx-stays: 1\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let request = Request::get("http://front.example/")
        .header("connection", "x-hop, close, te, host, x-request-id, traceparent, cdn-loop")
        .header("connection", http::HeaderValue::from_bytes(b"x-binary, \xff").unwrap())
        .header("x-binary", "1")
        .header("content_length", "7")
        .header("transfer_encoding", "chunked")
        .header("connection", "X-Other")
        .header("x-hop", "1")
        .header("x-other", "1")
        .header("keep-alive", "300")
        .header("proxy-connection", "keep-alive")
        .header("proxy-authorization", "Basic eA==")
        .header("te", "gzip, trailers")
        .header("upgrade", "websocket")
        .header("transfer-encoding", "chunked")
        .header("via", "1.0 cdn")
        .header("x-stays", "1")
        .body(Body::empty())
        .unwrap();
    let response = forward(&egress(address), request).await.unwrap();
    let head = heads.recv().await.unwrap();
    for gone in [
        "x-hop",
        "x-binary",
        "content_length",
        "transfer_encoding",
        "x-other",
        "keep-alive",
        "authorization",
        "upgrade",
        "transfer-encoding",
    ] {
        assert!(!head.contains(gone), "{gone} in {head}");
    }
    for there in [
        "\r\nx-request-id: its-id\r\n",
        "\r\ntraceparent: 00-",
        "\r\ncdn-loop: eyot;node=",
        "\r\nte: trailers\r\n",
        "\r\nconnection: te\r\n",
        "\r\nx-stays: 1\r\n",
        "\r\nvia: 1.0 cdn, 1.1 eyot\r\n",
        "\r\nhost: 127.0.0.1",
    ] {
        assert!(head.contains(there), "{there} in {head}");
    }
    for gone in ["connection", "x-hop", "keep-alive", "proxy-authenticate", "proxy-connection", "upgrade", "eyot-error"]
    {
        assert!(!response.headers().contains_key(gone), "{gone}");
    }
    assert_eq!(response.headers()["via"], "1.0 cdn, 1.1 eyot");
    assert_eq!(response.headers()["x-stays"], "1");
    assert_eq!(text(response).await.unwrap(), "ok");
}

#[tokio::test]
async fn only_the_node_sets_eyot_fields() {
    let (address, mut heads) = canned(OK).await;
    let request = Request::get("/")
        .header("eyot-claims", "forged")
        .header("eyot_claims", "forged")
        .header("Eyot-Worker", "forged")
        .header("eyotish", "stays")
        .body(Body::empty())
        .unwrap();
    forward(&egress(address), request).await.unwrap();
    let head = heads.recv().await.unwrap();
    assert!(!head.contains("forged"), "{head}");
    assert!(head.contains("eyot-claims: true-ones") && head.contains("eyotish: stays"), "{head}");
}

async fn forwarded(peer: &str, trusted: Option<&str>, host: &str) -> String {
    let (address, mut heads) = canned(OK).await;
    let request = Request::get(format!("http://{host}/"))
        .header("forwarded", "for=6.6.6.6")
        .header("x-forwarded-for", "6.6.6.6")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-port", "forged")
        .header("x_forwarded_for", "6.6.6.6")
        .header("x-real-ip", "6.6.6.6")
        .body(Body::empty())
        .unwrap();
    let proxy = trusted.map(|address| address.parse().unwrap());
    forward_from(&egress(address), &client(peer), proxy, request).await.unwrap();
    heads.recv().await.unwrap()
}

#[tokio::test]
async fn a_client_cannot_say_where_it_comes_from() {
    let head = forwarded("198.51.100.1:5000", None, "front.example").await;
    assert!(!head.contains("forged") && !head.contains("6.6.6.6"), "{head}");
    for there in [
        "\r\nforwarded: for=198.51.100.1;host=front.example;proto=http\r\n",
        "\r\nx-forwarded-for: 198.51.100.1\r\n",
        "\r\nx-forwarded-proto: http\r\n",
        "\r\nx-forwarded-host: front.example\r\n",
    ] {
        assert!(head.contains(there), "{there} in {head}");
    }
}

#[tokio::test]
async fn what_a_trusted_proxy_wrote_is_kept_and_the_proxy_is_added() {
    let head = forwarded("6.6.6.6:1", Some("2001:db8::7"), "front.example:8080").await;
    for there in [
        "\r\nforwarded: for=6.6.6.6, for=\"[2001:db8::7]\";host=\"front.example:8080\";proto=http\r\n",
        "\r\nx-forwarded-for: 6.6.6.6, 2001:db8::7\r\n",
        "\r\nx-forwarded-proto: https\r\n",
        "\r\nx-forwarded-host: front.example:8080\r\n",
    ] {
        assert!(head.contains(there), "{there} in {head}");
    }
}

#[tokio::test]
async fn a_malformed_forwarded_of_a_trusted_proxy_does_not_swallow_ours() {
    let (address, mut heads) = canned(OK).await;
    let request = Request::get("http://a/").header("forwarded", "for=\"6.6.6.6").body(Body::empty()).unwrap();
    forward_from(&egress(address), &client("6.6.6.6:1"), "10.0.0.1".parse().ok(), request).await.unwrap();
    let head = heads.recv().await.unwrap();
    assert!(head.contains("\r\nforwarded: for=10.0.0.1;host=a;proto=http\r\n"), "{head}");
}

#[tokio::test]
async fn the_path_goes_below_the_base_path_and_cannot_leave_it() {
    let (address, mut heads) = canned(OK).await;
    let mut below = origin("o", &format!("http://{address}/base/"));
    below.preserve_host = true;
    let egress = Egress::new(&[below], Own::default()).unwrap();
    forward(&egress, get("http://front.example:8080/a%20b?q=/../x")).await.unwrap();
    let head = heads.recv().await.unwrap();
    assert!(head.starts_with("get /base/a%20b?q=/../x http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nhost: front.example:8080\r\n"), "{head}");
    let refused = forward(&egress, get("http://front.example/%2e%2e/admin")).await.unwrap_err();
    assert_eq!(refused.code(), "bad_request");
    forward(&egress, get("http://front.example")).await.unwrap();
    assert!(heads.recv().await.unwrap().starts_with("get /base/ http/1.1\r\n"));
}

#[tokio::test]
async fn a_response_streams_and_its_connection_is_used_again() {
    let (go, wait) = tokio::sync::watch::channel(false);
    let address = raw(move |count, mut stream| {
        let mut wait = wait.clone();
        async move {
            assert_eq!(count, 0, "one connection is enough");
            while read_head(&mut stream).await.is_some() {
                let head =
                    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum, eyot-x\r\n\r\n5\r\nfirst\r\n";
                stream.write_all(head).await.unwrap();
                wait.wait_for(|go| *go).await.unwrap();
                stream.write_all(b"4\r\nlast\r\n0\r\nx-sum: 1\r\neyot-x: 1\r\n\r\n").await.unwrap();
            }
        }
    })
    .await;
    let egress = egress(address);
    let mut body = forward(&egress, get("/")).await.unwrap().into_body();
    let first = soon(body.frame()).await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "first", "it is here before the last was sent");
    go.send(true).unwrap();
    let rest = soon(body.collect()).await.unwrap();
    assert_eq!(rest.trailers().unwrap().len(), 1, "trailers are held to the rules of headers");
    assert_eq!(rest.to_bytes(), "last");
    let again = forward(&egress, get("/")).await.unwrap();
    assert_eq!(again.version(), Version::HTTP_11);
    assert_eq!(text(again).await.unwrap(), "firstlast");
}

#[tokio::test]
async fn an_origin_is_asked_by_http2_with_prior_knowledge() {
    let address = raw(|_, stream| async move {
        let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async move {
            assert_eq!(request.version(), Version::HTTP_2);
            assert_eq!(request.headers()["te"], "trailers");
            let host = request.uri().authority().unwrap().to_string();
            let body = Body::received(request.into_body(), Version::HTTP_2);
            let response = http::Response::builder().header("x-authority", host).body(body);
            Ok::<_, std::convert::Infallible>(response.unwrap())
        });
        let stream = hyper_util::rt::TokioIo::new(stream);
        let _ = hyper::server::conn::http2::Builder::new(Local).serve_connection(stream, service).await;
    })
    .await;
    let mut h2c = origin("o", &format!("http://{address}"));
    h2c.http2 = true;
    let egress = Egress::new(&[h2c], Own::default()).unwrap();
    let request = Request::post("http://front.example/")
        .header("te", "trailers")
        .body(Body::from(bytes::Bytes::from("echo")))
        .unwrap();
    let response = forward(&egress, request).await.unwrap();
    assert_eq!(response.headers()["via"], "2 eyot");
    assert_eq!(response.headers()["x-authority"], address.to_string());
    assert_eq!(response.version(), Version::HTTP_11, "the client's connection has a version of its own");
    assert_eq!(text(response).await.unwrap(), "echo");
}

#[derive(Clone)]
pub(super) struct Local;

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        spawn(async move {
            future.await;
        });
    }
}

#[tokio::test]
async fn an_origin_that_cannot_work_as_written_is_refused_with_all_faults() {
    let mut no_file = origin("b", "https://b.example");
    no_file.certificate_authority = Some("/nonexistent/ca.pem".into());
    let origins =
        [no_file, origin("c", "ftp://c.example"), origin("d", "http://u@d.example"), origin("e", "http://e/?q")];
    let faults = Egress::new(&origins, Own::default()).unwrap_err();
    assert_eq!(faults.0.len(), 4, "{faults}");
    assert!(faults.0.iter().all(|fault| fault.help.is_some()));
}
