use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use redis::FromRedisValue;

use crate::config;
use crate::store::error::StoreError;
use crate::store::queue::{
    Delivery, Message, MessageId, NewMessage, QueueError, QueueLimits, QueueName, Queues, Settled, Wanted,
};
use crate::store::servers::{Server, Synced};

const LIMITS: QueueLimits = QueueLimits { messages: 10_000, bytes: 64 << 20 };
const LEASE: Duration = Duration::from_secs(30);

/// What should happen at once has happened by then.
const PATIENCE: Duration = Duration::from_secs(20);

fn named(server: &Server) -> config::Server {
    config::Server {
        protocol: config::Protocol::Redis,
        url: server.url().parse().unwrap(),
        credentials: None,
        monitor: Vec::new(),
        replicas: 1,
        allow_unsynced: false,
    }
}

fn mail() -> QueueName {
    QueueName { worker: "shop".into(), name: "mail".into() }
}

fn message(body: impl Into<Vec<u8>>) -> NewMessage {
    NewMessage { body: body.into(), content_type: None, delay: Duration::ZERO, key: None, trace: None }
}

async fn send(queues: &Queues, body: &str) -> Result<Vec<MessageId>, QueueError> {
    queues.send(&mail(), vec![message(body)], LIMITS).await
}

async fn take(queues: &Queues, messages: u32, lease: Duration) -> Vec<Message> {
    queues.receive(&mail(), Delivery { messages, bytes: u64::MAX, lease }).await.unwrap()
}

fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| std::str::from_utf8(&message.body).unwrap()).collect()
}

async fn settle(queues: &Queues, message: &Message, settled: Settled) -> usize {
    queues.settle(&mail(), vec![(message.lease().unwrap(), settled)]).await.unwrap()
}

/// Messages of a queue, and what they count.
async fn count(queues: &Queues, name: &str) -> (u64, u64) {
    let standing = queues.standing(Some("shop")).await.unwrap();
    standing.iter().find(|queue| &*queue.queue.name == name).map_or((0, 0), |queue| (queue.messages, queue.bytes))
}

/// Says something to the server itself.
fn say<T: FromRedisValue>(server: &Server, words: &[&str]) -> T {
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    redis::cmd(words[0]).arg(&words[1..]).query(&mut connection).unwrap()
}

