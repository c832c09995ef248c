use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::store::lock::Share;

const LIMITS: KvLimits = KvLimits { key: 512, value: 1 << 20, metadata: 1024, total: 64 << 20 };

fn fresh() -> (tempfile::TempDir, Kv) {
    let folder = tempfile::tempdir().unwrap();
    let kv = Kv::open(folder.path()).unwrap();
    (folder, kv)
}

fn of(worker: &str, name: &str) -> Namespace {
    Namespace { worker: worker.into(), name: name.into() }
}

async fn put(kv: &Kv, namespace: &Namespace, key: &str, value: &str) -> u64 {
    kv.put(namespace, Put::new(key, value), Expected::Anything, LIMITS).await.unwrap()
}

async fn value(kv: &Kv, namespace: &Namespace, key: &str) -> Option<String> {
    let entry = kv.get(namespace, key.to_owned()).await.unwrap();
    entry.map(|entry| String::from_utf8(entry.value).unwrap())
}

fn ago(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp::now() - SignedDuration::from_secs(seconds))
}

#[tokio::test]
async fn what_was_written_is_read_and_is_there_after_a_restart() {
    let (folder, kv) = fresh();
    let shop = of("shop", "carts");
    let entry = Put { metadata: Some("blue".to_owned()), expires: ago(-3600), ..Put::new("a", "one") };
    let revision = kv.put(&shop, entry.clone(), Expected::Anything, LIMITS).await.unwrap();
    put(&kv, &shop, "b", "two").await;
    kv.delete(&shop, "b".to_owned(), Expected::Anything).await.unwrap();
    drop(kv);
    let kv = Kv::open(folder.path()).unwrap();
    let found = kv.get(&shop, "a".to_owned()).await.unwrap().unwrap();
    assert_eq!((&*found.value, found.metadata.as_deref(), found.revision), (&b"one"[..], Some("blue"), revision));
    assert_eq!(found.expires.unwrap().as_microsecond(), entry.expires.unwrap().as_microsecond());
    assert_eq!(value(&kv, &shop, "b").await, None);
}

#[tokio::test]
async fn what_has_expired_is_not_there_and_its_room_comes_back() {
    let (_folder, kv) = fresh();
    let shop = of("shop", "carts");
    for key in ["a", "b"] {
        let gone = Put { expires: ago(1), ..Put::new(key, "x") };
        kv.put(&shop, gone, Expected::Anything, LIMITS).await.unwrap();
    }
    put(&kv, &shop, "c", "x").await;
    assert_eq!(value(&kv, &shop, "a").await, None);
    assert!(!kv.exists(&shop, "a".to_owned()).await.unwrap());
    let page = kv.list(&shop, String::new(), None, 10).await.unwrap();
    assert_eq!(page.entries.iter().map(|entry| &*entry.key).collect::<Vec<_>>(), ["c"]);
    assert_eq!(kv.keys(&shop, 0, 10).await.unwrap().0.len(), 1);
    assert_eq!(kv.namespaces("shop").await.unwrap(), [("carts".to_owned(), 1)]);
    // It counts as nothing for whoever expects nothing, and for a number.
    kv.put(&shop, Put::new("a", "new"), Expected::Nothing, LIMITS).await.unwrap();
    assert_eq!(kv.increment(&shop, "b".to_owned(), 5, LIMITS).await.unwrap(), 5);
    kv.put(&shop, Put { expires: ago(1), ..Put::new("d", "x") }, Expected::Anything, LIMITS).await.unwrap();
    assert_eq!(kv.sweep().await.unwrap(), 1);
    assert_eq!(kv.used("shop").await.unwrap(), 3 * (KvLimits::ENTRY + 1) + 3 + 1 + 1);
}

#[tokio::test]
async fn a_change_under_a_condition_is_made_when_that_holds_and_a_revision_never_comes_again() {
    let (_folder, kv) = fresh();
    let shop = of("shop", "carts");
    let put_if = |value: &'static str, expected| kv.put(&shop, Put::new("a", value), expected, LIMITS);
    let first = put_if("1", Expected::Nothing).await.unwrap();
    assert_eq!(put_if("2", Expected::Nothing).await, Err(KvError::Conflict));
    let second = put_if("2", Expected::Revision(first)).await.unwrap();
    assert_eq!(put_if("3", Expected::Revision(first)).await, Err(KvError::Conflict));
    assert_eq!(kv.delete(&shop, "a".to_owned(), Expected::Revision(first)).await, Err(KvError::Conflict));
    kv.delete(&shop, "a".to_owned(), Expected::Revision(second)).await.unwrap();
    assert_eq!(kv.delete(&shop, "a".to_owned(), Expected::Revision(second)).await, Err(KvError::Conflict));
    let third = put_if("2", Expected::Nothing).await.unwrap();
    assert!(![first, second].contains(&third), "what was deleted and written again is something else");
    assert_eq!(put_if("4", Expected::Revision(second)).await, Err(KvError::Conflict));
}

