use std::collections::BTreeSet;

use super::*;

const LIMITS: QueueLimits = QueueLimits { messages: 1000, bytes: 1 << 20 };
const LEASE: Duration = Duration::from_secs(30);

/// What a message counts besides its body.
const EACH: u64 = QueueLimits::MESSAGE;

fn fresh() -> (tempfile::TempDir, Queues) {
    let folder = tempfile::tempdir().unwrap();
    let queues = Queues::open(folder.path()).unwrap();
    (folder, queues)
}

fn named(name: &str) -> QueueName {
    QueueName { worker: "shop".into(), name: name.into() }
}

fn text(body: &str) -> NewMessage {
    NewMessage { body: body.into(), content_type: None, delay: Duration::ZERO, key: None, trace: None }
}

async fn send(queues: &Queues, bodies: &[&str]) -> Vec<MessageId> {
    queues.send(&named("mail"), bodies.iter().map(|body| text(body)).collect(), LIMITS).await.unwrap()
}

async fn receive(queues: &Queues, most: u32) -> Vec<Message> {
    queues.receive(&named("mail"), up_to(most, u64::MAX, LEASE)).await.unwrap()
}

fn up_to(messages: u32, bytes: u64, lease: Duration) -> Delivery {
    Delivery { messages, bytes, lease }
}

fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| std::str::from_utf8(&message.body).unwrap()).collect()
}

async fn settle(queues: &Queues, message: &Message, settled: Settled) -> usize {
    queues.settle(&named("mail"), vec![(message.lease().unwrap(), settled)]).await.unwrap()
}

async fn count(queues: &Queues, name: &str) -> (u64, u64) {
    let standing = queues.standing(Some("shop")).await.unwrap();
    standing.iter().find(|queue| &*queue.queue.name == name).map_or((0, 0), |queue| (queue.messages, queue.bytes))
}

#[tokio::test]
async fn what_was_sent_is_received_in_its_order_also_after_a_restart_and_is_gone_when_it_is_done() {
    let (folder, queues) = fresh();
    let ids = send(&queues, &["a", "bb", "ccc"]).await;
    drop(queues);
    let queues = Queues::open(folder.path()).unwrap();
    let received = receive(&queues, 2).await;
    assert_eq!(bodies(&received), ["a", "bb"]);
    assert_eq!(received.iter().map(|message| message.id).collect::<Vec<_>>(), ids[..2]);
    assert!(received.iter().all(|message| message.attempts == 1));
    assert_eq!(bodies(&receive(&queues, 10).await), ["ccc"], "nobody is given what somebody has");
    for message in &received {
        assert_eq!(settle(&queues, message, Settled::Done).await, 0);
    }
    assert_eq!(count(&queues, "mail").await, (1, 3 + EACH));
}

/// F02 of the failure cases.
#[tokio::test]
async fn what_nobody_says_anything_of_comes_back_when_its_lease_is_over_and_the_first_one_is_too_late() {
    let (_folder, queues) = fresh();
    send(&queues, &["a"]).await;
    let soon = Duration::from_millis(30);
    let first = queues.receive(&named("mail"), up_to(1, u64::MAX, soon)).await.unwrap();
    assert!(receive(&queues, 1).await.is_empty());
    tokio::time::sleep(soon * 2).await;
    let second = receive(&queues, 1).await;
    assert_eq!((bodies(&second), second[0].attempts), (vec!["a"], 2));
    assert_eq!(settle(&queues, &first[0], Settled::Done).await, 1, "it is the second one's");
    assert!(!queues.extend(first[0].lease().unwrap(), LEASE).await.unwrap());
    assert_eq!(settle(&queues, &second[0], Settled::Done).await, 0);
    assert_eq!(count(&queues, "mail").await, (0, 0));
}

#[tokio::test]
async fn a_lease_that_is_extended_goes_on() {
    let (_folder, queues) = fresh();
    send(&queues, &["a"]).await;
    let soon = Duration::from_millis(30);
    let received = queues.receive(&named("mail"), up_to(1, u64::MAX, soon)).await.unwrap();
    assert!(queues.extend(received[0].lease().unwrap(), LEASE).await.unwrap());
    tokio::time::sleep(soon * 2).await;
    assert!(receive(&queues, 1).await.is_empty());
    assert_eq!(settle(&queues, &received[0], Settled::Done).await, 0);
}

#[tokio::test]
async fn what_is_to_be_tried_again_waits_as_long_as_it_is_told_and_says_why() {
    let (_folder, queues) = fresh();
    send(&queues, &["a", "b"]).await;
    let received = receive(&queues, 2).await;
    settle(&queues, &received[0], Settled::Again(Duration::from_secs(60), "no route".to_owned())).await;
    settle(&queues, &received[1], Settled::Again(Duration::ZERO, "busy".to_owned())).await;
    let again = receive(&queues, 2).await;
    assert_eq!((bodies(&again), again[0].attempts, again[0].reason.as_deref()), (vec!["b"], 2, Some("busy")));
    let due = queues.due(&named("mail"), 10).await.unwrap();
    assert!(due.messages == 0 && due.first > Some(Timestamp::now()), "what waits and what is out: {due:?}");
}