/// Sends until it is taken.
async fn send_in_the_end(queues: &Queues, body: &str) -> Vec<MessageId> {
    let until = Instant::now() + PATIENCE;
    loop {
        match send(queues, body).await {
            Ok(sent) => return sent,
            Err(error) => assert!(Instant::now() < until, "it goes on by itself: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn assert_unsynced<T: std::fmt::Debug>(result: Result<T, StoreError>, because: &str) {
    let Err(StoreError::Unsynced { reason, .. }) = &result else { panic!("{result:?}") };
    assert!(reason.contains(because), "{reason}");
}

#[tokio::test]
async fn a_server_that_acknowledges_before_it_has_written_is_used_only_where_that_is_allowed() {
    let Some(server) = Server::redis(Synced::Sometimes) else { return };
    assert_unsynced(Queues::connect(&named(&server)), "appendfsync is everysec");
    let queues = Queues::connect(&config::Server { allow_unsynced: true, ..named(&server) }).unwrap();
    send(&queues, "a").await.unwrap();
    assert_eq!(bodies(&take(&queues, 10, LEASE).await), ["a"]);
}

/// What docs/queues.md says that a user needs, but for `+config|get`.
const RIGHTS: [&str; 9] = [
    "~{eyot:*",
    "~eyot:workers",
    "&eyot.bell",
    "+@read",
    "+@write",
    "+@pubsub",
    "+@scripting",
    "+@connection",
    "+info",
];

#[tokio::test]
async fn a_server_that_does_not_show_how_it_is_configured_proves_nothing_and_its_password_is_in_no_error() {
    let Some(server) = Server::redis(Synced::Always) else { return };
    let user = |rights: &[&str]| say::<()>(&server, &[&["ACL", "SETUSER", "node"], rights].concat());
    user(&[&["on", ">pass word"], &RIGHTS[..]].concat());
    let url = server.url().replace("redis://", "redis://node:pass%20word@");
    let named = config::Server { url: format!("{url}/3").parse().unwrap(), ..named(&server) };
    let refused = Queues::connect(&named);
    assert!(!format!("{refused:?}").contains("pass"), "{refused:?}");
    assert_unsynced(refused, "cannot be proved");
    user(&["+config|get"]);
    let queues = Queues::connect(&named).unwrap();
    assert!(!format!("{queues:?}").contains("pass"), "{queues:?}");
    send(&queues, "a").await.unwrap();
    assert_eq!(say::<u64>(&server, &["DBSIZE"]), 0, "it is another database's");
    // Half of what a script does would be worse than nothing.
    user(&["-hincrby"]);
    assert_unsynced(Queues::connect(&config::Server { allow_unsynced: true, ..named }), "HINCRBY");
}

#[tokio::test]
async fn what_was_proved_is_proved_again_over_each_connection() {
    let Some(server) = Server::redis(Synced::Always) else { return };
    let queues = Queues::connect(&named(&server)).unwrap();
    send(&queues, "a").await.unwrap();
    say::<()>(&server, &["CONFIG", "SET", "appendfsync", "everysec"]);
    // This one is its own, and so does not go.
    say::<u64>(&server, &["CLIENT", "KILL", "SKIPME", "yes"]);
    let until = Instant::now() + PATIENCE;
    loop {
        match send(&queues, "b").await {
            Err(QueueError::Store(unsynced @ StoreError::Unsynced { .. })) => {
                break assert_unsynced::<()>(Err(unsynced), "everysec");
            }
            Err(QueueError::Store(StoreError::Server { .. })) => {}
            // Until it is seen that the connection is gone, nothing goes over it.
            other => panic!("{other:?}"),
        }
        assert!(Instant::now() < until, "it is not asked any more");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    say::<()>(&server, &["CONFIG", "SET", "appendfsync", "always"]);
    send_in_the_end(&queues, "c").await;
    assert_eq!(bodies(&take(&queues, 10, LEASE).await), ["a", "c"]);
}

#[tokio::test]
async fn a_server_that_is_killed_keeps_what_it_accepted_and_is_asked_again_when_it_is_back() {
    let Some(mut server) = Server::redis(Synced::Always) else { return };
    let queues = Queues::connect(&named(&server)).unwrap();
    let mut sent = BTreeSet::new();
    for number in 0..50 {
        sent.extend(send(&queues, &number.to_string()).await.unwrap());
    }
    let out = take(&queues, 1, Duration::from_secs(1)).await;
    let kept = take(&queues, 1, LEASE).await;
    server.kill();
    let began = Instant::now();
    let failed = send(&queues, "away").await;
    assert!(matches!(failed, Err(QueueError::Store(StoreError::Server { .. }))), "{failed:?}");
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    let began = Instant::now();
    assert!(send(&queues, "away").await.is_err() && began.elapsed() < Duration::from_millis(100));
    server.start();
    sent.extend(send_in_the_end(&queues, "back").await);
    assert_eq!(count(&queues, "mail").await.0, 51);
    assert_eq!(settle(&queues, &kept[0], Settled::Done).await, 0, "its lease goes on");
    let (until, mut received) = (Instant::now() + PATIENCE, Vec::new());
    while received.len() < 50 {
        assert!(Instant::now() < until, "{} come", received.len());
        received.extend(take(&queues, 100, LEASE).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let again = received.iter().find(|message| message.id == out[0].id).unwrap();
    assert_eq!(again.attempts, 2, "what was out comes again when its lease is over");
    assert!(received.iter().all(|message| sent.contains(&message.id)));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_waited_for_no_longer_than_5_s_and_then_no_more() {
    let Some(server) = Server::redis(Synced::Always) else { return };
    let queues = Queues::connect(&named(&server)).unwrap();
    send(&queues, "a").await.unwrap();
    say::<()>(&server, &["CLIENT", "PAUSE", "12000", "ALL"]);
    let began = Instant::now();
    assert!(matches!(send(&queues, "b").await, Err(QueueError::Store(StoreError::Server { .. }))));
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    // It is away as soon as it has not answered whoever keeps the connection either.
    let until = Instant::now() + Duration::from_secs(6);
    loop {
        let began = Instant::now();
        assert!(send(&queues, "c").await.is_err());
        if began.elapsed() < Duration::from_millis(100) {
            break;
        }
        assert!(Instant::now() < until);
    }
    send_in_the_end(&queues, "d").await;
    assert!(bodies(&take(&queues, 10, LEASE).await).contains(&"d"));
}

#[tokio::test]
async fn a_server_that_is_away_at_the_start_is_waited_for_and_who_waits_then_hears_of_others() {
    let Some(mut server) = Server::redis(Synced::Always) else { return };
    server.kill();
    let queues = Queues::connect(&named(&server)).unwrap();
    assert!(matches!(send(&queues, "a").await, Err(QueueError::Store(StoreError::Server { .. }))));
    server.start();
    let first = send_in_the_end(&queues, "a").await;
    assert_eq!(take(&queues, 1, LEASE).await[0].id, first[0]);
    let other = Queues::connect(&named(&server)).unwrap();
    let (name, mut changes) = (mail(), queues.changes(&mail()));
    let wait = queues.wait(&name, Wanted { messages: 1, bytes: 1, wait: Duration::ZERO }, &mut changes);
    let heard = async { (wait.await, Instant::now()) };
    let told = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        send(&other, "b").await.unwrap();
        Instant::now()
    };
    let ((waited, heard), told) = tokio::join!(heard, told);
    waited.unwrap();
    assert!(heard.saturating_duration_since(told) < Duration::from_secs(1));
}

#[tokio::test]
async fn bodies_are_what_was_sent_as_large_and_as_many_as_they_may_be() {
    let Some(server) = Server::redis(Synced::Always) else { return };
    let queues = Queues::connect(&named(&server)).unwrap();
    let large: Vec<u8> = (0..1 << 20).map(|byte: u32| (byte ^ byte >> 8) as u8).collect();
    let many = |number: u32| message([&number.to_be_bytes()[..], b"\r\n\0\xff"].concat());
    let sent = queues.send(&mail(), (0..1000).map(many).collect(), LIMITS).await.unwrap();
    queues.send(&mail(), vec![message(large.clone()); 40], LIMITS).await.unwrap();
    let first = take(&queues, 1000, LEASE).await;
    assert_eq!(first.iter().map(|message| message.id).collect::<Vec<_>>(), sent, "in their order");
    for (number, received) in (0..).zip(&first) {
        assert_eq!(received.body, many(number).body);
    }
    let rest = take(&queues, 1000, LEASE).await;
    assert!(rest.len() == 40 && rest.iter().all(|message| message.body == large));
    let done = first.iter().chain(&rest).map(|message| (message.lease().unwrap(), Settled::Done)).collect();
    assert_eq!(queues.settle(&mail(), done).await.unwrap(), 0);
    assert_eq!(count(&queues, "mail").await, (0, 0));
    assert_eq!(say::<Vec<String>>(&server, &["KEYS", "*:message:*"]), Vec::<String>::new());
}

#[tokio::test]
async fn more_than_are_moved_at_a_time_are_all_moved_and_counted() {
    let Some(server) = Server::redis(Synced::Always) else { return };
    let queues = Queues::connect(&named(&server)).unwrap();
    let (dead, each) = (mail().beside("mail-dead"), 1 + QueueLimits::MESSAGE);
    for _ in 0..5 {
        queues.send(&mail(), vec![message("x"); 500], LIMITS).await.unwrap();
    }
    // Those that are out are the oldest, and more than are looked at together.
    assert_eq!(take(&queues, 1200, LEASE).await.len(), 1200);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(queues.bury(&mail(), "mail-dead", Duration::from_millis(10)).await.unwrap(), 1300);
    assert_eq!(count(&queues, "mail").await, (1200, 1200 * each));
    assert_eq!(count(&queues, "mail-dead").await, (1300, 1300 * each));
    assert_eq!(queues.redrive(&mail(), &dead).await.unwrap(), 0, "what is out stays");
    assert_eq!(queues.redrive(&dead, &mail()).await.unwrap(), 1300);
    assert_eq!(count(&queues, "mail").await, (2500, 2500 * each));
    assert_eq!(queues.purge(&mail()).await.unwrap(), 2500);
    assert_eq!(count(&queues, "mail").await, (0, 0));
    for _ in 0..3 {
        queues.send(&dead, vec![message("x"); 500], LIMITS).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(queues.forget(&dead, Duration::from_millis(10)).await.unwrap(), 1500);
    assert_eq!(count(&queues, "mail-dead").await, (0, 0));
}

#[tokio::test]
async fn a_message_whose_bytes_are_not_what_was_written_is_kept_and_one_that_is_gone_hinders_no_other() {
    let Some(server) = Server::redis(Synced::Always) else { return };
    let queues = Queues::connect(&named(&server)).unwrap();
    let each = 1 + QueueLimits::MESSAGE;
    for body in ["a", "b", "c", "d"] {
        send(&queues, body).await.unwrap();
    }
    let mut keys: Vec<String> = say(&server, &["KEYS", "{eyot:shop}:message:*"]);
    keys.sort();
    say::<u64>(&server, &["HSET", &keys[0], "body", "A"]);
    say::<u64>(&server, &["DEL", &keys[2]]);
    // The first batch has nothing in it that can be given.
    assert_eq!(bodies(&take(&queues, 1, LEASE).await), ["b"]);
    assert_eq!(bodies(&take(&queues, 10, LEASE).await), ["d"]);
    assert_eq!(count(&queues, "mail").await, (3, 3 * each));
    let kept = queues.peek(&mail(), 10).await.unwrap();
    assert_eq!((&*kept[2].body, kept[2].reason.as_deref()), (&b"A"[..], Some("its bytes are not what was written")));
}

#[tokio::test]
async fn when_memory_is_full_nothing_is_accepted_and_all_else_goes_on() {
    let Some(server) = Server::redis(Synced::Always) else { return };
    let queues = Queues::connect(&named(&server)).unwrap();
    for body in ["a", "b", "c"] {
        send(&queues, body).await.unwrap();
    }
    say::<()>(&server, &["CONFIG", "SET", "maxmemory", "1"]);
    let full = send(&queues, "d").await;
    assert!(
        matches!(&full, Err(QueueError::Store(StoreError::Server { reason, .. })) if reason.contains("OOM")),
        "{full:?}"
    );
    let received = take(&queues, 10, LEASE).await;
    assert_eq!(bodies(&received), ["a", "b", "c"]);
    assert_eq!(settle(&queues, &received[0], Settled::Done).await, 0);
    assert_eq!(settle(&queues, &received[1], Settled::Dead("mail-dead".into(), "why".to_owned())).await, 0);
    assert_eq!(settle(&queues, &received[2], Settled::Again(Duration::ZERO, "why".to_owned())).await, 0);
    assert_eq!((count(&queues, "mail").await.0, count(&queues, "mail-dead").await.0), (1, 1));
    say::<()>(&server, &["CONFIG", "SET", "maxmemory", "0"]);
    send(&queues, "d").await.unwrap();
}

#[tokio::test]
async fn a_worker_is_listed_with_its_first_queue_and_all_its_keys_are_in_one_slot() {
    let Some(server) = Server::redis(Synced::Always) else { return };
    let queues = Queues::connect(&named(&server)).unwrap();
    assert!(queues.standing(None).await.unwrap().is_empty());
    let keyed = NewMessage { key: Some("}{ key".to_owned()), ..message("a") };
    queues.send(&mail(), vec![keyed], LIMITS).await.unwrap();
    let other = QueueName { worker: "cart".into(), name: "orders".into() };
    queues.pause(&other, true).await.unwrap();
    let standing = queues.standing(None).await.unwrap();
    let stands: Vec<_> = standing.iter().map(|queue| (&queue.queue, queue.paused, queue.messages)).collect();
    assert_eq!(stands, [(&other, true, 0), (&mail(), false, 1)]);
    assert!(standing[1].oldest.is_some());
    let keys: Vec<String> = say(&server, &["KEYS", "*"]);
    assert!(keys.iter().all(|key| *key == super::WORKERS || key.starts_with("{eyot:")), "{keys:?}");
    let key = keys.iter().find(|key| key.contains(":key:")).unwrap();
    assert!((1..=24 * 60 * 60).contains(&say::<i64>(&server, &["TTL", key])));
}
