//! What one client, worker or origin takes away from the others: nothing.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::BodyExt;
use tokio::sync::{Notify, Semaphore};

use super::proxying::Local;
use super::{body_failure, canned, fed, feed, forward, get, origin, raw, soon, spawn, text};
use crate::config::Origin;
use crate::egress::resolve::{PLACES, Resolve, System};
use crate::egress::{Egress, Own, Policy, Subrequest, Timeouts};
use crate::failure::Failure;
use crate::http::Body;
use crate::observe::Trace;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn http2(address: SocketAddr) -> Origin {
    let mut origin = origin("o", &format!("http://{address}"));
    origin.http2 = true;
    origin
}

#[tokio::test]
async fn clients_that_do_not_read_stop_nobody_else_on_an_http2_connection() {
    let address = raw(|count, stream| async move {
        assert_eq!(count, 0, "all share one connection");
        let service = hyper::service::service_fn(|_: Request<hyper::body::Incoming>| async {
            Ok::<_, Infallible>(Response::new(Body::from(Bytes::from(vec![b'x'; 1 << 20]))))
        });
        let stream = hyper_util::rt::TokioIo::new(stream);
        let _ = hyper::server::conn::http2::Builder::new(Local).serve_connection(stream, service).await;
    })
    .await;
    let egress = Egress::new(&[http2(address)], Own::default()).unwrap();
    let mut unread = Vec::new();
    for _ in 0..50 {
        unread.push(forward(&egress, get("/")).await.unwrap());
    }
    let read = forward(&egress, get("/")).await.unwrap();
    assert_eq!(text(read).await.unwrap().len(), 1 << 20);
}

#[tokio::test]
async fn an_origin_has_so_many_requests_at_once_until_their_bodies_are_over() {
    let (address, _) = canned(OK).await;
    let mut one = origin("o", &format!("http://{address}"));
    one.concurrency = Some(1);
    let egress = Egress::new(&[one], Own::default()).unwrap();
    let held = forward(&egress, get("/")).await.unwrap();
    for _ in 0..2 {
        let failure = forward(&egress, get("/")).await.unwrap_err();
        assert_eq!((failure.status(), failure.code()), (503, "overloaded"));
    }
    let passed = egress.pass(&HeaderMap::new(), 1).unwrap();
    let policy = Arc::new(Policy::new(vec!["o".to_owned()], Vec::new(), false));
    let request = get("http://o.origin.internal/");
    let subrequest = Subrequest { request, timeouts: Timeouts::MAX, trace: Trace::root(), passed };
    let failure = soon(egress.fetch(&policy, subrequest)).await.unwrap_err();
    assert_eq!(failure.code(), "overloaded", "a worker's requests count too");
    drop(held);
    let mut read = forward(&egress, get("/")).await.unwrap().into_body();
    while soon(read.frame()).await.is_some() {}
    assert_eq!(
        text(forward(&egress, get("/")).await.unwrap()).await.unwrap(),
        "ok",
        "read to its end, and still there"
    );
    drop(read);
}

/// An HTTP/2 origin that answers with a piece of a body, and then resets the stream without an error; before or after END_STREAM.
async fn resetting(ended: bool) -> (SocketAddr, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let told = Arc::clone(&go);
    let address = raw(move |_, stream| {
        let go = Arc::clone(&told);
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let go = Arc::clone(&go);
                spawn(async move {
                    let mut sent = respond.send_response(Response::new(()), false).unwrap();
                    sent.send_data(Bytes::from_static(b"half"), ended).unwrap();
                    go.notified().await;
                    sent.send_reset(h2::Reason::NO_ERROR);
                });
            }
        }
    })
    .await;
    (address, go)
}

#[tokio::test]
async fn a_stream_that_is_reset_without_an_error_has_no_clean_end() {
    let (address, go) = resetting(false).await;
    let egress = Egress::new(&[http2(address)], Own::default()).unwrap();
    let mut response = forward(&egress, get("/")).await.unwrap();
    assert_eq!(soon(response.body_mut().frame()).await.unwrap().unwrap().into_data().unwrap(), "half");
    go.notify_one();
    assert!(matches!(body_failure(response).await, Failure::OriginReset(_)));
}

