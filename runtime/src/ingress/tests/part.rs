//! The end of a node whose sockets another one has.

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;

#[tokio::test]
async fn a_connection_that_parts_is_answered_once_more_and_told_that_it_was_the_last_time() {
    let (node, mut idle, mut silent) = Running::with_idle_and_silent(GET).await;
    node.cores.part();
    // The socket closes on its core's own time.
    while TcpStream::connect(node.address).await.is_ok() {}
    for client in [&mut idle, &mut silent] {
        client.write_all(GET.as_bytes()).await.unwrap();
        let answer = within(response(client)).await;
        assert!(answer.starts_with("http/1.1 200") && answer.contains("connection: close"), "{answer}");
        until_closed(client).await;
    }
    within(node.cores.emptied()).await;
}

#[tokio::test]
async fn none_is_left_only_when_each_listener_has_heard_that_it_is_not_to_accept() {
    let node = Running::start(&limits());
    node.hold_the_core().await;
    assert_eq!(node.cores.connections(), 0);
    node.cores.part();
    // Its core may still take who comes now.
    let is_waited_for = tokio::time::timeout(Duration::from_millis(100), node.cores.emptied()).await.is_err();
    node.block.wait();
    assert!(is_waited_for);
    within(node.cores.emptied()).await;
    assert!(TcpStream::connect(node.address).await.is_err());
}

#[tokio::test]
async fn http2_streams_that_come_before_the_client_has_heard_the_goodbye_are_answered() {
    let node = Running::start(&limits());
    let io = TokioIo::new(node.connect().await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let (end, ended) = tokio::sync::oneshot::channel();
    crate::observe::spawn("client", async move { drop(end.send(connection.await)) });
    let request = || Request::builder().uri("http://a/").body(Empty::<Bytes>::new()).unwrap();
    within(sender.send_request(request())).await.unwrap();
    node.cores.part();
    // On its way together with the goodbye.
    let answer = within(sender.send_request(request())).await.unwrap();
    answer.into_body().collect().await.unwrap();
    within(ended).await.unwrap().unwrap();
    within(node.cores.emptied()).await;
}

#[tokio::test]
async fn a_core_that_does_not_come_to_what_it_is_asked_is_noticed() {
    let node = Running::with(2, &limits(), None);
    let ask = |patience| {
        let answering = node.cores.answering();
        tokio::task::spawn_blocking(move || answering(patience))
    };
    assert_eq!(ask(PATIENCE).await.unwrap(), Some(true));
    let mut blocked = node.connect().await;
    blocked.write_all(get("/block").as_bytes()).await.unwrap();
    node.opened(1).await;
    assert_eq!(ask(Duration::from_millis(50)).await.unwrap(), Some(false));
    node.block.wait();
    within(response(&mut blocked)).await;
    assert_eq!(ask(PATIENCE).await.unwrap(), Some(true));
    let answering = node.cores.answering();
    drop(node.cores);
    assert_eq!(answering(PATIENCE), None);
}
