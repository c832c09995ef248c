//! HTTP/2 with prior knowledge.

use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::oneshot;

use super::*;

type Sender = SendRequest<Empty<Bytes>>;

/// A client whose window for a stream is small, and news of the end of its connection.
async fn connect(node: &Running) -> (Sender, oneshot::Receiver<hyper::Result<()>>) {
    let io = TokioIo::new(node.connect().await);
    let (sender, connection) =
        Builder::new(TokioExecutor::new()).initial_stream_window_size(64 * 1024).handshake(io).await.unwrap();
    let (end, ended) = oneshot::channel();
    crate::observe::spawn("client", async move { drop(end.send(connection.await)) });
    (sender, ended)
}

fn request(path: &str) -> Request<Empty<Bytes>> {
    Request::builder().uri(format!("http://a{path}")).body(Empty::new()).unwrap()
}

async fn text(sender: &mut Sender, path: &str) -> Bytes {
    let response = within(sender.send_request(request(path))).await.unwrap();
    assert_eq!(response.status(), 200);
    within(response.into_body().collect()).await.unwrap().to_bytes()
}

#[tokio::test]
async fn prior_knowledge_is_understood() {
    let node = Running::start(&limits());
    let (mut sender, _ended) = connect(&node).await;
    assert_eq!(text(&mut sender, "/tls").await, "HTTP/2.0 None");
}

#[tokio::test]
async fn a_body_in_one_piece_arrives_whole() {
    let node = Running::start(&limits());
    let (mut sender, _ended) = connect(&node).await;
    assert_eq!(text(&mut sender, "/whole").await.len(), 1 << 20);
}

#[tokio::test]
async fn a_connection_without_streams_is_closed_at_keepalive_idle() {
    let node = Running::start(&limits());
    let (mut sender, ended) = connect(&node).await;
    text(&mut sender, "/").await;
    let start = Instant::now();
    // GOAWAY and an end, not an error.
    within(ended).await.unwrap().unwrap();
    assert!(start.elapsed() >= limits().keepalive_idle - Duration::from_millis(50));
}

#[tokio::test]
async fn a_connection_with_a_stream_is_not_idle() {
    let node = Running::start(&limits());
    let (mut sender, _ended) = connect(&node).await;
    assert_eq!(text(&mut sender, "/slow").await, "slow");
    assert_eq!(text(&mut sender, "/slow").await, "slow");
}

#[tokio::test]
async fn a_preface_and_nothing_more_is_closed() {
    let node = Running::start(&limits());
    let mut client = node.connect().await;
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    until_closed(&mut client).await;
}

#[tokio::test]
async fn what_is_not_http2_is_told_of() {
    let node = Running::start(&limits());
    let mut client = node.connect().await;
    // SETTINGS of a stream, which has none (RFC 9113 §6.5).
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\x01").await.unwrap();
    until_closed(&mut client).await;
    node.refused(&["bad_request"]).await;
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_reset_and_its_neighbours_go_on() {
    let node = Running::start(&limits());
    let (mut sender, _ended) = connect(&node).await;
    let start = Instant::now();
    let unread = within(sender.send_request(request("/endless"))).await.unwrap();
    node.opened(1).await;
    let mut neighbour = sender.clone();
    let neighbours = async {
        while *node.open.borrow() > 0 {
            assert_eq!(text(&mut neighbour, "/").await, "0 fields");
        }
    };
    within(neighbours).await;
    assert!(start.elapsed() >= limits().write_idle);
    let end = within(unread.into_body().collect()).await.unwrap_err();
    assert!(!end.is_closed(), "the stream was reset, not the connection: {end}");
}

#[tokio::test]
async fn a_client_that_takes_back_its_requests_is_cut() {
    let node = Running::start(&limits());
    let (mut sender, ended) = connect(&node).await;
    let flood = async {
        for _ in 0..1000 {
            let sent = async { sender.ready().await.is_ok() && sender.send_request(request("/wait")).await.is_ok() };
            tokio::select! {
                _ = sent => return,
                () = node.opened(1) => {}
            }
            // Dropping the future has reset the stream.
            node.opened(0).await;
        }
        panic!("a thousand requests were taken back");
    };
    within(flood).await;
    within(ended).await.unwrap().unwrap_err();
    node.opened(0).await;
}