#[tokio::test]
async fn a_stream_that_is_reset_without_an_error_after_its_end_has_ended() {
    let (address, go) = resetting(true).await;
    let egress = Egress::new(&[http2(address)], Own::default()).unwrap();
    // An upload that the origin does not want is what such a reset is for (RFC 9113 §8.1).
    let (feeder, body) = fed();
    feed(&feeder, "begun").await;
    let response = forward(&egress, super::post(body)).await.unwrap();
    go.notify_one();
    assert_eq!(text(response).await.unwrap(), "half");
}

#[tokio::test]
async fn a_request_body_that_is_reset_without_an_error_is_a_client_that_went_away() {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (sender, mut failures) = tokio::sync::mpsc::unbounded_channel();
    spawn(async move {
        let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
            let sender = sender.clone();
            async move {
                let body = Body::received(request.into_body(), Version::HTTP_2);
                let _ =
                    sender.send(body.collect().await.map(|body| body.to_bytes()).map_err(|error| error.to_string()));
                Ok::<_, Infallible>(Response::new(Body::empty()))
            }
        });
        let stream = hyper_util::rt::TokioIo::new(theirs);
        let _ = hyper::server::conn::http2::Builder::new(Local).serve_connection(stream, service).await;
    });
    let (client, connection) = h2::client::handshake(ours).await.unwrap();
    spawn(async move { drop(connection.await) });
    for reset in [true, false] {
        let mut client = client.clone().ready().await.unwrap();
        let request = Request::post("http://front.example/").body(()).unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"half"), !reset).unwrap();
        if reset {
            // Let the piece go out before the reset takes it back.
            tokio::task::yield_now().await;
            body.send_reset(h2::Reason::NO_ERROR);
        }
        let read = soon(failures.recv()).await.unwrap();
        assert_eq!(read.is_err(), reset, "{read:?}");
        drop(response);
    }
}

#[tokio::test]
async fn slow_names_of_one_worker_leave_the_look_ups_to_others() {
    let resolver = System::new(1);
    let places = Arc::new(Semaphore::new(1));
    let _slow = Arc::clone(&places).acquire_owned().await.unwrap();
    let waits = PLACES.sync_scope(places, || resolver.resolve("localhost", 80));
    let mut waits = std::pin::pin!(waits);
    assert!(futures_util::poll!(waits.as_mut()).is_pending(), "it has no place left");
    let others = PLACES.sync_scope(Arc::new(Semaphore::new(1)), || resolver.resolve("localhost", 80));
    assert!(!soon(others).await.unwrap().is_empty());
    assert!(!soon(resolver.resolve("localhost", 80)).await.unwrap().is_empty(), "origins have no such bound");
}

#[tokio::test]
async fn a_worker_s_look_ups_take_its_own_places() {
    struct Asks(Arc<std::sync::Mutex<Vec<usize>>>);
    impl Resolve for Asks {
        fn resolve(&self, _: &str, _: u16) -> crate::egress::resolve::Resolving {
            let places = PLACES.try_with(|places| places.available_permits()).unwrap_or(0);
            self.0.lock().unwrap().push(places);
            Box::pin(std::future::ready(Ok(Vec::new())))
        }
    }
    let seen = Arc::default();
    let resolver = Arc::new(Asks(Arc::clone(&seen)));
    let egress = Egress::with_resolvers(&[], Own::default(), resolver.clone(), resolver).unwrap();
    let passed = egress.pass(&HeaderMap::new(), 1).unwrap();
    let policy = Arc::new(Policy::new(Vec::new(), Vec::new(), true));
    let request = get("http://name.example/");
    let subrequest = Subrequest { request, timeouts: Timeouts::MAX, trace: Trace::root(), passed };
    assert_eq!(soon(egress.fetch(&policy, subrequest)).await.unwrap_err().code(), "origin_dns");
    let places = policy.lookups.available_permits();
    assert!(places > 0 && places < 16, "fewer than a core has for all");
    assert_eq!(*seen.lock().unwrap(), [places]);
}
