//! What backends promise, claim by claim, held against each with its real server.
//!
//! `cargo test --lib store::kv::conformance -- --nocapture` prints the table of claims and backends that stands in docs/kv.md. A claim that a
//! backend cannot make stands among its exceptions, with the reason; one that it then keeps after all is a finding, too.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::config;
use crate::store::claims::{self, Exceptions, claims};
use crate::store::servers::{Server, Synced};

const LIMITS: KvLimits = KvLimits { key: 512, value: 1 << 20, metadata: 1024, total: 64 << 20 };

/// What is read on a server is used for so long.
const STALENESS: Duration = Duration::from_secs(1);

/// A time that is soon over, for servers that are not in this process, too.
const SOON: Duration = Duration::from_millis(400);

/// What should happen at once has happened by then.
const PATIENCE: Duration = Duration::from_secs(10);

/// What keeps keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Nats,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Sqlite, Self::Nats];

    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Nats => "NATS",
        }
    }

    /// The claims that it cannot make, and why.
    fn exceptions(self) -> Exceptions {
        match self {
            Self::Sqlite => &[],
            Self::Nats => &[
                (AT_ONCE, "within `staleness`, 1s where nothing is said"),
                (IN_PLACE, "both are there for a moment"),
                (FIRST_WRITTEN, "in the order in which they were last written"),
                (EMPTY, "as long as anything is in it"),
            ],
        }
    }

    /// Something of it, if it can be had here.
    fn start(self) -> Option<Kept> {
        match self {
            Self::Sqlite => Some(Kept::Folder(tempfile::tempdir().unwrap())),
            Self::Nats => Server::nats(Synced::Always).map(Kept::Server),
        }
    }
}

/// Where keys and values are kept while this is there.
enum Kept {
    Folder(tempfile::TempDir),
    Server(Server),
    /// As if there were several.
    Servers(Server),
}

impl Kept {
    /// As another process would.
    fn open(&self) -> Kv {
        match self {
            Self::Folder(folder) => Kv::open(folder.path()).unwrap(),
            Self::Server(server) => Kv::connect(&named(server), STALENESS).unwrap(),
            Self::Servers(server) => Kv::on(Nats::open(&named(server), STALENESS).unwrap().asking_who_leads()),
        }
    }
}

pub(super) fn named(server: &Server) -> config::Server {
    config::Server {
        protocol: config::Protocol::Nats,
        url: server.url().parse().unwrap(),
        credentials: None,
        monitor: vec![server.monitor_url().parse().unwrap()],
        replicas: 1,
        allow_unsynced: false,
    }
}

/// A worker of its own for each claim.
struct Place<'a> {
    kept: &'a Kept,
    kv: Kv,
    worker: String,
}

impl Place<'_> {
    fn named(&self, name: &str) -> Namespace {
        Namespace { worker: self.worker.as_str().into(), name: name.into() }
    }

    fn carts(&self) -> Namespace {
        self.named("carts")
    }

    async fn put(&self, key: &str, value: &str) -> u64 {
        self.put_if(key, value, Expected::Anything).await.unwrap()
    }

    async fn put_if(&self, key: &str, value: &str, expected: Expected) -> Result<u64, KvError> {
        self.kv.put(&self.carts(), Put::new(key, value), expected, LIMITS).await
    }

    async fn put_for(&self, key: &str, value: &str, time: Duration) -> Timestamp {
        let expires = Timestamp::now() + SignedDuration::try_from(time).unwrap();
        let put = Put { expires: Some(expires), ..Put::new(key, value) };
        self.kv.put(&self.carts(), put, Expected::Anything, LIMITS).await.unwrap();
        expires
    }

    async fn get(&self, key: &str) -> Option<String> {
        value(&self.kv, &self.carts(), key).await
    }

    async fn delete(&self, key: &str) {
        self.kv.delete(&self.carts(), key.to_owned(), Expected::Anything).await.unwrap();
    }

    /// All keys that begin so, page by page, and how many pages there were.
    async fn list(&self, prefix: &str, most: u32) -> (Vec<String>, usize) {
        let (mut seen, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = self.kv.list(&self.carts(), prefix.to_owned(), after, most).await.unwrap();
            assert!(page.entries.len() <= most as usize);
            seen.extend(page.entries.into_iter().map(|entry| entry.key));
            (after, pages) = (page.next, pages + 1);
            if after.is_none() {
                return (seen, pages);
            }
        }
    }

    async fn keys(&self, most: u32) -> Vec<String> {
        let (mut seen, mut after) = (Vec::new(), Some(0));
        while let Some(place) = after {
            let (keys, next) = self.kv.keys(&self.carts(), place, most).await.unwrap();
            seen.extend(keys);
            after = next;
        }
        seen
    }
}

