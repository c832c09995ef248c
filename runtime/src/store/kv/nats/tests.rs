use std::time::Instant;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::store::kv::Kv;
use crate::store::kv::conformance::named;
use crate::store::servers::{Server, Synced};

const LIMITS: KvLimits = KvLimits { key: 512, value: 4 << 20, metadata: 1024, total: 64 << 20 };
const PATIENCE: Duration = Duration::from_secs(20);

fn connect(server: &Server, staleness: Duration) -> Kv {
    Kv::connect(&named(server), staleness).unwrap()
}

fn carts() -> Namespace {
    Namespace { worker: "shop".into(), name: "carts".into() }
}

async fn put(kv: &Kv, key: &str, value: &str) -> Result<u64, KvError> {
    kv.put(&carts(), Put::new(key, value), Expected::Anything, LIMITS).await
}

async fn put_for(kv: &Kv, key: &str, value: &str, time: SignedDuration) {
    let put = Put { expires: Some(Timestamp::now() + time), ..Put::new(key, value) };
    kv.put(&carts(), put, Expected::Anything, LIMITS).await.unwrap();
}

async fn get(kv: &Kv, key: &str) -> Result<Option<String>, KvError> {
    let entry = kv.get(&carts(), key.to_owned()).await?;
    Ok(entry.map(|entry| String::from_utf8(entry.value).unwrap()))
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A server that is killed reads its files from one end to the other, and finds there what was overwritten, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_or_has_expired_or_was_overwritten_does_not_come_back_with_a_server_that_was_killed() {
    let Some(mut server) = Server::nats(Synced::Always) else { return };
    let kv = connect(&server, Duration::ZERO);
    let (second, keys) = (SignedDuration::from_secs(1), ["a", "b", "c", "d", "e", "f", "g", "h"]);
    for key in keys {
        put(&kv, key, "first").await.unwrap();
        put(&kv, key, "second").await.unwrap();
    }
    let carts = carts();
    let delete = |key: &str, expected| kv.delete(&carts, key.to_owned(), expected);
    delete("a", Expected::Anything).await.unwrap();
    let revision = put(&kv, "b", "third").await.unwrap();
    delete("b", Expected::Revision(revision)).await.unwrap();
    kv.delete_many(&carts, vec!["c".to_owned(), "d".to_owned()]).await.unwrap();
    put_for(&kv, "e", "third", second).await;
    let expiring = |key| Put { expires: Some(Timestamp::now() + second), ..Put::new(key, "third") };
    kv.put_many(&carts, vec![expiring("f"), Put::new("g", "third")], LIMITS).await.unwrap();
    kv.increment(&carts, "n".to_owned(), 1, LIMITS).await.unwrap();
    kv.increment(&carts, "n".to_owned(), 1, LIMITS).await.unwrap();
    until("the server has cleared away", async || kv.namespaces("shop").await.unwrap()[0].1 == 3).await;
    delete("n", Expected::Anything).await.unwrap();
    for _ in 0..2 {
        server.kill();
        server.start();
        until("it goes on by itself", async || get(&kv, "h").await.is_ok()).await;
        for (key, wanted) in keys.into_iter().zip([None, None, None, None, None, None, Some("third"), Some("second")]) {
            assert_eq!(get(&kv, key).await.unwrap().as_deref(), wanted, "{key}");
        }
        assert_eq!(get(&kv, "n").await.unwrap(), None);
        let listed = kv.list(&carts, String::new(), None, 10).await.unwrap();
        assert_eq!(listed.entries.iter().map(|entry| &*entry.key).collect::<Vec<_>>(), ["g", "h"]);
        assert_eq!(kv.keys(&carts, 0, 10).await.unwrap().0.len(), 2);
    }
}

/// F16 of the failure cases, as far as keys and values go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_server_is_away_what_was_read_a_moment_ago_is_answered_and_all_else_fails_at_once() {
    let Some(mut server) = Server::nats(Synced::Always) else { return };
    let kv = connect(&server, Duration::from_secs(5));
    put(&kv, "a", "1").await.unwrap();
    put(&kv, "b", "1").await.unwrap();
    assert_eq!(get(&kv, "none").await.unwrap(), None);
    let read = Instant::now();
    server.kill();
    until("it is known to be away", async || get(&kv, "c").await.is_err()).await;
    let is_away = |error: &KvError| matches!(error, KvError::Store(StoreError::Server { .. }));
    let began = Instant::now();
    assert_eq!(get(&kv, "a").await.unwrap().as_deref(), Some("1"));
    assert_eq!(get(&kv, "none").await.unwrap(), None);
    assert!(kv.exists(&carts(), "b".to_owned()).await.unwrap());
    let key = || "b".to_owned();
    assert!(is_away(&get(&kv, "c").await.unwrap_err()));
    assert!(is_away(&put(&kv, "b", "2").await.unwrap_err()));
    assert!(is_away(&kv.delete(&carts(), key(), Expected::Anything).await.unwrap_err()));
    assert!(is_away(&kv.increment(&carts(), key(), 1, LIMITS).await.unwrap_err()));
    assert!(is_away(&kv.get_many(&carts(), vec![key()], 100).await.unwrap_err()));
    assert!(is_away(&kv.list(&carts(), String::new(), None, 10).await.unwrap_err()));
    assert!(is_away(&kv.keys(&carts(), 0, 10).await.unwrap_err()));
    assert!(is_away(&kv.used("shop").await.unwrap_err()));
    assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
    // Nobody knows what became of a change that failed.
    assert!(is_away(&get(&kv, "b").await.unwrap_err()));
    until("it is used for so long, and no longer", async || get(&kv, "a").await.is_err()).await;
    assert!(read.elapsed() >= Duration::from_secs(4), "{:?}", read.elapsed());
    server.start();
    until("it goes on by itself", async || put(&kv, "c", "2").await.is_ok()).await;
    assert_eq!(get(&kv, "a").await.unwrap().as_deref(), Some("1"));
}

