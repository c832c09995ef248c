use rusqlite::Connection;

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

async fn count(queues: &Queues, name: &str) -> (u64, u64) {
    let standing = queues.standing(Some("shop")).await.unwrap();
    standing.iter().find(|queue| &*queue.queue.name == name).map_or((0, 0), |queue| (queue.messages, queue.bytes))
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
