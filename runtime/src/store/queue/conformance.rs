//! What backends promise, claim by claim, held against each with its real server.
//!
//! `cargo test --lib store::queue::conformance -- --nocapture` prints the table of claims and backends that stands in docs/queues.md. A
//! claim that a backend cannot make stands among its exceptions, with the reason; one that it then keeps after all is a finding, too.

use std::collections::BTreeSet;
use std::time::Instant;

use futures_util::future::join_all;

use super::*;
use crate::config;
use crate::store::claims::{self, Exceptions, claims};
use crate::store::servers::{Server, Synced};

const LIMITS: QueueLimits = QueueLimits { messages: 10_000, bytes: 8 << 20 };
const LEASE: Duration = Duration::from_secs(30);

/// A lease or a delay that is soon over, for servers that are not in this process, too.
const SOON: Duration = Duration::from_millis(400);

/// A lease that is over before long: a queue has one, so the claims that wait for its end change nothing of it.
const SHORT: Duration = Duration::from_secs(1);

/// What should happen at once has happened by then.
const PATIENCE: Duration = Duration::from_secs(10);

/// What keeps messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Nats,
    Redis,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Sqlite, Self::Nats, Self::Redis];

    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Nats => "NATS",
            Self::Redis => "Redis",
        }
    }

    /// The claims that it cannot make, and why.
    fn exceptions(self) -> Exceptions {
        match self {
            Self::Sqlite => &[(HEARD, "within 5 s: two processes have one database only while one replaces the other")],
            Self::Nats => &[
                (KEYED_BATCH, "each message by itself, where a key was sent before"),
                (OLD, "when nothing of the queue is out"),
            ],
            Self::Redis => &[],
        }
    }

    /// Something of it, if it can be had here.
    fn start(self) -> Option<Kept> {
        match self {
            Self::Sqlite => Some(Kept::Folder(tempfile::tempdir().unwrap())),
            Self::Nats => Server::nats(Synced::Always).map(|server| Kept::Server(config::Protocol::Nats, server)),
            Self::Redis => Server::redis(Synced::Always).map(|server| Kept::Server(config::Protocol::Redis, server)),
        }
    }
}

/// Where messages are kept while this is there.
enum Kept {
    Folder(tempfile::TempDir),
    Server(config::Protocol, Server),
}

impl Kept {
    /// As another process would.
    fn open(&self) -> Queues {
        match self {
            Self::Folder(folder) => Queues::open(folder.path()).unwrap(),
            Self::Server(protocol, server) => Queues::connect(&named(*protocol, server)).unwrap(),
        }
    }
}

fn named(protocol: config::Protocol, server: &Server) -> config::Server {
    let monitor = match protocol {
        config::Protocol::Nats => vec![server.monitor_url().parse().unwrap()],
        config::Protocol::Redis => Vec::new(),
    };
    let url = server.url().parse().unwrap();
    config::Server { protocol, url, credentials: None, monitor, replicas: 1, allow_unsynced: false }
}

/// A worker of its own for each claim.
struct Place<'a> {
    kept: &'a Kept,
    queues: Queues,
    worker: String,
}

