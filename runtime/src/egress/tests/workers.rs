//! What a worker can reach, and what it cannot.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use tokio::sync::mpsc;

use super::{Says, canned, fed, feed, get, origin, raw, read_head, says, soon, text};
use crate::config;
use crate::egress::connect::{Dial, Reach};
use crate::egress::{Egress, Own, Policy, Subrequest, Timeouts};
use crate::failure::{Failure, Wait};
use crate::http::Body;
use crate::observe::Trace;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn fetch(egress: &Egress, policy: &Policy, request: Request<Body>) -> Result<Response<Body>, Failure> {
    fetch_within(egress, policy, request, Timeouts::MAX).await
}

async fn fetch_within(
    egress: &Egress,
    policy: &Policy,
    request: Request<Body>,
    timeouts: Timeouts,
) -> Result<Response<Body>, Failure> {
    let passed = egress.pass(&HeaderMap::new(), 1).unwrap();
    let subrequest = Subrequest { request, timeouts, trace: Trace::root(), passed };
    soon(egress.fetch(&Arc::new(policy.clone()), subrequest)).await
}

fn open() -> Policy {
    Policy::new(Vec::new(), Vec::new(), true)
}

fn hosts(entries: &[(&str, u16)]) -> Policy {
    let entry = |&(host, port): &(&str, u16)| config::AllowedHost {
        scheme: Some(http::uri::Scheme::HTTP),
        host: config::HostPattern::parse(host).unwrap(),
        port: Some(port),
    };
    Policy::new(Vec::new(), entries.iter().map(entry).collect(), false)
}

fn resolving(resolver: &Arc<Says>, own: Own) -> Egress {
    Egress::with_resolvers(&[], own, resolver.clone(), resolver.clone()).unwrap()
}

/// An origin that tells when somebody connects.
async fn guarded() -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    canned(OK).await
}

#[tokio::test]
async fn a_named_origin_is_reached_by_its_name_and_no_other_is() {
    let (address, mut heads) = canned(OK).await;
    let origins = [origin("api", &format!("http://{address}/v1")), origin("db", &format!("http://{address}"))];
    let egress = Egress::new(&origins, Own::default()).unwrap();
    let policy = Policy::new(vec!["api".to_owned()], Vec::new(), false);
    let request = Request::get("http://api.origin.internal/x?y")
        .header("eyot-claims", "forged")
        .header("connection", "x-hop, traceparent, cdn-loop")
        .header("x-hop", "1")
        .header("cdn-loop", "forged")
        .body(Body::empty())
        .unwrap();
    assert_eq!(text(fetch(&egress, &policy, request).await.unwrap()).await.unwrap(), "ok");
    let head = heads.recv().await.unwrap();
    assert!(head.starts_with("get /v1/x?y http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {address}\r\n")), "{head}");
    assert!(head.contains("\r\ntraceparent: 00-") && head.contains("\r\ncdn-loop: eyot;node="), "{head}");
    assert!(
        !head.contains("eyot-") && !head.contains("hop") && !head.contains("forged") && !head.contains("forwarded"),
        "{head}"
    );

    for (uri, hint) in [
        ("http://db.origin.internal/", "add origins = [\"db\"] to eyot.toml"),
        ("http://example.com/", "add egress = [\"http://example.com\"] to eyot.toml"),
    ] {
        let failure = fetch(&egress, &policy, get(uri)).await.unwrap_err();
        assert_eq!(failure.code(), "egress_denied");
        assert!(failure.to_string().contains(hint), "{failure}");
    }
    let climbs = fetch(&egress, &policy, get("http://api.origin.internal/%2e%2e/db")).await.unwrap_err();
    assert_eq!(climbs.code(), "bad_request");
}