/// Who waits for an answer when the connection is lost waits no longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_on_its_way_when_the_server_goes_has_its_error_then() {
    let Some(mut server) = Server::nats(Synced::Always) else { return };
    let kv = connect(&server, Duration::ZERO);
    put(&kv, "a", "1").await.unwrap();
    let write = |number: usize| {
        let (kv, key) = (&kv, format!("k{number}"));
        async move { while put(kv, &key, "x").await.is_ok() {} }
    };
    let writing = join_all((0..16).map(write));
    let kill = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        tokio::task::block_in_place(|| server.kill());
        Instant::now()
    };
    let (_, killed) = tokio::join!(writing, kill);
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_node_writes_is_seen_when_the_time_is_over_and_without_one_at_once() {
    let Some(server) = Server::nats(Synced::Always) else { return };
    let stale = Duration::from_secs(2);
    let (here, there, fresh) = (connect(&server, stale), connect(&server, stale), connect(&server, Duration::ZERO));
    put(&there, "a", "1").await.unwrap();
    let began = Instant::now();
    assert_eq!(get(&here, "a").await.unwrap().as_deref(), Some("1"));
    assert_eq!(get(&here, "b").await.unwrap(), None);
    put(&there, "a", "2").await.unwrap();
    put(&there, "b", "2").await.unwrap();
    assert_eq!(get(&fresh, "a").await.unwrap().as_deref(), Some("2"));
    let seen = (get(&here, "a").await.unwrap(), get(&here, "b").await.unwrap());
    assert!(began.elapsed() > stale || seen == (Some("1".to_owned()), None), "{seen:?}");
    until("a is seen", async || get(&here, "a").await.unwrap().as_deref() == Some("2")).await;
    until("b is seen", async || get(&here, "b").await.unwrap().as_deref() == Some("2")).await;
    assert!(began.elapsed() < stale * 3 / 2, "{:?}", began.elapsed());
    // What is read together is always asked for, and known to who reads one of them then.
    put(&there, "a", "3").await.unwrap();
    let many = here.get_many(&carts(), vec!["a".to_owned()], 100).await.unwrap();
    assert_eq!(many[0].as_ref().unwrap().value, b"3");
    assert_eq!(get(&here, "a").await.unwrap().as_deref(), Some("3"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_that_was_read_long_ago_is_still_compared_by_the_server() {
    let Some(server) = Server::nats(Synced::Always) else { return };
    let (here, there) = (connect(&server, PATIENCE), connect(&server, PATIENCE));
    let first = put(&here, "a", "1").await.unwrap();
    put(&there, "a", "2").await.unwrap();
    let swapped = here.put(&carts(), Put::new("a", "3"), Expected::Revision(first), LIMITS).await;
    assert_eq!(swapped, Err(KvError::Conflict));
    assert_eq!(get(&here, "a").await.unwrap().as_deref(), Some("2"), "what was known has shown itself to be old");
    let deleted = there.delete(&carts(), "a".to_owned(), Expected::Revision(first)).await;
    assert_eq!(deleted, Err(KvError::Conflict));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_is_larger_than_a_message_of_the_server_is_refused_and_says_why() {
    let Some(server) = Server::nats(Synced::Always) else { return };
    let kv = connect(&server, Duration::ZERO);
    let value = |bytes: usize| Put { metadata: Some("m".repeat(1024)), ..Put::new("k", "x".repeat(bytes)) };
    kv.put(&carts(), value((1 << 20) - 2000), Expected::Anything, LIMITS).await.unwrap();
    for put in [vec![value(1 << 20)], vec![Put::new("a", "x"), value((1 << 20) - 1000)]] {
        let refused = kv.put_many(&carts(), put, LIMITS).await.unwrap_err();
        assert!(matches!(refused, KvError::OverPayload { limit: 1_048_576, .. }), "{refused:?}");
        assert!(refused.to_string().contains("max_payload"), "{refused}");
    }
    assert_eq!(get(&kv, "a").await.unwrap(), None);
}

/// The server sends 4 MiB for a question.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_values_are_read_and_listed_though_they_come_in_pieces() {
    let Some(server) = Server::nats(Synced::Always) else { return };
    let kv = connect(&server, Duration::ZERO);
    let keys: Vec<_> = (0..24).map(|number| format!("k{number:02}")).collect();
    for key in &keys {
        put(&kv, key, &key.repeat(200_000)).await.unwrap();
    }
    let found = kv.get_many(&carts(), keys.clone(), 64 << 20).await.unwrap();
    for (key, entry) in keys.iter().zip(found) {
        assert_eq!(entry.unwrap().value, key.repeat(200_000).into_bytes(), "{key}");
    }
    let (mut seen, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = kv.list(&carts(), "k".to_owned(), after, 1000).await.unwrap();
        seen.extend(page.entries.into_iter().map(|entry| entry.key));
        (after, pages) = (page.next, pages + 1);
        if after.is_none() {
            break;
        }
    }
    assert_eq!((&seen, pages), (&keys, 2), "a page fetches 8 MiB or a little more");
    let (mut seen, mut after) = (Vec::new(), Some(0));
    while let Some(place) = after {
        let (some, next) = kv.keys(&carts(), place, 1000).await.unwrap();
        seen.extend(some);
        after = next;
    }
    assert_eq!(seen, keys);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_stream_somebody_has_deleted_begins_anew() {
    let Some(server) = Server::nats(Synced::Always) else { return };
    let kv = connect(&server, Duration::ZERO);
    let nats = Nats::open(&named(&server), Duration::ZERO).unwrap();
    let delete = async || nats.link.ask().unwrap().delete_stream(names::stream("shop")).await.unwrap();
    put(&kv, "a", "1").await.unwrap();
    delete().await;
    assert_eq!(get(&kv, "a").await.unwrap(), None);
    assert_eq!(kv.list(&carts(), String::new(), None, 10).await.unwrap().entries, []);
    kv.delete(&carts(), "a".to_owned(), Expected::Anything).await.unwrap();
    kv.delete_many(&carts(), vec!["a".to_owned(), "b".to_owned()]).await.unwrap();
    kv.put_many(&carts(), vec![Put::new("a", "2"), Put::new("b", "2")], LIMITS).await.unwrap();
    delete().await;
    assert_eq!(kv.increment(&carts(), "a".to_owned(), 2, LIMITS).await.unwrap(), 2);
}
