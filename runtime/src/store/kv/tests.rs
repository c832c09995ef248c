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
async fn an_entry_counts_what_it_has_and_a_fixed_part_until_it_is_gone() {
    let (_folder, kv) = fresh();
    let shop = of("shop", "carts");
    let limits = KvLimits { total: 2 * (KvLimits::ENTRY + 3 + 4 + 2), ..LIMITS };
    let whole = |key: &str, value: &str, metadata: &str| {
        let put = Put { metadata: Some(metadata.to_owned()), ..Put::new(key, value) };
        kv.put(&shop, put, Expected::Anything, limits)
    };
    whole("abc", "1234", "mm").await.unwrap();
    whole("def", "1234", "mm").await.unwrap();
    assert_eq!(whole("g", "", "").await, Err(KvError::Full { limit: limits.total }));
    whole("def", "4321", "mm").await.unwrap();
    kv.delete(&shop, "def".to_owned(), Expected::Anything).await.unwrap();
    whole("g", "", "").await.unwrap();
    assert_eq!(kv.used("shop").await.unwrap(), 2 * KvLimits::ENTRY + 9 + 1);
    kv.put(&shop, Put { expires: ago(1), ..Put::new("h", "x") }, Expected::Anything, LIMITS).await.unwrap();
    assert_eq!(kv.namespaces("shop").await.unwrap(), [("carts".to_owned(), 2)], "what has expired is not there");
    assert_eq!(kv.sweep().await.unwrap(), 1);
    assert_eq!(kv.used("shop").await.unwrap(), 2 * KvLimits::ENTRY + 9 + 1);
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