#[tokio::test]
async fn additions_at_the_same_time_are_all_counted() {
    let (_folder, kv) = fresh();
    let shop = of("shop", "counts");
    let add = |_| kv.increment(&shop, "hits".to_owned(), 1, LIMITS);
    for added in futures_util::future::join_all((0..200).map(add)).await {
        added.unwrap();
    }
    assert_eq!(kv.increment(&shop, "hits".to_owned(), -200, LIMITS).await.unwrap(), 0);
    put(&kv, &shop, "words", "many").await;
    let refused = [("words", 1), ("hits", i64::MIN)];
    put(&kv, &shop, "hits", "-1").await;
    for (key, delta) in refused {
        assert_eq!(kv.increment(&shop, key.to_owned(), delta, LIMITS).await, Err(KvError::NotANumber), "{key}");
    }
}

#[tokio::test]
async fn sizes_are_taken_up_to_their_limits_and_one_byte_more_is_refused() {
    let (_folder, kv) = fresh();
    let shop = of("shop", "carts");
    let limits = KvLimits { key: 3, value: 4, metadata: 2, total: 2 * (KvLimits::ENTRY + 3 + 4 + 2) };
    let whole = |key: &str, value: &str, metadata: &str| {
        let put = Put { metadata: Some(metadata.to_owned()), ..Put::new(key, value) };
        kv.put(&shop, put, Expected::Anything, limits)
    };
    whole("abc", "1234", "mm").await.unwrap();
    for (key, value, metadata, what) in
        [("abcd", "1", "m", "key"), ("a", "12345", "m", "value"), ("a", "1", "mmm", "metadata")]
    {
        let refused = whole(key, value, metadata).await.unwrap_err();
        assert!(matches!(refused, KvError::TooLarge { what: found, .. } if found == what), "{refused:?}");
    }
    assert_eq!(whole("", "1", "m").await, Err(KvError::EmptyKey));
    whole("def", "1234", "mm").await.unwrap();
    assert_eq!(whole("g", "", "").await, Err(KvError::Full { limit: limits.total }));
    // What takes no more than what stands there has room, and so has what comes after something has gone.
    whole("def", "4321", "mm").await.unwrap();
    kv.delete(&shop, "def".to_owned(), Expected::Anything).await.unwrap();
    whole("g", "", "").await.unwrap();
    assert_eq!(kv.used("shop").await.unwrap(), 2 * KvLimits::ENTRY + 9 + 1);
    // Others have what is theirs.
    put(&kv, &of("other", "carts"), "abc", "1234").await;
}

#[tokio::test]
async fn many_are_written_together_or_not_at_all() {
    let (_folder, kv) = fresh();
    let shop = of("shop", "carts");
    let puts = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| Put::new(*key, *value)).collect::<Vec<_>>();
    kv.put_many(&shop, puts(&[("a", "1"), ("b", "2"), ("a", "3")]), LIMITS).await.unwrap();
    assert_eq!(value(&kv, &shop, "a").await.as_deref(), Some("3"), "the last of two");
    let one_is_too_large = KvLimits { value: 1, ..LIMITS };
    assert!(kv.put_many(&shop, puts(&[("c", "1"), ("d", "12")]), one_is_too_large).await.is_err());
    let for_two_and_a_bit = KvLimits { total: kv.used("shop").await.unwrap() + 200, ..LIMITS };
    assert!(kv.put_many(&shop, puts(&[("c", "1"), ("d", "1")]), for_two_and_a_bit).await.is_err());
    assert_eq!(kv.keys(&shop, 0, 10).await.unwrap().0.len(), 2);
    let keys = ["a", "x", "b"].map(str::to_owned).to_vec();
    let found = kv.get_many(&shop, keys.clone(), 2).await.unwrap();
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
    assert!(matches!(kv.get_many(&shop, keys.clone(), 1).await, Err(KvError::TooLarge { what: "answer", .. })));
    kv.delete_many(&shop, keys).await.unwrap();
    assert_eq!(kv.used("shop").await.unwrap(), 0);
}