async fn value(kv: &Kv, namespace: &Namespace, key: &str) -> Option<String> {
    let entry = kv.get(namespace, key.to_owned()).await.unwrap();
    entry.map(|entry| String::from_utf8(entry.value).unwrap())
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn puts(pairs: &[(&str, &str)]) -> Vec<Put> {
    pairs.iter().map(|(key, value)| Put::new(*key, *value)).collect()
}

fn texts(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

claims! {
    "what was written is read, with its metadata and its time, and is there when it is opened anew" => |place| {
        let expires = Timestamp::now() + SignedDuration::from_hours(1);
        let put = Put { metadata: Some("blue".to_owned()), expires: Some(expires), ..Put::new("a", "one") };
        let revision = place.kv.put(&place.carts(), put, Expected::Anything, LIMITS).await.unwrap();
        place.put("b", "two").await;
        place.delete("b").await;
        let Place { kept, worker, kv } = place;
        drop(kv);
        let place = Place { kept, worker, kv: kept.open() };
        let found = place.kv.get(&place.carts(), "a".to_owned()).await.unwrap().unwrap();
        assert_eq!((&*found.value, found.metadata.as_deref(), found.revision), (&b"one"[..], Some("blue"), revision));
        assert_eq!(found.expires.unwrap().as_microsecond(), expires.as_microsecond());
        assert_eq!(place.get("b").await, None);
        assert!(!place.kv.exists(&place.carts(), "b".to_owned()).await.unwrap());
    }

    "a value has its bytes, and metadata its characters, whatever they are" => |place| {
        let all: Vec<u8> = (0..=255).collect();
        for value in [Vec::new(), all.clone(), all.repeat(1000), b"NATS/1.0\r\n\r\n".to_vec()] {
            for metadata in [None, Some(""), Some("a\r\nEyot-Gone: 1\r\n\r\n"), Some("\u{0}é\u{7f}\u{1f980}")] {
                let put = Put { metadata: metadata.map(str::to_owned), ..Put::new("a", value.clone()) };
                place.kv.put(&place.carts(), put, Expected::Anything, LIMITS).await.unwrap();
                let other = place.kept.open();
                let found = other.get(&place.carts(), "a".to_owned()).await.unwrap().unwrap();
                assert_eq!((found.value, found.metadata.as_deref()), (value.clone(), metadata));
            }
        }
    }

    "each key is one of its own, whatever its characters, and a prefix finds those that begin so" => |place| {
        let long = "k".repeat(512);
        let keys = [
            "a", "a.b", "a.*", "a.>", "*", ">", "a b", "a\tb", "a\r\nb", "\u{0}", "\u{0}a", "é", "e\u{301}", "A", "a/../b", "%", "_", "..",
            "$JS.API", "a\u{1f980}", "-", &long,
        ];
        for (number, key) in keys.iter().enumerate() {
            place.put(key, &number.to_string()).await;
        }
        for (number, key) in keys.iter().enumerate() {
            assert_eq!(place.get(key).await, Some(number.to_string()), "{key:?}");
        }
        for prefix in ["", "a", "a.", "\u{0}", "é", "k", "kk", "b"] {
            let wanted: BTreeSet<_> = keys.iter().filter(|key| key.starts_with(prefix)).map(|key| (*key).to_owned()).collect();
            assert_eq!(place.list(prefix, 5).await.0, Vec::from_iter(wanted), "{prefix:?}");
        }
        assert_eq!(BTreeSet::from_iter(place.keys(5).await), keys.map(str::to_owned).into());
    }

    "what has expired is not there, to the millisecond, for whoever reads, lists or changes" => |place| {
        for key in ["a", "b", "d"] {
            place.put_for(key, "x", Duration::ZERO).await;
        }
        place.put("c", "x").await;
        let expires = place.put_for("e", "x", SOON).await;
        while Timestamp::now() < expires {
            let found = place.get("e").await;
            assert!(found.is_some() || Timestamp::now() >= expires, "too early");
        }
        assert_eq!(place.get("e").await, None);
        assert_eq!(place.get("a").await, None);
        assert!(!place.kv.exists(&place.carts(), "a".to_owned()).await.unwrap());
        assert_eq!(place.list("", 10).await.0, ["c"]);
        assert_eq!(place.keys(10).await, ["c"]);
        let many = place.kv.get_many(&place.carts(), texts(&["a", "c"]), 100).await.unwrap();
        assert_eq!(many.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
        // It counts as nothing for whoever expects nothing, and for a number.
        let first = place.put_if("a", "new", Expected::Nothing).await.unwrap();
        assert_eq!(place.kv.increment(&place.carts(), "b".to_owned(), 5, LIMITS).await.unwrap(), 5);
        for revision in [first - 1, first + 1] {
            assert_eq!(place.put_if("d", "x", Expected::Revision(revision)).await, Err(KvError::Conflict));
        }
    }

    "the room of what has expired comes back by itself" => |place| {
        place.put_for("a", &"x".repeat(10_000), SOON).await;
        assert!(place.kv.used(&place.worker).await.unwrap() > 10_000);
        until("its room is back", async || {
            place.kv.sweep().await.unwrap();
            place.kv.used(&place.worker).await.unwrap() < 1000
        })
        .await;
        assert_eq!(place.get("a").await, None);
    }

    "a change under a condition is made when that holds, and a revision never comes again" => |place| {
        let first = place.put_if("a", "1", Expected::Nothing).await.unwrap();
        assert_eq!(place.put_if("a", "2", Expected::Nothing).await, Err(KvError::Conflict));
        let second = place.put_if("a", "2", Expected::Revision(first)).await.unwrap();
        assert_eq!(place.put_if("a", "3", Expected::Revision(first)).await, Err(KvError::Conflict));
        assert_eq!(place.put_if("none", "3", Expected::Revision(first)).await, Err(KvError::Conflict));
        let carts = place.carts();
        let delete = |expected| place.kv.delete(&carts, "a".to_owned(), expected);
        assert_eq!(delete(Expected::Revision(first)).await, Err(KvError::Conflict));
        assert_eq!(delete(Expected::Nothing).await, Err(KvError::Conflict));
        assert_eq!(place.get("a").await.as_deref(), Some("2"));
        delete(Expected::Revision(second)).await.unwrap();
        assert_eq!(delete(Expected::Revision(second)).await, Err(KvError::Conflict));
        delete(Expected::Nothing).await.unwrap();
        delete(Expected::Anything).await.unwrap();
        let third = place.put_if("a", "2", Expected::Nothing).await.unwrap();
        assert!(![first, second].contains(&third), "what was deleted and written again is something else");
        assert_eq!(place.put_if("a", "4", Expected::Revision(second)).await, Err(KvError::Conflict));
    }

    "of many who change the same under the same condition, on one node or two, one does" => |place| {
        let other = place.kept.open();
        let (carts, mut last) = (place.carts(), Expected::Nothing);
        for round in 0..10 {
            let change = |number: usize| {
                let kv = if number.is_multiple_of(2) { &place.kv } else { &other };
                kv.put(&carts, Put::new("a", format!("{round} {number}")), last, LIMITS)
            };
            let all = join_all((0..8).map(change)).await;
            let made: Vec<_> = all.iter().flatten().collect();
            assert_eq!(made.len(), 1, "{all:?}");
            assert!(all.iter().flat_map(|made| made.as_ref().err()).all(|error| *error == KvError::Conflict));
            last = Expected::Revision(*made[0]);
        }
    }

    "additions at the same time, on one node or two, are all counted" => |place| {
        let (other, carts) = (place.kept.open(), place.carts());
        let add = |number: usize| {
            let kv = if number.is_multiple_of(2) { &place.kv } else { &other };
            kv.increment(&carts, "hits".to_owned(), 1, LIMITS)
        };
        let sums: BTreeSet<_> = join_all((0..200).map(add)).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(sums, (1..=200).collect());
        assert_eq!(place.kv.increment(&carts, "hits".to_owned(), -200, LIMITS).await.unwrap(), 0);
        place.put("words", "many").await;
        place.put("hits", "-1").await;
        for (key, delta) in [("words", 1), ("hits", i64::MIN)] {
            assert_eq!(place.kv.increment(&carts, key.to_owned(), delta, LIMITS).await, Err(KvError::NotANumber), "{key}");
        }
        let expires = Timestamp::now() + SignedDuration::from_hours(1);
        let put = Put { metadata: Some("blue".to_owned()), expires: Some(expires), ..Put::new("n", "1") };
        place.kv.put(&carts, put, Expected::Anything, LIMITS).await.unwrap();
        place.kv.increment(&carts, "n".to_owned(), 1, LIMITS).await.unwrap();
        let found = place.kv.get(&carts, "n".to_owned()).await.unwrap().unwrap();
        assert_eq!((&*found.value, found.metadata.as_deref(), found.expires.is_some()), (&b"2"[..], Some("blue"), true));
    }

    "sizes are taken up to their limits, and one byte more is refused" => |place| {
        let limits = KvLimits { key: 3, value: 4, metadata: 2, total: 10_000 };
        let whole = |key: &str, value: &str, metadata: &str| {
            let put = Put { metadata: Some(metadata.to_owned()), ..Put::new(key, value) };
            let carts = place.named("carts");
            let kv = &place.kv;
            async move { kv.put(&carts, put, Expected::Anything, limits).await }
        };
        whole("abc", "1234", "mm").await.unwrap();
        for (key, value, metadata, what) in
            [("abcd", "1", "m", "key"), ("a", "12345", "m", "value"), ("a", "1", "mmm", "metadata")]
        {
            let refused = whole(key, value, metadata).await.unwrap_err();
            assert!(matches!(refused, KvError::TooLarge { what: found, .. } if found == what), "{refused:?}");
        }
        assert_eq!(whole("", "1", "m").await, Err(KvError::EmptyKey));
        let none = [place.get("").await, place.get("abcd").await, place.get(&"k".repeat(5000)).await];
        assert_eq!(none, [None, None, None]);
        place.delete("").await;
    }

    "a worker that is full is told so, can still delete, and takes nothing of others" => |place| {
        let limits = KvLimits { total: 20_000, ..LIMITS };
        let (carts, value) = (place.carts(), "x".repeat(1000));
        let put = |number: usize| {
            place.kv.put(&carts, Put::new(format!("k{number}"), value.clone()), Expected::Anything, limits)
        };
        let mut fit = 0;
        let full = loop {
            match put(fit).await {
                Ok(_) => fit += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(full, KvError::Full { limit: limits.total });
        assert!((14..20).contains(&fit), "{fit} entries of 1,000 bytes fit into 20,000");
        assert!(place.kv.used(&place.worker).await.unwrap() <= limits.total);
        let more = puts(&[("x", "1"), ("y", &value), ("z", &value)]);
        assert_eq!(place.kv.put_many(&carts, more, limits).await, Err(KvError::Full { limit: limits.total }));
        assert_eq!(place.get("x").await, None);
        let other = Namespace { worker: format!("{}-not", place.worker).as_str().into(), name: "carts".into() };
        place.kv.put(&other, Put::new("a", "1"), Expected::Anything, limits).await.unwrap();
        let first = place.kv.get(&carts, "k0".to_owned()).await.unwrap().unwrap();
        place.kv.delete(&carts, "k0".to_owned(), Expected::Revision(first.revision)).await.unwrap();
        until("there is room again", async || put(0).await.is_ok()).await;
        place.delete("k0").await;
        put(0).await.unwrap();
        let all: Vec<_> = (0..fit).map(|number| format!("k{number}")).collect();
        place.kv.delete_many(&carts, all).await.unwrap();
        assert!(place.list("", 100).await.0.is_empty());
        until("there is room again", async || put(0).await.is_ok()).await;
        let lower = KvLimits { total: 500, ..limits };
        let lowered = place.kv.put(&carts, Put::new("b", "1"), Expected::Anything, lower).await;
        assert_eq!(lowered, Err(KvError::Full { limit: 500 }));
        assert_eq!(place.get("k0").await.as_deref(), Some(&*value), "what was there before stays");
    }

    #[IN_PLACE]
    "… and may write what takes no more than what stands there" => |place| {
        let limits = KvLimits { total: 2000, ..LIMITS };
        for value in ["x", "y"] {
            let put = Put::new("a", value.repeat(1200));
            place.kv.put(&place.carts(), put, Expected::Anything, limits).await.unwrap();
        }
    }

    "several keys are written together or not at all, of two for one key the last" => |place| {
        let carts = place.carts();
        place.kv.put_many(&carts, puts(&[("a", "1"), ("b", "2"), ("a", "3")]), LIMITS).await.unwrap();
        assert_eq!((place.get("a").await.as_deref(), place.get("b").await.as_deref()), (Some("3"), Some("2")));
        let one_is_too_large = KvLimits { value: 1, ..LIMITS };
        assert!(place.kv.put_many(&carts, puts(&[("c", "1"), ("d", "12")]), one_is_too_large).await.is_err());
        place.kv.put_many(&carts, Vec::new(), LIMITS).await.unwrap();
        place.kv.put_many(&carts, puts(&[("b", "4")]), LIMITS).await.unwrap();
        assert_eq!(place.list("", 10).await.0, ["a", "b"]);
        let many: Vec<_> = (0..1000).map(|number| Put::new(format!("n{number:03}"), number.to_string())).collect();
        place.kv.put_many(&carts, many, LIMITS).await.unwrap();
        assert_eq!(place.get("n999").await.as_deref(), Some("999"));
        let revision = place.kv.get(&carts, "n500".to_owned()).await.unwrap().unwrap().revision;
        place.put_if("n500", "x", Expected::Revision(revision)).await.expect("its revision is known");
        assert_eq!(place.list("n", 300).await.0.len(), 1000);
    }

    "several keys are deleted together" => |place| {
        let carts = place.carts();
        place.kv.put_many(&carts, puts(&[("a", "1"), ("b", "2"), ("c", "3")]), LIMITS).await.unwrap();
        place.kv.delete_many(&carts, texts(&["a", "x", "b", "a", ""])).await.unwrap();
        assert_eq!(place.list("", 10).await.0, ["c"]);
        assert_eq!((place.get("a").await, place.keys(10).await), (None, texts(&["c"])));
        place.put_if("a", "4", Expected::Nothing).await.expect("nothing stands there");
        place.kv.delete_many(&carts, texts(&["a"])).await.unwrap();
        place.kv.delete_many(&carts, Vec::new()).await.unwrap();
        assert_eq!(place.get("a").await, None);
    }

    #[ONE_MOMENT]
    "several keys are read as they stand at one moment, of no more bytes than it may be" => |place| {
        let carts = place.carts();
        let write = |number: usize| puts(&[("a", &number.to_string()), ("b", &number.to_string())]);
        place.kv.put_many(&carts, write(0), LIMITS).await.unwrap();
        let (other, is_over) = (place.kept.open(), AtomicBool::new(false));
        let writing = async {
            for number in 1..200 {
                other.put_many(&carts, write(number), LIMITS).await.unwrap();
            }
            is_over.store(true, Relaxed);
        };
        let reading = async {
            let mut seen = BTreeSet::new();
            while !is_over.load(Relaxed) {
                let found = place.kv.get_many(&carts, texts(&["a", "b"]), 100).await.unwrap();
                let values: Vec<_> = found.into_iter().map(|entry| entry.unwrap().value).collect();
                assert_eq!(values[0], values[1]);
                seen.insert(values[0].clone());
            }
            assert!(seen.len() > 1, "it is read while it is written");
        };
        futures_util::join!(writing, reading);
        place.put("a", "12").await;
        let found = place.kv.get_many(&carts, texts(&["b", "x", "a", "", "b"]), 100).await.unwrap();
        assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true, false, true]);
        assert_eq!(found[2].as_ref().unwrap().value, b"12");
        let refused = place.kv.get_many(&carts, texts(&["a", "b"]), 4).await;
        assert!(matches!(refused, Err(KvError::TooLarge { what: "answer", .. })), "{refused:?}");
        assert!(place.kv.get_many(&carts, texts(&["a"]), 2).await.unwrap()[0].is_some());
    }

    "a page begins behind the one before, whatever changes meanwhile" => |place| {
        for number in 0..25 {
            place.put(&format!("k{number:02}"), "x").await;
        }
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = place.kv.list(&place.carts(), "k".to_owned(), after.clone(), 10).await.unwrap();
            seen.extend(page.entries.into_iter().map(|entry| entry.key));
            after = page.next;
            // Of what was seen already one goes, and one comes before it.
            place.delete(&seen[0]).await;
            place.put("a-new-one", "x").await;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..25).map(|number| format!("k{number:02}")).collect::<Vec<_>>());
        let put = Put { metadata: Some("blue".to_owned()), ..Put::new("k30", "x") };
        place.kv.put(&place.carts(), put, Expected::Anything, LIMITS).await.unwrap();
        let page = place.kv.list(&place.carts(), "k3".to_owned(), None, 1).await.unwrap();
        assert_eq!((page.entries[0].metadata.as_deref(), page.next), (Some("blue"), None));
    }

    "many that have expired hide nothing of what is behind them" => |place| {
        let gone = Some(Timestamp::now() + SignedDuration::from_millis(500));
        for part in 0..2 {
            let expiring = |number| Put { expires: gone, ..Put::new(format!("k{number:05}"), "x") };
            let all = (part * 1000..(part + 1) * 1000).map(expiring).collect();
            place.kv.put_many(&place.carts(), all, LIMITS).await.unwrap();
        }
        place.put("last", "x").await;
        place.put("z", "x").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(place.list("", 10).await.0, ["last", "z"]);
        assert_eq!(place.keys(10).await, ["last", "z"]);
    }

    "all keys come page by page, each once" => |place| {
        for number in 0..25 {
            place.put(&format!("k{:02}", number * 7 % 25), "x").await;
        }
        place.delete("k03").await;
        let keys = place.keys(10).await;
        assert_eq!(keys.len(), 24);
        let wanted = (0..25).filter(|number| *number != 3).map(|number| format!("k{number:02}")).collect();
        assert_eq!(BTreeSet::from_iter(keys), wanted);
    }

    #[FIRST_WRITTEN]
    "… in the order in which they were first written" => |place| {
        for key in ["c", "a", "b", "c"] {
            place.put(key, "x").await;
        }
        assert_eq!(place.keys(10).await, ["c", "a", "b"]);
    }

    "a worker's namespaces, and another worker's of the same name, have nothing in common" => |place| {
        place.put("a", "1").await;
        let other = Namespace { worker: format!("{}-not", place.worker).as_str().into(), name: "carts".into() };
        for (namespace, text) in [(place.named("users"), "2"), (place.named("cart"), "3"), (other.clone(), "4")] {
            assert_eq!(value(&place.kv, &namespace, "a").await, None);
            assert!(place.kv.list(&namespace, String::new(), None, 10).await.unwrap().entries.is_empty());
            place.kv.put(&namespace, Put::new("a", text), Expected::Anything, LIMITS).await.unwrap();
        }
        place.kv.delete(&other, "a".to_owned(), Expected::Anything).await.unwrap();
        assert_eq!(place.get("a").await.as_deref(), Some("1"));
        place.put("b", "1").await;
        let counts = place.kv.namespaces(&place.worker).await.unwrap();
        assert_eq!(counts, [("cart".to_owned(), 1), ("carts".to_owned(), 2), ("users".to_owned(), 1)]);
        assert_eq!(place.kv.used("nobody").await.unwrap(), 0);
        assert_eq!(place.kv.namespaces("nobody").await.unwrap(), []);
        place.kv.delete_many(&place.carts(), texts(&["a", "b"])).await.unwrap();
        place.kv.delete(&place.named("users"), "a".to_owned(), Expected::Anything).await.unwrap();
        place.kv.delete(&place.named("cart"), "a".to_owned(), Expected::Anything).await.unwrap();
        until("nothing takes room", async || place.kv.used(&place.worker).await.unwrap() == 0).await;
    }

    #[EMPTY]
    "a namespace that was written to is named, also when nothing is in it any more" => |place| {
        place.put("a", "1").await;
        place.delete("a").await;
        assert_eq!(place.kv.namespaces(&place.worker).await.unwrap(), [("carts".to_owned(), 0)]);
    }

    "what a node has answered it sees itself at once" => |place| {
        let carts = place.carts();
        for round in 0..20_i64 {
            place.put("a", &round.to_string()).await;
            assert_eq!(place.get("a").await, Some(round.to_string()));
            assert_eq!(place.kv.increment(&carts, "a".to_owned(), 1, LIMITS).await.unwrap(), round + 1);
            assert_eq!(place.get("a").await, Some((round + 1).to_string()));
            place.kv.put_many(&carts, puts(&[("a", "x"), ("b", "y")]), LIMITS).await.unwrap();
            assert_eq!((place.get("a").await.as_deref(), place.get("b").await.as_deref()), (Some("x"), Some("y")));
            place.kv.delete_many(&carts, texts(&["a", "b"])).await.unwrap();
            assert_eq!((place.get("a").await, place.get("b").await), (None, None));
            place.put("a", "z").await;
            place.delete("a").await;
            assert_eq!(place.get("a").await, None);
        }
        let write = |number: usize| {
            let (kv, carts, key) = (&place.kv, &carts, format!("k{}", number % 3));
            async move {
                match number % 5 {
                    0 => kv.delete(carts, key.clone(), Expected::Anything).await.unwrap(),
                    _ => _ = kv.put(carts, Put::new(&*key, number.to_string()), Expected::Anything, LIMITS).await.unwrap(),
                }
                kv.get(carts, key).await.unwrap();
            }
        };
        join_all((0..60).map(write)).await;
        let other = place.kept.open();
        for key in ["k0", "k1", "k2"] {
            assert_eq!(place.get(key).await, value(&other, &carts, key).await, "of several at once there is one that was last");
        }
    }

    "what a node has answered others see within `staleness`" => |place| {
        let other = place.kept.open();
        let (carts, theirs) = (place.carts(), async |key: &str| value(&other, &place.named("carts"), key).await);
        assert_eq!(theirs("a").await, None);
        for text in ["1", "2"] {
            place.put("a", text).await;
            let began = Instant::now();
            until("it is seen", async || theirs("a").await.as_deref() == Some(text)).await;
            assert!(began.elapsed() < STALENESS * 3 / 2, "{:?}", began.elapsed());
        }
        let listed = other.list(&carts, String::new(), None, 10).await.unwrap();
        assert_eq!(listed.entries.len(), 1);
        place.delete("a").await;
        assert!(other.list(&carts, String::new(), None, 10).await.unwrap().entries.is_empty(), "lists see it at once");
        assert_eq!(other.increment(&carts, "a".to_owned(), 5, LIMITS).await.unwrap(), 5, "and so do additions");
        until("it is seen", async || place.get("a").await.as_deref() == Some("5")).await;
    }

    #[AT_ONCE]
    "… and at once" => |place| {
        let (other, carts) = (place.kept.open(), place.carts());
        for text in ["1", "2", "3"] {
            place.put("a", text).await;
            assert_eq!(value(&other, &carts, "a").await.as_deref(), Some(text));
        }
    }
}

async fn conforms(kind: Kind, name: &str, kept: &Kept, also_excepted: &[&str]) {
    let checks = claims().into_iter().enumerate().map(|(number, (claim, check))| {
        let worker = format!("shop-{number}");
        (claim, check(Place { kept, kv: kept.open(), worker }))
    });
    let is_excepted = |claim: &str| {
        kind.exceptions().iter().any(|(excepted, _)| *excepted == claim) || also_excepted.contains(&claim)
    };
    claims::hold(name, checks, is_excepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_what_it_promises() {
    let Some(kept) = Kind::Sqlite.start() else { return };
    conforms(Kind::Sqlite, "SQLite", &kept, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_keeps_what_it_promises() {
    let Some(kept) = Kind::Nats.start() else { return };
    conforms(Kind::Nats, "NATS", &kept, &[]).await;
}

/// Of several servers the one that leads is asked, for one key after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_keeps_it_also_where_who_leads_is_asked() {
    let Some(Kept::Server(server)) = Kind::Nats.start() else { return };
    conforms(Kind::Nats, "NATS, who leads", &Kept::Servers(server), &[ONE_MOMENT]).await;
}

/// The table of docs/kv.md.
#[test]
fn the_documented_table_is_what_was_found() {
    let claims: Vec<_> = claims().into_iter().map(|(claim, _)| claim).collect();
    claims::documented("kv.md", &claims, &Kind::ALL.map(|kind| (kind.name(), kind.exceptions())));
}