#[tokio::test]
async fn an_allow_list_never_leads_to_a_private_address() {
    let (address, mut heads) = guarded().await;
    let resolver = says(&[&["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254"]]);
    let egress = resolving(&resolver, Own::default());
    let port = address.port();
    let policy =
        hosts(&[("inside.example", port), ("127.0.0.1", port), ("[::ffff:7f00:1]", port), ("localhost", port)]);
    for host in ["inside.example", "127.0.0.1", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "localhost"] {
        let failure = fetch(&egress, &policy, get(&format!("http://{host}:{port}/"))).await.unwrap_err();
        assert_eq!(failure.code(), "egress_denied", "{host}");
        assert!(failure.to_string().contains("no public address"), "{host}: {failure}");
    }
    heads.try_recv().unwrap_err();
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_judged_by_the_address_that_is_dialled() {
    let resolver = says(&[&["8.8.8.8"], &["127.0.0.1"], &["10.0.0.1", "9.9.9.9", "::1", "2600::1"]]);
    let dial = Dial { reach: Reach::Public, own: Own::default(), resolver: resolver.clone() };
    assert_eq!(dial.addresses("rebinds.example", 80).await.unwrap(), ["8.8.8.8:80".parse().unwrap()]);
    assert_eq!(resolver.asked(), 1, "what was judged is what is dialled: there is no second look-up");
    assert_eq!(dial.addresses("rebinds.example", 80).await.unwrap_err().code(), "egress_denied");
    let mixed: [SocketAddr; 2] = ["9.9.9.9:80".parse().unwrap(), "[2600::1]:80".parse().unwrap()];
    assert_eq!(dial.addresses("rebinds.example", 80).await.unwrap(), mixed, "only the allowed ones of a mixed answer");
    let (address, mut heads) = guarded().await;
    let resolver = says(&[&["127.0.0.1"], &["8.8.8.8"]]);
    let policy = hosts(&[("rebinds.example", address.port())]);
    let request = get(&format!("http://rebinds.example:{}/", address.port()));
    let failure = fetch(&resolving(&resolver, Own::default()), &policy, request).await.unwrap_err();
    assert_eq!((failure.code(), resolver.asked()), ("egress_denied", 1));
    heads.try_recv().unwrap_err();
}

#[tokio::test]
async fn a_name_with_a_thousand_addresses_is_tried_at_a_few() {
    let many: Vec<String> = (0..1000).map(|n| format!("8.8.{}.{}", n / 250, n % 250)).collect();
    let many: Vec<&'static str> = many.into_iter().map(|address| &*address.leak()).collect();
    let dial = Dial { reach: Reach::Public, own: Own::default(), resolver: says(&[&many]) };
    assert_eq!(dial.addresses("many.example", 80).await.unwrap().len(), 8);
}

#[tokio::test]
async fn the_nodes_own_listeners_are_behind_no_name() {
    let (address, mut heads) = guarded().await;
    let port = address.port();
    let wildcard = SocketAddr::new("0.0.0.0".parse().unwrap(), port);
    let resolver = says(&[&["127.0.0.1"]]);
    for own in [address, wildcard] {
        let egress = resolving(&resolver, Own::new([own]));
        for host in ["127.0.0.1", "0.0.0.0", "[::ffff:127.0.0.1]", "me.example"] {
            let failure = fetch(&egress, &open(), get(&format!("http://{host}:{port}/"))).await.unwrap_err();
            assert_eq!(failure.code(), "egress_denied", "{own} {host}");
            assert!(failure.to_string().contains("listener of this node"), "{failure}");
        }
        let named = [origin("o", &format!("http://{address}"))];
        let egress = Egress::new(&named, Own::new([own])).unwrap();
        assert_eq!(super::forward(&egress, get("/")).await.unwrap_err().code(), "egress_denied");
    }
    heads.try_recv().unwrap_err();
}

#[tokio::test]
async fn open_egress_reaches_private_servers_and_shares_nothing_with_allow_lists() {
    let (address, mut heads) = guarded().await;
    let port = address.port();
    let resolver = says(&[&["127.0.0.1"]]);
    let egress = resolving(&resolver, Own::default());
    let uri = format!("http://inside.example:{port}/");
    let request = Request::get(&uri).header("host", "other.example").body(Body::empty()).unwrap();
    assert_eq!(text(fetch(&egress, &open(), request).await.unwrap()).await.unwrap(), "ok");
    let head = heads.recv().await.unwrap();
    assert!(head.contains(&format!("host: inside.example:{port}\r\n")) && !head.contains("other"), "{head}");
    // A connection to that very authority is idle now, and yet:
    let failure = fetch(&egress, &hosts(&[("inside.example", port)]), get(&uri)).await.unwrap_err();
    assert_eq!(failure.code(), "egress_denied");
}

#[tokio::test]
async fn a_redirect_is_the_workers_to_follow() {
    let (address, mut heads) =
        canned("HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n").await;
    let egress = Egress::new(&[], Own::default()).unwrap();
    let response = fetch(&egress, &open(), get(&format!("http://{address}/"))).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["location"]),
        (302, &"http://169.254.169.254/".parse().unwrap())
    );
    heads.recv().await.unwrap();
    heads.try_recv().unwrap_err();
}

#[tokio::test]
async fn a_worker_cannot_wait_without_bound_and_zero_is_no_panic() {
    let address = raw(|_, mut stream| async move {
        read_head(&mut stream).await;
        read_head(&mut stream).await;
    })
    .await;
    let mut slow = origin("slow", &format!("http://{address}"));
    slow.first_byte_timeout = Duration::from_millis(50);
    let egress = Egress::new(&[slow], Own::default()).unwrap();
    let policy = Policy::new(vec!["slow".to_owned()], Vec::new(), true);
    let forever = Timeouts { connect: Duration::MAX, first_byte: Duration::MAX, idle: Duration::MAX };
    let request = get("http://slow.origin.internal/");
    let failure = fetch_within(&egress, &policy, request, forever).await.unwrap_err();
    assert_eq!(failure, Failure::OriginTimeout { wait: Wait::Head, limit: Duration::from_millis(50) });
    let zero = Timeouts { connect: Duration::ZERO, first_byte: Duration::ZERO, idle: Duration::ZERO };
    for uri in ["http://slow.origin.internal/".to_owned(), format!("http://{address}/")] {
        let failure = fetch_within(&egress, &policy, get(&uri), zero).await.unwrap_err();
        assert_eq!(failure.code(), "origin_timeout");
    }
}

#[tokio::test]
async fn a_workers_own_body_that_breaks_off_is_the_workers_fault() {
    let address = raw(|_, mut stream| async move { while read_head(&mut stream).await.is_some() {} }).await;
    let egress = Egress::new(&[], Own::default()).unwrap();
    let (feeder, body) = fed();
    feed(&feeder, "begun").await;
    let request = Request::post(format!("http://{address}/")).header("content-length", "9").body(body).unwrap();
    drop(feeder);
    assert_eq!(fetch(&egress, &open(), request).await.unwrap_err().code(), "worker_error");
    let connect = Request::connect(format!("http://{address}/")).body(Body::from(Bytes::new())).unwrap();
    assert_eq!(fetch(&egress, &open(), connect).await.unwrap_err().code(), "bad_request");
}

#[test]
fn egress_crosses_threads() {
    fn crosses<T: Send + Sync + 'static>() {}
    crosses::<Egress>();
}