#[tokio::test]
async fn a_dead_letter_is_in_one_of_both_queues_and_comes_back_when_it_is_redriven() {
    let (_folder, queues) = fresh();
    send(&queues, &["a", "b"]).await;
    for message in receive(&queues, 2).await {
        settle(&queues, &message, Settled::Dead("mail-dead".into(), "given up".to_owned())).await;
    }
    assert_eq!((count(&queues, "mail").await, count(&queues, "mail-dead").await), ((0, 0), (2, 2 + 2 * EACH)));
    let dead = queues.peek(&named("mail-dead"), 10).await.unwrap();
    assert_eq!((bodies(&dead), dead[0].reason.as_deref()), (vec!["a", "b"], Some("given up")));
    assert_eq!(queues.redrive(&named("mail-dead"), &named("mail")).await.unwrap(), 2);
    let again = receive(&queues, 10).await;
    assert_eq!((bodies(&again), again[0].attempts), (vec!["a", "b"], 1), "its deliveries are counted anew");
    assert_eq!(count(&queues, "mail-dead").await, (0, 0));
}

#[tokio::test]
async fn a_full_queue_takes_all_messages_of_a_call_or_none() {
    let (_folder, queues) = fresh();
    let limits = QueueLimits { messages: 3, bytes: 10 + 3 * EACH };
    let name = named("mail");
    let send = |bodies: &[&str]| queues.send(&name, bodies.iter().map(|body| text(body)).collect(), limits);
    send(&["12345", "1"]).await.unwrap();
    let full = Err(QueueError::Full { messages: 2, bytes: 6 + 2 * EACH });
    assert_eq!(send(&["1", "2"]).await, full, "four messages");
    assert_eq!(send(&["12345"]).await, full, "eleven bytes");
    send(&["1234"]).await.unwrap();
    let received = receive(&queues, 1).await;
    settle(&queues, &received[0], Settled::Done).await;
    send(&["12345"]).await.unwrap();
    assert_eq!(count(&queues, "mail").await, (3, 10 + 3 * EACH));
}

#[tokio::test]
async fn a_queue_takes_messages_of_its_own_worker_and_of_those_that_it_names_and_of_no_other() {
    let (_folder, queues) = fresh();
    let (name, one) = (named("mail"), || vec![text("x")]);
    assert_eq!(queues.send_from("shop", &name, one()).await, Err(QueueError::NoSuchQueue(name.clone())));
    let rule = QueueRule { producers: vec!["cart".to_owned()], limits: LIMITS };
    queues.rule([(name.clone(), rule)].into());
    for producer in ["shop", "cart"] {
        queues.send_from(producer, &name, one()).await.unwrap();
    }
    for producer in ["other", "car", "cart2", ""] {
        let sent = queues.send_from(producer, &name, one()).await;
        assert_eq!(sent, Err(QueueError::NotAProducer(name.clone())), "{producer}");
    }
    assert_eq!(count(&queues, "mail").await, (2, 2 + 2 * EACH));
}

#[tokio::test]
async fn what_is_sent_again_under_its_key_is_sent_once() {
    let (_folder, queues) = fresh();
    let keyed = |key: &str| NewMessage { key: Some(key.to_owned()), ..text("x") };
    let first = queues.send(&named("mail"), vec![keyed("a"), keyed("b")], LIMITS).await.unwrap();
    let again = queues.send(&named("mail"), vec![keyed("b"), keyed("c"), keyed("c")], LIMITS).await.unwrap();
    assert_eq!((again[0], again[1]), (first[1], again[2]));
    assert_eq!(count(&queues, "mail").await, (3, 3 + 3 * EACH));
    for message in receive(&queues, 10).await {
        settle(&queues, &message, Settled::Done).await;
    }
    assert_eq!(
        queues.send(&named("mail"), vec![keyed("a")], LIMITS).await.unwrap(),
        first[..1],
        "also when it is done"
    );
    assert!(receive(&queues, 10).await.is_empty());
    queues.send(&named("other"), vec![keyed("a")], LIMITS).await.unwrap();
    assert_eq!(count(&queues, "other").await, (1, 1 + EACH));
}

#[tokio::test]
async fn a_batch_has_no_more_bytes_than_it_may_but_a_message_in_any_case() {
    let (_folder, queues) = fresh();
    send(&queues, &["1234", "12345678", "1", "2"]).await;
    let name = named("mail");
    let receive = |bytes| queues.receive(&name, up_to(10, bytes, LEASE));
    assert_eq!(bodies(&receive(5).await.unwrap()), ["1234"]);
    assert_eq!(bodies(&receive(5).await.unwrap()), ["12345678"]);
    assert_eq!(bodies(&receive(5).await.unwrap()), ["1", "2"]);
}

#[tokio::test]
async fn a_paused_queue_takes_messages_and_gives_none() {
    let (_folder, queues) = fresh();
    queues.pause(&named("mail"), true).await.unwrap();
    send(&queues, &["a"]).await;
    assert!(receive(&queues, 1).await.is_empty());
    assert_eq!(queues.due(&named("mail"), 10).await.unwrap(), Due::default());
    let mut changes = queues.changes(&named("mail"));
    changes.mark_unchanged();
    queues.pause(&named("mail"), false).await.unwrap();
    assert!(changes.has_changed().unwrap(), "who waits is told");
    assert_eq!(bodies(&receive(&queues, 1).await), ["a"]);
}