#[tokio::test]
async fn two_processes_see_what_the_other_has_answered() {
    let (folder, before) = fresh();
    let shop = of("shop", "carts");
    let after = Kv::open(folder.path()).unwrap();
    let first = put(&before, &shop, "a", "1").await;
    assert_eq!(value(&after, &shop, "a").await.as_deref(), Some("1"));
    let second = put(&after, &shop, "a", "2").await;
    assert!(second > first);
    assert_eq!(value(&before, &shop, "a").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_process_is_never_taken_to_be_alone_while_another_one_writes() {
    let folder = tempfile::tempdir().unwrap();
    let lock = || Share::take(folder.path().join(KV.lock)).unwrap();
    let (first, alone) = lock();
    assert!(alone);
    first.let_in().unwrap();
    let (second, alone) = lock();
    assert!(!alone);
    // The second one has taken the first one's place, and a third one comes.
    drop(first);
    let (third, alone) = lock();
    assert!(!alone);
    drop((second, third));
    // A process that another test starts has all files of this one between its fork and its exec.
    let until = Instant::now() + Duration::from_secs(10);
    while !lock().1 {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_damaged_value_is_named_and_not_served() {
    let (folder, kv) = fresh();
    let shop = of("shop", "carts");
    put(&kv, &shop, "a", "one").await;
    put(&kv, &shop, "b", "two").await;
    drop(kv);
    let file = rusqlite::Connection::open(folder.path().join(KV.database)).unwrap();
    file.execute("UPDATE entries SET value = x'00' WHERE key = 'a'", []).unwrap();
    file.execute("UPDATE entries SET metadata = 'forged' WHERE key = 'b'", []).unwrap();
    drop(file);
    let kv = Kv::open(folder.path()).unwrap();
    for key in ["a", "b"] {
        let error = kv.get(&shop, key.to_owned()).await.unwrap_err();
        assert!(matches!(error, KvError::Store(StoreError::Damaged { .. })), "{error:?}");
    }
    assert!(kv.list(&shop, String::new(), None, 10).await.is_err(), "metadata is served there");
}

#[tokio::test]
async fn a_page_begins_behind_the_one_before_whatever_changes_meanwhile() {
    let (_folder, kv) = fresh();
    let shop = of("shop", "carts");
    for number in 0..25 {
        put(&kv, &shop, &format!("k{number:02}"), "x").await;
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = kv.list(&shop, "k".to_owned(), after.clone(), 10).await.unwrap();
        seen.extend(page.entries.into_iter().map(|entry| entry.key));
        after = page.next;
        // Of what was seen already one goes, and one comes before it.
        kv.delete(&shop, seen[0].clone(), Expected::Anything).await.unwrap();
        put(&kv, &shop, "a-new-one", "x").await;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..25).map(|number| format!("k{number:02}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn many_that_have_expired_are_looked_at_a_part_at_a_time() {
    let (_folder, kv) = fresh();
    let shop = of("shop", "carts");
    let gone = |number| Put { expires: ago(1), ..Put::new(format!("k{number:05}"), "x") };
    for part in 0..9 {
        kv.put_many(&shop, (part * 1000..(part + 1) * 1000).map(gone).collect(), LIMITS).await.unwrap();
    }
    put(&kv, &shop, "last", "x").await;
    let (mut pages, mut after, mut seen) = (0, None, Vec::new());
    loop {
        let page = kv.list(&shop, String::new(), after, 10).await.unwrap();
        (pages, after) = (pages + 1, page.next);
        seen.extend(page.entries.into_iter().map(|entry| entry.key));
        if after.is_none() {
            break;
        }
    }
    assert_eq!((pages, seen), (3, vec!["last".to_owned()]));
    let (mut pages, mut after, mut seen) = (0, Some(0), Vec::new());
    while let Some(place) = after {
        let (keys, next) = kv.keys(&shop, place, 10).await.unwrap();
        (pages, after) = (pages + 1, next);
        seen.extend(keys);
    }
    assert_eq!((pages, seen), (3, vec!["last".to_owned()]));
    assert_eq!(kv.sweep().await.unwrap(), 9000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever workers, namespaces and keys are called, none of them leads to what another one's leads to, and a prefix finds its keys.
    #[test]
    fn no_name_leads_to_what_belongs_to_another(
        written in prop::collection::vec(("[ab:./]{1,3}", "[ab:./%_*]{1,3}", "[ab:./%_*\u{0}é]{1,4}", "[0-9]{1,3}"), 1..12),
        prefix in "[ab:./%_*é]{0,2}",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (_folder, kv) = fresh();
            let mut model = BTreeMap::new();
            for (worker, name, key, value) in &written {
                put(&kv, &of(worker, name), key, value).await;
                model.insert((worker, name, key), value);
            }
            for (worker, name, ..) in &written {
                let namespace = of(worker, name);
                for (_, _, key, _) in &written {
                    let wanted = model.get(&(worker, name, key)).map(|value| (*value).clone());
                    prop_assert_eq!(value(&kv, &namespace, key).await, wanted);
                }
                let mut wanted: Vec<_> = model
                    .keys()
                    .filter(|(of, named, key)| (*of, *named) == (worker, name) && key.starts_with(&prefix))
                    .map(|(_, _, key)| (*key).clone())
                    .collect();
                wanted.sort();
                let page = kv.list(&namespace, prefix.clone(), None, 100).await.unwrap();
                prop_assert_eq!(page.entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>(), wanted);
            }
            Ok(())
        })?;
    }
}
