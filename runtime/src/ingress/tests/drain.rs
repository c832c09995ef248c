//! The end of a node.

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;

#[tokio::test]
async fn draining_finishes_what_was_asked_and_takes_nothing_new() {
    let node = Running::with(2, &limits(), None);
    let mut client = node.connect().await;
    client.write_all(get("/wait").as_bytes()).await.unwrap();
    node.opened(1).await;
    let test = async {
        // The socket closes on its core's own time.
        while TcpStream::connect(node.address).await.is_ok() {}
        node.release.notify_one();
        within(response(&mut client)).await
    };
    let ((), answer) = within(async { tokio::join!(node.cores.drain(), test) }).await;
    assert!(answer.contains("connection: close") && answer.ends_with("done"), "{answer}");
    assert_eq!(node.cores.connections(), 0);
}

#[tokio::test]
async fn draining_closes_idle_and_silent_connections_at_once() {
    let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";
    let (node, mut idle, mut silent) = Running::with_idle_and_silent(post).await;
    let closed = async { tokio::join!(until_closed(&mut idle), until_closed(&mut silent)) };
    within(async { tokio::join!(node.cores.drain(), closed) }).await;
}

#[tokio::test]
async fn what_has_come_before_draining_is_answered() {
    let (node, mut idle, mut silent) = Running::with_idle_and_silent(GET).await;
    node.hold_the_core().await;
    for client in [&mut idle, &mut silent] {
        client.write_all(GET.as_bytes()).await.unwrap();
    }
    let drained = node.cores.drain();
    let test = async {
        node.block.wait();
        for client in [&mut idle, &mut silent] {
            let answer = within(response(client)).await;
            assert!(answer.starts_with("http/1.1 200") && answer.contains("connection: close"), "{answer}");
            until_closed(client).await;
        }
    };
    within(async { tokio::join!(drained, test) }).await;
}

#[tokio::test]
async fn what_is_not_done_is_waited_for_and_cut_in_the_end() {
    let node = Running::start(&limits());
    let mut client = node.connect().await;
    client.write_all(get("/wait").as_bytes()).await.unwrap();
    node.opened(1).await;
    assert!(tokio::time::timeout(Duration::from_millis(100), node.cores.drain()).await.is_err());
    assert_eq!(node.cores.connections(), 1);
    let Running { cores, open, .. } = node;
    drop(cores);
    assert_eq!(until_closed(&mut client).await.0, "");
    assert_eq!(*open.borrow(), 0);
}

#[tokio::test]
async fn draining_lets_http2_streams_finish() {
    let node = Running::start(&limits());
    let io = TokioIo::new(node.connect().await);
    let client = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
    let (mut sender, connection) = client.await.unwrap();
    let (end, ended) = tokio::sync::oneshot::channel();
    crate::observe::spawn("client", async move { drop(end.send(connection.await)) });
    let request = Request::builder().uri("http://a/wait").body(Empty::<Bytes>::new()).unwrap();
    let answer = sender.send_request(request);
    let test = async {
        node.opened(1).await;
        let release = async {
            while TcpStream::connect(node.address).await.is_ok() {}
            node.release.notify_one();
        };
        tokio::join!(node.cores.drain(), release)
    };
    let (((), ()), answer) = within(async { tokio::join!(test, answer) }).await;
    assert_eq!(answer.unwrap().into_body().collect().await.unwrap().to_bytes(), "done");
    within(ended).await.unwrap().unwrap();
}
