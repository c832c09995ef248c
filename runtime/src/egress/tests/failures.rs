//! Each way in which an origin can fail has its own code, and none looks like an answer.

use std::time::Duration;

use http::Request;
use tokio::io::AsyncWriteExt;

use super::{body_failure, canned, egress, forward, get, origin, raw, read_head, says, soon, text};
use crate::egress::{Egress, Own};
use crate::failure::{Failure, Wait};
use crate::http::Body;

async fn failure_of(answer: &'static str) -> Failure {
    let (address, _) = canned(answer).await;
    forward(&egress(address), get("/")).await.unwrap_err()
}

#[tokio::test]
async fn nobody_listens() {
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let failure = forward(&egress(address), get("/")).await.unwrap_err();
    assert_eq!(failure.code(), "origin_refused");
    assert!(failure.to_string().contains(&address.to_string()), "{failure}");
}

#[tokio::test]
async fn the_name_does_not_resolve() {
    for answer in [says(&[]), says(&[&[]])] {
        let origins = [origin("o", "http://nowhere.example")];
        let egress = Egress::with_resolvers(&origins, Own::default(), answer.clone(), answer).unwrap();
        assert_eq!(forward(&egress, get("/")).await.unwrap_err().code(), "origin_dns");
    }
}

#[tokio::test]
async fn the_next_address_is_tried() {
    let (address, _) = canned("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let answer = says(&[&["127.0.0.2", "127.0.0.3", "127.0.0.1"]]);
    let origins = [origin("o", &format!("http://three.example:{}", address.port()))];
    let egress = Egress::with_resolvers(&origins, Own::default(), answer.clone(), answer).unwrap();
    assert_eq!(text(forward(&egress, get("/")).await.unwrap()).await.unwrap(), "ok");
}

#[tokio::test]
async fn the_connection_closes_before_the_head() {
    for part in ["", "HTTP/1.1 200 OK\r\ncontent-le"] {
        let address = raw(move |_, mut stream| async move {
            read_head(&mut stream).await;
            stream.write_all(part.as_bytes()).await.unwrap();
        })
        .await;
        assert_eq!(forward(&egress(address), get("/")).await.unwrap_err().code(), "origin_reset");
    }
}

#[tokio::test]
async fn what_is_not_http_is_no_answer() {
    for answer in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "HTTP/1.1 99 Low\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 600 Beyond\r\n\r\n",
        "HTTP/1.1 999 Beyond\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad name: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    ] {
        assert_eq!(failure_of(answer).await.code(), "origin_invalid", "{answer}");
    }
}

#[tokio::test]
async fn heads_and_interim_responses_are_bounded() {
    let bomb = |head: String| async move {
        let address = raw(move |_, mut stream| {
            let head = head.clone();
            async move {
                read_head(&mut stream).await;
                let _ = stream.write_all(head.as_bytes()).await;
                // What was sent is to be read before the connection ends.
                read_head(&mut stream).await;
            }
        })
        .await;
        forward(&egress(address), get("/")).await.unwrap_err().code()
    };
    let end = "content-length: 0\r\n\r\n";
    assert_eq!(bomb(format!("HTTP/1.1 200 OK\r\nx: {}\r\n{end}", "a".repeat(1 << 20))).await, "origin_invalid");
    assert_eq!(bomb(format!("HTTP/1.1 200 OK\r\n{}{end}", "set-cookie: a=b\r\n".repeat(1000))).await, "origin_invalid");
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    assert_eq!(bomb(interim.repeat(1000)).await, "origin_invalid");
    let answered = format!("{}HTTP/1.1 204 No Content\r\n\r\n", interim.repeat(50));
    assert_eq!(bomb(answered).await, "origin_invalid", "an answer behind them changes nothing");
    // A few are no harm.
    let few = format!("{}HTTP/1.1 204 No Content\r\n\r\n", interim.repeat(3));
    let (address, _) = canned(Box::leak(few.into_boxed_str())).await;
    assert_eq!(forward(&egress(address), get("/")).await.unwrap().status(), 204);
}

#[tokio::test]
async fn a_body_that_breaks_off_never_ends_cleanly() {
    for (head, code) in [
        ("content-length: 10\r\n\r\nfive!", "origin_reset"),
        ("transfer-encoding: chunked\r\n\r\n5\r\nfive!\r\n", "origin_reset"),
        ("transfer-encoding: chunked\r\n\r\n5\r\nfive!\r\n0\r\n", "origin_reset"),
        ("transfer-encoding: chunked\r\n\r\n5\r\nfive!\r\nzz\r\n", "origin_reset"),
    ] {
        let address = raw(move |_, mut stream| async move {
            read_head(&mut stream).await;
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes()).await.unwrap();
        })
        .await;
        let response = forward(&egress(address), get("/")).await.unwrap();
        assert_eq!(body_failure(response).await.code(), code, "{head}");
    }
}

/// An origin that never says more than this.
async fn silent_after(part: &'static str) -> Egress {
    let address = raw(move |_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(part.as_bytes()).await.unwrap();
        read_head(&mut stream).await;
    })
    .await;
    let mut slow = origin("o", &format!("http://{address}"));
    slow.first_byte_timeout = Duration::from_millis(60);
    slow.idle_timeout = Duration::from_millis(70);
    Egress::new(&[slow], Own::default()).unwrap()
}

#[tokio::test]
async fn an_origin_that_is_too_slow_times_out() {
    let too_late = |wait, millis| Failure::OriginTimeout { wait, limit: Duration::from_millis(millis) };
    for part in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let failure = forward(&silent_after(part).await, get("/")).await.unwrap_err();
        assert_eq!(failure, too_late(Wait::Head, 60));
    }
    let request = Request::post("/").body(Body::from(bytes::Bytes::from("body"))).unwrap();
    let failure = forward(&silent_after("").await, request).await.unwrap_err();
    assert_eq!(failure, too_late(Wait::Head, 60));

    for part in ["content-length: 10\r\n\r\nfive!", "transfer-encoding: chunked\r\n\r\n", "\r\nuntil closed"] {
        let head = Box::leak(format!("HTTP/1.1 200 OK\r\n{part}").into_boxed_str());
        let response = forward(&silent_after(head).await, get("/")).await.unwrap();
        assert_eq!(body_failure(response).await, too_late(Wait::Body, 70));
    }
}

#[tokio::test]
async fn connecting_has_a_time_of_its_own() {
    struct Never;
    impl crate::egress::resolve::Resolve for Never {
        fn resolve(&self, _: &str, _: u16) -> crate::egress::resolve::Resolving {
            Box::pin(std::future::pending())
        }
    }
    let mut far = origin("o", "http://far.example");
    far.connect_timeout = Duration::from_millis(50);
    let never = std::sync::Arc::new(Never);
    let egress = Egress::with_resolvers(&[far], Own::default(), never.clone(), never).unwrap();
    let failure = soon(forward(&egress, get("/"))).await.unwrap_err();
    assert_eq!(failure, Failure::OriginTimeout { wait: Wait::Connection, limit: Duration::from_millis(50) });
}

#[tokio::test]
async fn times_without_end_are_times_too() {
    let (address, _) = canned("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let mut patient = origin("o", &format!("http://{address}"));
    patient.connect_timeout = Duration::MAX;
    patient.first_byte_timeout = Duration::MAX;
    patient.idle_timeout = Duration::MAX;
    let egress = Egress::new(&[patient], Own::default()).unwrap();
    let request = Request::post("/").body(Body::from(bytes::Bytes::from("body"))).unwrap();
    assert_eq!(text(forward(&egress, request).await.unwrap()).await.unwrap(), "ok");
}
