use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Nats;
use super::streams::Part;
use super::wire::Moved;
use crate::config;
use crate::store::error::StoreError;
use crate::store::queue::model::Held;
use crate::store::queue::{Delivery, Lease, NewMessage, QueueError, QueueLimits, QueueName, Queues};
use crate::store::servers::{Server, Synced};

const LIMITS: QueueLimits = QueueLimits { messages: 10_000, bytes: 8 << 20 };

fn named(server: &Server, allow_unsynced: bool) -> config::Server {
    config::Server {
        protocol: config::Protocol::Nats,
        url: server.url().parse().unwrap(),
        credentials: None,
        monitor: vec![server.monitor_url().parse().unwrap()],
        replicas: 1,
        allow_unsynced,
    }
}

fn mail() -> QueueName {
    QueueName { worker: "shop".into(), name: "mail".into() }
}

async fn send(queues: &Queues, body: &str) -> Result<(), QueueError> {
    let message = NewMessage { body: body.into(), content_type: None, delay: Duration::ZERO, key: None, trace: None };
    queues.send(&mail(), vec![message], LIMITS).await.map(drop)
}

async fn receive(queues: &Queues) -> Vec<String> {
    let delivery = Delivery { messages: 10, bytes: u64::MAX, lease: Duration::from_secs(1) };
    let received = queues.receive(&mail(), delivery).await.unwrap();
    received.into_iter().map(|message| String::from_utf8(message.body).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_acknowledges_before_it_has_written_is_used_only_where_that_is_allowed() {
    let Some(server) = Server::nats(Synced::Sometimes) else { return };
    let refused = Queues::connect(&named(&server, false)).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Unsynced { reason, .. } if reason.contains("before it has written")),
        "{refused}"
    );
    let unproved = config::Server { monitor: Vec::new(), ..named(&server, false) };
    let refused = Queues::connect(&unproved).unwrap_err();
    assert!(matches!(&refused, StoreError::Unsynced { reason, .. } if reason.contains("monitor")), "{refused}");
    let queues = Queues::connect(&named(&server, true)).unwrap();
    send(&queues, "a").await.unwrap();
    assert_eq!(receive(&queues).await, ["a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_monitor_of_another_server_proves_nothing() {
    let (Some(lax), Some(strict)) = (Server::nats(Synced::Sometimes), Server::nats(Synced::Always)) else { return };
    let wrong = config::Server { monitor: named(&strict, false).monitor, ..named(&lax, false) };
    let refused = Queues::connect(&wrong).unwrap_err();
    assert!(matches!(&refused, StoreError::Unsynced { reason, .. } if reason.contains("none of those")), "{refused}");
}

/// F16 of the failure cases, as far as queues go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_server_is_away_a_send_fails_at_once_and_afterwards_all_is_there() {
    let Some(mut server) = Server::nats(Synced::Always) else { return };
    let queues = Queues::connect(&named(&server, false)).unwrap();
    send(&queues, "before").await.unwrap();
    server.kill();
    let began = Instant::now();
    let failed = send(&queues, "on the way").await.unwrap_err();
    assert!(matches!(failed, QueueError::Store(StoreError::Server { .. })), "{failed}");
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    let began = Instant::now();
    assert!(send(&queues, "meanwhile").await.is_err() && began.elapsed() < Duration::from_millis(100));
    server.start();
    let until = Instant::now() + Duration::from_secs(20);
    while send(&queues, "after").await.is_err() {
        assert!(Instant::now() < until, "it goes on by itself");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What was on its way when the connection broke may have come over, or come over now: nobody can say so to its producer.
    let mut all = receive(&queues).await;
    all.retain(|body| body != "on the way");
    assert_eq!(all, ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_at_the_start_is_waited_for() {
    let Some(mut server) = Server::nats(Synced::Always) else { return };
    let named = named(&server, false);
    server.kill();
    let queues = Queues::connect(&named).unwrap();
    assert!(matches!(send(&queues, "a").await, Err(QueueError::Store(StoreError::Server { .. }))));
    server.start();
    let until = Instant::now() + Duration::from_secs(20);
    while send(&queues, "a").await.is_err() {
        assert!(Instant::now() < until, "it goes on by itself");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(receive(&queues).await, ["a"]);
}

/// A node that was killed between a copy and its acknowledgement makes the same copy again, under the same name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_made_twice_is_made_once() {
    let Some(server) = Server::nats(Synced::Always) else { return };
    let queues = Queues::connect(&named(&server, false)).unwrap();
    send(&queues, "a").await.unwrap();
    let delivery = Delivery { messages: 1, bytes: u64::MAX, lease: Duration::from_secs(1) };
    let nats = Nats::open(&named(&server, false), Arc::default()).unwrap();
    let dead = mail().beside("mail-dead");
    nats.streams.make(Part::Ready, &dead, None).await.unwrap();
    for delivery in [delivery; 2] {
        let mut received = queues.receive(&mail(), delivery).await.unwrap();
        while received.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            received = queues.receive(&mail(), delivery).await.unwrap();
        }
        let Some(Lease(Held::Nats(out))) = received[0].lease() else { panic!("a lease of NATS") };
        let message = &received[0];
        let moved = Moved { message, attempts: 0, due: None, reason: Some("why"), once: out.once("dead") };
        nats.transfer(&moved, Part::Ready, &dead).await.unwrap();
    }
    let standing = queues.standing(None).await.unwrap();
    assert_eq!(standing.iter().find(|queue| queue.queue == dead).unwrap().messages, 1);
}

/// F16 of the failure cases: somebody deletes the stream of a queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_somebody_deletes_is_told_of_once_and_made_again() {
    let Some(server) = Server::nats(Synced::Always) else { return };
    let queues = Queues::connect(&named(&server, false)).unwrap();
    send(&queues, "a").await.unwrap();
    let nats = Nats::open(&named(&server, false), Arc::default()).unwrap();
    nats.link.ask().unwrap().delete_stream(Part::stream(Part::Ready, &mail())).await.unwrap();
    let failed = send(&queues, "b").await.unwrap_err();
    assert!(failed.to_string().contains("no stream"), "no silence: {failed}");
    send(&queues, "c").await.unwrap();
    assert_eq!(receive(&queues).await, ["c"]);
}

/// F16 of the failure cases: the server is there and does not answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_answer_costs_a_send_some_seconds_and_no_more() {
    let Some(server) = Server::nats(Synced::Always) else { return };
    let queues = Queues::connect(&named(&server, false)).unwrap();
    send(&queues, "a").await.unwrap();
    server.freeze();
    let began = Instant::now();
    let failed = send(&queues, "b").await.unwrap_err();
    server.thaw();
    assert!(matches!(failed, QueueError::Store(StoreError::Server { .. })), "{failed}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let until = Instant::now() + Duration::from_secs(20);
    while send(&queues, "c").await.is_err() {
        assert!(Instant::now() < until, "it goes on by itself");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let received = receive(&queues).await;
    assert!(received.contains(&"a".to_owned()) && received.contains(&"c".to_owned()), "{received:?}");
}

/// F16 of the failure cases: the server has no room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_room_for_a_queue_says_so() {
    let Some(server) = Server::nats(Synced::Always) else { return };
    let queues = Queues::connect(&named(&server, false)).unwrap();
    let message = NewMessage { body: vec![1], content_type: None, delay: Duration::ZERO, key: None, trace: None };
    let more_than_it_has = QueueLimits { messages: 10, bytes: 1 << 40 };
    let failed = queues.send(&mail(), vec![message], more_than_it_has).await.unwrap_err();
    assert!(
        matches!(&failed, QueueError::Store(StoreError::Server { reason, .. }) if reason.contains("storage")),
        "{failed}"
    );
}