impl Place<'_> {
    fn named(&self, name: &str) -> QueueName {
        QueueName { worker: self.worker.as_str().into(), name: name.into() }
    }

    fn mail(&self) -> QueueName {
        self.named("mail")
    }

    async fn send(&self, bodies: &[&str]) -> Vec<MessageId> {
        self.put(bodies.iter().map(|body| text(body)).collect()).await.unwrap()
    }

    async fn put(&self, messages: Vec<NewMessage>) -> Result<Vec<MessageId>, QueueError> {
        self.queues.send(&self.mail(), messages, LIMITS).await
    }

    async fn take(&self, messages: u32, lease: Duration) -> Vec<Message> {
        let delivery = Delivery { messages, bytes: u64::MAX, lease };
        self.queues.receive(&self.mail(), delivery).await.unwrap()
    }

    async fn receive(&self, messages: u32) -> Vec<Message> {
        self.take(messages, LEASE).await
    }

    /// The same, until there are so many.
    async fn receive_all(&self, messages: usize) -> Vec<Message> {
        let (until, mut all) = (Instant::now() + PATIENCE, Vec::new());
        while all.len() < messages {
            assert!(Instant::now() < until, "{} of {messages} messages come", all.len());
            all.extend(self.receive(100).await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        all
    }

    async fn settle(&self, message: &Message, settled: Settled) -> usize {
        self.queues.settle(&self.mail(), vec![(message.lease().unwrap(), settled)]).await.unwrap()
    }

    async fn count(&self, name: &str) -> u64 {
        let standing = self.queues.standing(Some(&self.worker)).await.unwrap();
        standing.iter().find(|queue| &*queue.queue.name == name).map_or(0, |queue| queue.messages)
    }

    async fn peek(&self, name: &str) -> Vec<Message> {
        self.queues.peek(&self.named(name), 100).await.unwrap()
    }
}

fn text(body: &str) -> NewMessage {
    NewMessage { body: body.into(), content_type: None, delay: Duration::ZERO, key: None, trace: None }
}

fn keyed(body: &str, key: &str) -> NewMessage {
    NewMessage { key: Some(key.to_owned()), ..text(body) }
}

fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| std::str::from_utf8(&message.body).unwrap()).collect()
}

fn ids(messages: &[Message]) -> Vec<MessageId> {
    messages.iter().map(|message| message.id).collect()
}

