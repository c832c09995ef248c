//! Request bodies: framed as they are, streamed, stopped, and sent again only when nothing can have happened.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{canned, egress, fed, feed, forward, get, post, raw, read_exactly, read_head, soon, text};
use crate::failure::Failure;
use crate::http::Body;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_request_streams_while_its_response_does() {
    let address = raw(|_, mut stream| async move {
        assert!(read_head(&mut stream).await.unwrap().contains("transfer-encoding: chunked"));
        read_exactly(&mut stream, "3\r\none\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nONE\r\n").await.unwrap();
        read_exactly(&mut stream, "3\r\ntwo\r\n0\r\n\r\n").await;
        stream.write_all(b"3\r\nTWO\r\n0\r\n\r\n").await.unwrap();
    })
    .await;
    let (feeder, body) = fed();
    feed(&feeder, "one").await;
    let mut answer = forward(&egress(address), post(body)).await.unwrap().into_body();
    assert_eq!(soon(answer.frame()).await.unwrap().unwrap().into_data().unwrap(), "ONE");
    feed(&feeder, "two").await;
    drop(feeder);
    assert_eq!(soon(answer.collect()).await.unwrap().to_bytes(), "TWO");
}

#[tokio::test]
async fn a_length_that_the_body_does_not_keep_never_reaches_the_connection() {
    let (address, mut heads) = canned(OK).await;
    let egress = egress(address);
    let lies = [("5", Body::empty()), ("3", Body::from(Bytes::from_static(b"")))];
    for (length, body) in lies {
        let request = Request::get("/").header("content-length", length).body(body).unwrap();
        forward(&egress, request).await.unwrap();
        assert!(!heads.recv().await.unwrap().contains("content-length"));
    }
    let request = Request::post("/").header("content-length", "5").header("content-length", "6").body(Body::empty());
    forward(&egress, request.unwrap()).await.unwrap();
    assert!(heads.recv().await.unwrap().contains("content-length: 0\r\n"));
}

#[tokio::test]
async fn a_body_of_unknown_length_is_kept_on_get_and_an_empty_one_is_no_body() {
    let address = raw(|_, mut stream| async move {
        assert!(!read_head(&mut stream).await.unwrap().contains("transfer-encoding"));
        stream.write_all(OK.as_bytes()).await.unwrap();
        assert!(read_head(&mut stream).await.unwrap().contains("transfer-encoding: chunked"));
        read_exactly(&mut stream, "3\r\none\r\n0\r\n\r\n").await;
        stream.write_all(OK.as_bytes()).await.unwrap();
    })
    .await;
    let egress = egress(address);
    let (feeder, body) = fed();
    drop(feeder);
    let empty = forward(&egress, Request::get("/").body(body).unwrap()).await.unwrap();
    assert_eq!(text(empty).await.unwrap(), "ok");
    let (feeder, body) = fed();
    feed(&feeder, "one").await;
    drop(feeder);
    let full = forward(&egress, Request::get("/").body(body).unwrap()).await.unwrap();
    assert_eq!(text(full).await.unwrap(), "ok");
}

#[tokio::test]
async fn the_rest_of_an_upload_is_not_wanted_once_the_response_is_over() {
    let address = raw(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let (feeder, body) = fed();
    let response = forward(&egress(address), post(body)).await.unwrap();
    assert_eq!(response.status(), 413);
    soon(feeder.closed()).await;
}

#[tokio::test]
async fn a_body_waits_for_continue() {
    let (got, mut gotten) = tokio::sync::mpsc::unbounded_channel();
    let address = raw(move |count, mut stream| {
        let got = got.clone();
        async move {
            assert!(read_head(&mut stream).await.unwrap().contains("expect: 100-continue"));
            let answer =
                if count == 0 { "HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n" } else { "HTTP/1.1 100 Go\r\n\r\n" };
            stream.write_all(answer.as_bytes()).await.unwrap();
            if count == 0 {
                got.send(stream.read_to_end(&mut Vec::new()).await.unwrap()).unwrap();
            } else {
                read_exactly(&mut stream, "body").await;
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let egress = egress(address);
    let request = || {
        let body = Body::from(Bytes::from_static(b"body"));
        Request::post("/").header("expect", "100-continue").body(body).unwrap()
    };
    assert_eq!(forward(&egress, request()).await.unwrap().status(), 417);
    assert_eq!(soon(gotten.recv()).await, Some(0), "no byte of the body was sent; the connection was closed instead");
    assert_eq!(forward(&egress, request()).await.unwrap().status(), 200);
}

/// An origin whose first connection serves once, and then closes when it is used again.
async fn stale() -> std::net::SocketAddr {
    raw(|count, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
        read_head(&mut stream).await;
        if count > 0 {
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_request_that_met_a_closing_connection_is_sent_again_if_it_can_be() {
    for (method, code) in [(Method::GET, None), (Method::DELETE, None), (Method::POST, Some("origin_reset"))] {
        let egress = egress(stale().await);
        assert_eq!(text(forward(&egress, get("/")).await.unwrap()).await.unwrap(), "ok");
        let request = Request::builder().method(method.clone()).uri("/").body(Body::empty()).unwrap();
        let answer = forward(&egress, request).await;
        assert_eq!(answer.err().map(|failure| failure.code()), code, "{method}");
    }
    let egress = egress(stale().await);
    assert_eq!(text(forward(&egress, get("/")).await.unwrap()).await.unwrap(), "ok");
    let put = Request::put("/").body(Body::from(Bytes::from_static(b"body"))).unwrap();
    assert_eq!(forward(&egress, put).await.unwrap_err().code(), "origin_reset", "a body is not sent twice");
}

#[tokio::test]
async fn a_new_connection_that_closes_is_not_tried_again() {
    let (count, mut counted) = tokio::sync::mpsc::unbounded_channel();
    let address = raw(move |number, mut stream| {
        count.send(number).unwrap();
        async move {
            read_head(&mut stream).await;
        }
    })
    .await;
    assert_eq!(forward(&egress(address), get("/")).await.unwrap_err().code(), "origin_reset");
    assert_eq!((counted.recv().await, counted.try_recv().ok()), (Some(0), None));
}

#[tokio::test]
async fn a_client_that_breaks_off_is_at_fault_and_says_why() {
    let reasons = [
        (Failure::RequestBodyTooLarge { limit: 7 }.into(), Failure::RequestBodyTooLarge { limit: 7 }),
        (Failure::RequestTimeout.into(), Failure::RequestTimeout),
        ("connection reset".into(), Failure::ClientGone),
    ];
    for (error, expected) in reasons {
        let address = raw(|_, mut stream| async move {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let (feeder, body) = fed();
        feed(&feeder, "begun").await;
        let fails = async { feeder.send(Err(error)).await.unwrap() };
        let egress = egress(address);
        let (answer, ()) = tokio::join!(forward(&egress, post(body)), fails);
        assert_eq!(answer.unwrap_err(), expected);
    }
}