#[tokio::test]
async fn a_message_waits_as_long_as_its_producer_says() {
    let (_folder, queues) = fresh();
    let later = NewMessage { delay: Duration::from_millis(60), ..text("later") };
    queues.send(&named("mail"), vec![later, text("now")], LIMITS).await.unwrap();
    assert_eq!(bodies(&receive(&queues, 10).await), ["now"]);
    tokio::time::sleep(Duration::from_millis(80)).await;
    assert_eq!(bodies(&receive(&queues, 10).await), ["later"]);
}

#[tokio::test]
async fn what_is_older_than_it_may_be_is_a_dead_letter_and_that_is_gone_in_time() {
    let (_folder, queues) = fresh();
    send(&queues, &["a", "b"]).await;
    let out = receive(&queues, 1).await;
    let (name, dead, soon) = (named("mail"), named("mail-dead"), Duration::from_millis(10));
    tokio::time::sleep(soon * 2).await;
    assert_eq!(queues.bury(&name, "mail-dead", LEASE).await.unwrap(), 0);
    assert_eq!(queues.bury(&name, "mail-dead", soon).await.unwrap(), 1, "not what is out");
    settle(&queues, &out[0], Settled::Done).await;
    assert_eq!((count(&queues, "mail").await, count(&queues, "mail-dead").await), ((0, 0), (1, 1 + EACH)));
    assert_eq!(queues.forget(&dead, LEASE).await.unwrap(), 0, "it has not been one for long");
    tokio::time::sleep(soon * 2).await;
    assert_eq!(queues.redrive(&dead, &name).await.unwrap(), 1);
    assert_eq!(queues.bury(&name, "mail-dead", LEASE).await.unwrap(), 0, "it is as new");
    tokio::time::sleep(soon * 2).await;
    assert_eq!(queues.bury(&name, "mail-dead", soon).await.unwrap(), 1);
    tokio::time::sleep(soon * 2).await;
    assert_eq!(queues.forget(&dead, soon).await.unwrap(), 1);
    assert_eq!(count(&queues, "mail-dead").await, (0, 0));
}

#[tokio::test]
async fn what_is_purged_is_gone_and_makes_room() {
    let (_folder, queues) = fresh();
    let many: Vec<_> = (0..2500).map(|_| text("x")).collect();
    let limits = QueueLimits { messages: 10_000, ..LIMITS };
    queues.send(&named("mail"), many, limits).await.unwrap();
    assert_eq!(queues.purge(&named("mail")).await.unwrap(), 2500);
    assert_eq!(count(&queues, "mail").await, (0, 0));
}

/// F06 of the failure cases.
#[tokio::test]
async fn a_message_whose_bytes_are_not_what_was_written_is_kept_and_hinders_no_other() {
    let (folder, queues) = fresh();
    send(&queues, &["a", "b", "c"]).await;
    let database = Connection::open(folder.path().join(QUEUE.database)).unwrap();
    database.execute("UPDATE messages SET body = x'00' WHERE body = CAST('b' AS BLOB)", []).unwrap();
    assert_eq!(bodies(&receive(&queues, 10).await), ["a", "c"]);
    let kept = queues.peek(&named("mail"), 10).await.unwrap();
    assert_eq!(kept[2].reason.as_deref(), Some("its bytes are not what was written"));
    assert_eq!(count(&queues, "mail").await, (3, 3 + 3 * EACH));
}

/// F01 of the failure cases, as far as the store goes.
#[tokio::test]
async fn what_was_out_when_the_process_ended_comes_back_at_once_and_not_while_another_one_has_it() {
    let (folder, queues) = fresh();
    send(&queues, &["a"]).await;
    assert_eq!(receive(&queues, 1).await.len(), 1);
    let beside = Queues::open(folder.path()).unwrap();
    assert!(receive(&beside, 1).await.is_empty());
    drop((queues, beside));
    let queues = Queues::open(folder.path()).unwrap();
    let again = receive(&queues, 1).await;
    assert_eq!((bodies(&again), again[0].attempts), (vec!["a"], 2));
}

#[tokio::test]
async fn each_message_is_given_to_one_of_many_who_ask_at_the_same_time() {
    let (_folder, queues) = fresh();
    let bodies: Vec<_> = (0..200).map(|number| number.to_string()).collect();
    let sent = send(&queues, &bodies.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let ask = |_| async {
        let mut mine = Vec::new();
        loop {
            let some = receive(&queues, 7).await;
            if some.is_empty() {
                return mine;
            }
            mine.extend(some.into_iter().map(|message| message.id));
        }
    };
    let received: Vec<_> = futures_util::future::join_all((0..8).map(ask)).await.concat();
    assert_eq!(received.len(), 200);
    assert_eq!(received.into_iter().collect::<BTreeSet<_>>(), sent.into_iter().collect());
}