claims! {
    "what was sent comes in its order, by its id, and is gone when it is done" => |place| {
        let sent = place.send(&["a", "bb", "ccc"]).await;
        let received = place.receive(2).await;
        assert_eq!((bodies(&received), ids(&received)), (vec!["a", "bb"], sent[..2].to_vec()));
        assert!(received.iter().all(|message| message.attempts == 1));
        assert_eq!(bodies(&place.receive(10).await), ["ccc"], "nobody is given what somebody has");
        for message in &received {
            assert_eq!(place.settle(message, Settled::Done).await, 0);
        }
        assert_eq!(place.count("mail").await, 1);
    }

    "a message has its bytes, its media type and its trace" => |place| {
        let all: Vec<u8> = (0..=255).collect();
        let sent = NewMessage {
            body: all.clone(),
            content_type: Some("image/png; x=\"é\"".to_owned()),
            trace: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            ..text("")
        };
        let empty = text("");
        place.put(vec![sent.clone(), empty]).await.unwrap();
        let received = place.receive(2).await;
        assert_eq!((&received[0].body, &received[0].content_type, &received[0].trace), (&all, &sent.content_type, &sent.trace));
        assert!(received[1].body.is_empty() && received[1].content_type.is_none());
    }

    "what was accepted is there when it is opened anew" => |place| {
        let sent = place.send(&["a"]).await;
        let Place { kept, worker, queues } = place;
        drop(queues);
        let place = Place { kept, worker, queues: kept.open() };
        assert_eq!(ids(&place.receive_all(1).await), sent);
    }

    "what nobody says anything of comes back when its lease is over, counted" => |place| {
        place.send(&["a"]).await;
        let first = place.take(1, SHORT).await;
        assert!(place.take(1, SHORT).await.is_empty());
        let (until, mut second) = (Instant::now() + PATIENCE, Vec::new());
        while second.is_empty() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
            second = place.take(1, SHORT).await;
        }
        assert_eq!((second[0].id, second[0].attempts), (first[0].id, 2));
    }

    "who is too late changes nothing" => |place| {
        place.send(&["a"]).await;
        let first = place.take(1, SOON).await;
        tokio::time::sleep(SOON).await;
        let second = place.receive_all(1).await;
        assert_eq!(place.settle(&first[0], Settled::Done).await, 1, "it is the second one's");
        assert_eq!(place.settle(&first[0], Settled::Dead("mail-dead".into(), "late".to_owned())).await, 1);
        assert!(!place.queues.extend(&place.mail(), first[0].lease().unwrap(), LEASE).await.unwrap());
        assert_eq!((place.count("mail").await, place.count("mail-dead").await), (1, 0));
        assert_eq!(place.settle(&second[0], Settled::Done).await, 0);
        assert_eq!(place.count("mail").await, 0);
    }

    "a lease that is extended goes on" => |place| {
        place.send(&["a"]).await;
        let received = place.take(1, SOON).await;
        assert!(place.queues.extend(&place.mail(), received[0].lease().unwrap(), LEASE).await.unwrap());
        tokio::time::sleep(SOON * 3).await;
        assert!(place.take(1, SOON).await.is_empty());
        assert_eq!(place.settle(&received[0], Settled::Done).await, 0);
        assert_eq!(place.count("mail").await, 0);
    }

    "what is retried waits as long as it is told, keeps its id, and says why" => |place| {
        let sent = place.send(&["a", "b"]).await;
        let received = place.receive(2).await;
        place.settle(&received[0], Settled::Again(LEASE, "no route".to_owned())).await;
        place.settle(&received[1], Settled::Again(Duration::ZERO, "busy".to_owned())).await;
        let mut changes = place.queues.changes(&place.mail());
        let wanted = Wanted { messages: 1, bytes: u64::MAX, wait: Duration::ZERO };
        tokio::time::timeout(PATIENCE, place.queues.wait(&place.mail(), wanted, &mut changes)).await.unwrap().unwrap();
        let again = place.receive_all(1).await;
        assert_eq!((bodies(&again), ids(&again), again[0].attempts), (vec!["b"], sent[1..].to_vec(), 2));
        assert_eq!(again[0].reason.as_deref(), Some("busy"));
        let waits = place.peek("mail").await.into_iter().find(|message| message.id == sent[0]).unwrap();
        assert_eq!((waits.attempts, waits.reason.as_deref()), (1, Some("no route")));
        assert!(waits.due > jiff::Timestamp::now());
    }

    "a dead letter keeps its id and says why, and is in its queue no more" => |place| {
        let sent = place.send(&["a", "b"]).await;
        for message in place.receive(2).await {
            place.settle(&message, Settled::Dead("mail-dead".into(), "given up".to_owned())).await;
        }
        assert_eq!((place.count("mail").await, place.count("mail-dead").await), (0, 2));
        let dead = place.peek("mail-dead").await;
        assert_eq!(ids(&dead).into_iter().collect::<BTreeSet<_>>(), sent.into_iter().collect());
        assert!(dead.iter().all(|message| message.reason.as_deref() == Some("given up")));
    }

    "dead letters come again when they are redriven, their deliveries counted anew" => |place| {
        let sent = place.send(&["a"]).await;
        let received = place.receive(1).await;
        place.settle(&received[0], Settled::Dead("mail-dead".into(), "given up".to_owned())).await;
        assert_eq!(place.queues.redrive(&place.named("mail-dead"), &place.mail()).await.unwrap(), 1);
        let again = place.receive_all(1).await;
        assert_eq!((ids(&again), again[0].attempts, again[0].reason.as_deref()), (sent, 1, None));
        assert_eq!(place.count("mail-dead").await, 0);
    }

    "a full queue takes all messages of a call or none" => |place| {
        let limits = QueueLimits { messages: 3, ..LIMITS };
        let name = place.mail();
        let send = |bodies: &[&str]| place.queues.send(&name, bodies.iter().map(|body| text(body)).collect(), limits);
        send(&["a", "b"]).await.unwrap();
        assert!(matches!(send(&["c", "d"]).await, Err(QueueError::Full { messages: 2, .. })));
        send(&["c"]).await.unwrap();
        assert!(matches!(send(&["d"]).await, Err(QueueError::Full { messages: 3, .. })));
        let received = place.receive(1).await;
        place.settle(&received[0], Settled::Done).await;
        send(&["e"]).await.unwrap();
        assert_eq!(place.count("mail").await, 3);
    }

    "a queue has no more bytes than it may" => |place| {
        let limits = QueueLimits { bytes: 10_000, ..LIMITS };
        let large = "x".repeat(6000);
        place.queues.send(&place.mail(), vec![text(&large)], limits).await.unwrap();
        let more = place.queues.send(&place.mail(), vec![text(&large)], limits).await;
        assert!(matches!(more, Err(QueueError::Full { messages: 1, .. })), "{more:?}");
        place.queues.send(&place.mail(), vec![text("x")], limits).await.unwrap();
    }

    "what is sent again under its key is sent once, also when it is done" => |place| {
        let first = place.put(vec![keyed("x", "a")]).await.unwrap();
        assert_eq!(place.put(vec![keyed("x", "a")]).await.unwrap(), first);
        assert_eq!(place.count("mail").await, 1);
        let received = place.receive(1).await;
        assert_eq!(ids(&received), first);
        place.settle(&received[0], Settled::Done).await;
        assert_eq!(place.put(vec![keyed("x", "a")]).await.unwrap(), first);
        assert!(place.receive(1).await.is_empty());
        place.queues.send(&place.named("other"), vec![keyed("x", "a")], LIMITS).await.unwrap();
        assert_eq!(place.count("other").await, 1, "another queue's keys are others");
    }

    "keys within one call, sent before or twice, are sent once" => |place| {
        let first = place.put(vec![keyed("x", "a"), keyed("x", "b")]).await.unwrap();
        let again = place.put(vec![keyed("x", "b"), keyed("x", "c"), keyed("x", "c"), text("y")]).await.unwrap();
        assert_eq!((again[0], again[1]), (first[1], again[2]));
        assert_eq!(place.count("mail").await, 4);
    }

    #[KEYED_BATCH]
    "all of a call or none, also where one of its keys was sent before" => |place| {
        let limits = QueueLimits { messages: 3, ..LIMITS };
        let name = place.mail();
        place.queues.send(&name, vec![keyed("x", "a")], limits).await.unwrap();
        let more = vec![keyed("x", "a"), text("1"), text("2"), text("3")];
        assert!(matches!(place.queues.send(&name, more, limits).await, Err(QueueError::Full { .. })));
        assert_eq!(place.count("mail").await, 1);
    }

    "a batch has no more bytes than it may, but a message in any case" => |place| {
        let [small, large] = ["x".repeat(100), "x".repeat(5000)];
        place.send(&[&small, &large, &small, &small]).await;
        let (mut received, until) = (Vec::new(), Instant::now() + PATIENCE);
        while received.len() < 4 && Instant::now() < until {
            let delivery = Delivery { messages: 10, bytes: 2000, lease: LEASE };
            let batch = place.queues.receive(&place.mail(), delivery).await.unwrap();
            let bytes: usize = batch.iter().map(|message| message.body.len()).sum();
            assert!(batch.len() == 1 || bytes <= 2000, "{} messages of {bytes} bytes", batch.len());
            received.extend(batch);
        }
        assert_eq!(bodies(&received), [&small, &large, &small, &small]);
    }

    "a queue that is paused takes messages and gives none, until it is resumed" => |place| {
        place.queues.pause(&place.mail(), true).await.unwrap();
        place.send(&["a"]).await;
        assert!(place.receive(1).await.is_empty());
        let standing = place.queues.standing(Some(&place.worker)).await.unwrap();
        assert!(standing[0].paused && standing[0].messages == 1);
        let mut changes = place.queues.changes(&place.mail());
        let name = place.mail();
        let wait = place.queues.wait(&name, Wanted { messages: 1, bytes: 1, wait: Duration::ZERO }, &mut changes);
        let mut wait = std::pin::pin!(wait);
        assert!(tokio::time::timeout(SOON, wait.as_mut()).await.is_err(), "nothing is waited for in vain");
        place.queues.pause(&place.mail(), false).await.unwrap();
        tokio::time::timeout(Duration::from_secs(2), wait).await.expect("who waits is told").unwrap();
        assert_eq!(bodies(&place.receive_all(1).await), ["a"]);
    }

    "a message waits as long as its producer says" => |place| {
        let later = NewMessage { delay: SOON, ..text("later") };
        let began = Instant::now();
        let sent = place.put(vec![later, text("now")]).await.unwrap();
        assert_eq!(bodies(&place.receive(10).await), ["now"]);
        let mut changes = place.queues.changes(&place.mail());
        let wanted = Wanted { messages: 1, bytes: u64::MAX, wait: Duration::ZERO };
        tokio::time::timeout(PATIENCE, place.queues.wait(&place.mail(), wanted, &mut changes)).await.unwrap().unwrap();
        let received = place.receive_all(1).await;
        assert_eq!((ids(&received), received[0].attempts), (sent[..1].to_vec(), 1));
        assert!(began.elapsed() >= SOON && began.elapsed() < SOON * 4, "after {:?}", began.elapsed());
    }

    "a batch waits for others as long as it may, and no longer" => |place| {
        let (name, wait) = (place.mail(), SOON * 2);
        let mut changes = place.queues.changes(&name);
        place.send(&["a"]).await;
        let began = Instant::now();
        place.queues.wait(&name, Wanted { messages: 3, bytes: u64::MAX, wait }, &mut changes).await.unwrap();
        assert!(began.elapsed() >= wait / 2 && began.elapsed() < wait * 3, "{:?}", began.elapsed());
        place.send(&["b", "c"]).await;
        let began = Instant::now();
        place.queues.wait(&name, Wanted { messages: 3, bytes: u64::MAX, wait: LEASE }, &mut changes).await.unwrap();
        assert!(began.elapsed() < PATIENCE, "a whole one waits for nothing");
    }

    "what is older than it may be is a dead letter" => |place| {
        place.send(&["a"]).await;
        assert_eq!(place.queues.bury(&place.mail(), "mail-dead", LEASE).await.unwrap(), 0);
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(place.queues.bury(&place.mail(), "mail-dead", Duration::from_millis(10)).await.unwrap(), 1);
        let dead = place.peek("mail-dead").await;
        assert_eq!((place.count("mail").await, bodies(&dead)), (0, vec!["a"]));
        assert!(dead[0].reason.is_some());
    }

    #[OLD]
    "… also beside one that is out, and not that one" => |place| {
        place.send(&["a", "b"]).await;
        let out = place.receive(1).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(place.queues.bury(&place.mail(), "mail-dead", Duration::from_millis(10)).await.unwrap(), 1);
        assert_eq!(bodies(&place.peek("mail-dead").await), ["b"]);
        assert_eq!(place.settle(&out[0], Settled::Done).await, 0);
    }

    "a dead letter is gone in time" => |place| {
        place.send(&["a"]).await;
        let received = place.receive(1).await;
        place.settle(&received[0], Settled::Dead("mail-dead".into(), "given up".to_owned())).await;
        let dead = place.named("mail-dead");
        assert_eq!(place.queues.forget(&dead, LEASE).await.unwrap(), 0, "it has not been one for long");
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(place.queues.forget(&dead, Duration::from_millis(10)).await.unwrap(), 1);
        assert_eq!(place.count("mail-dead").await, 0);
    }

    "what is purged is gone, waiting or not, and makes room" => |place| {
        let limits = QueueLimits { messages: 250, ..LIMITS };
        let many: Vec<_> = (0..250).map(|_| text("x")).collect();
        place.queues.send(&place.mail(), many, limits).await.unwrap();
        place.queues.send(&place.mail(), vec![NewMessage { delay: LEASE, ..text("x") }], LIMITS).await.unwrap();
        assert_eq!(place.queues.purge(&place.mail()).await.unwrap(), 251);
        assert_eq!(place.count("mail").await, 0);
        place.queues.send(&place.mail(), vec![text("x")], limits).await.unwrap();
    }

    "looking at messages changes nothing, and a worker's queues are no other's" => |place| {
        let sent = place.send(&["a", "b", "c"]).await;
        assert_eq!(ids(&place.queues.peek(&place.mail(), 2).await.unwrap()), sent[..2]);
        let nobody = QueueName { worker: format!("{}-not", place.worker).as_str().into(), name: "mail".into() };
        assert!(place.queues.peek(&nobody, 1).await.unwrap().is_empty());
        assert_eq!(place.queues.purge(&nobody).await.unwrap(), 0);
        let received = place.receive(3).await;
        assert_eq!((ids(&received), received[0].attempts), (sent, 1));
        let standing = place.queues.standing(Some(&place.worker)).await.unwrap();
        assert_eq!(standing.iter().map(|queue| &queue.queue).collect::<Vec<_>>(), [&place.mail()]);
    }

    "each message is given to one of many who ask at the same time, on one node or two" => |place| {
        let many: Vec<_> = (0..200).map(|number| number.to_string()).collect();
        let mut sent = Vec::new();
        for some in many.chunks(50) {
            sent.extend(place.send(&some.iter().map(String::as_str).collect::<Vec<_>>()).await);
        }
        let other = place.kept.open();
        let name = place.mail();
        let ask = |number: usize| {
            let (queues, name) = (if number.is_multiple_of(2) { &place.queues } else { &other }, &name);
            async move {
                let mut mine = Vec::new();
                loop {
                    let delivery = Delivery { messages: 7, bytes: u64::MAX, lease: LEASE };
                    let some = queues.receive(name, delivery).await.unwrap();
                    if some.is_empty() {
                        return mine;
                    }
                    mine.extend(ids(&some));
                }
            }
        };
        let received = join_all((0..8).map(ask)).await.concat();
        assert_eq!(received.len(), 200);
        assert_eq!(received.into_iter().collect::<BTreeSet<_>>(), sent.into_iter().collect());
    }

    #[HEARD]
    "who waits hears within a second of what another node sends" => |place| {
        let (other, name) = (place.kept.open(), place.mail());
        place.send(&["a"]).await;
        let received = place.receive(1).await;
        place.settle(&received[0], Settled::Done).await;
        let mut changes = place.queues.changes(&name);
        let wait = place.queues.wait(&name, Wanted { messages: 1, bytes: 1, wait: Duration::ZERO }, &mut changes);
        let send = async {
            tokio::time::sleep(SOON).await;
            other.send(&name, vec![text("b")], LIMITS).await.unwrap();
            Instant::now()
        };
        let (waited, sent) = tokio::join!(async { (wait.await, Instant::now()) }, send);
        waited.0.unwrap();
        assert!(waited.1.saturating_duration_since(sent) < Duration::from_secs(1));
    }
}

async fn conforms(kind: Kind) {
    let Some(kept) = kind.start() else { return };
    let checks = claims().into_iter().enumerate().map(|(number, (claim, check))| {
        let worker = format!("shop-{number}");
        (claim, check(Place { kept: &kept, queues: kept.open(), worker }))
    });
    let is_excepted = |claim: &str| kind.exceptions().iter().any(|(excepted, _)| *excepted == claim);
    claims::hold(kind.name(), checks, is_excepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_what_it_promises() {
    conforms(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_keeps_what_it_promises() {
    conforms(Kind::Nats).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_keeps_what_it_promises() {
    conforms(Kind::Redis).await;
}

/// The table of docs/queues.md.
#[test]
fn the_documented_table_is_what_was_found() {
    let claims: Vec<_> = claims().into_iter().map(|(claim, _)| claim).collect();
    claims::documented("queues.md", &claims, &Kind::ALL.map(|kind| (kind.name(), kind.exceptions())));
}
