//! How fast messages come and go, beside the engine alone and the disk alone, in one run.
//!
//! `cargo test --release --lib store::queue::sqlite::throughput -- --ignored --nocapture`, on a machine with nothing else to do, in the
//! folder `TMPDIR`: each figure is the median of five rounds of two seconds, or of 500 sends, the rounds of what is compared alternating.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use rusqlite::params;

use super::*;
use crate::store::digest::Digest;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const BODY: usize = 1024;

/// So many producers wait for the disk at the same time.
const PRODUCERS: u64 = 256;

const LIMITS: QueueLimits = QueueLimits { messages: u64::MAX >> 1, bytes: u64::MAX >> 1 };

fn name() -> QueueName {
    QueueName { worker: "bench".into(), name: "jobs".into() }
}

fn message() -> NewMessage {
    NewMessage { body: vec![b'x'; BODY], content_type: None, delay: Duration::ZERO, key: None, trace: None }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Messages a second by concurrent producers of one message each, and how many came into one commit.
async fn sends(queues: &Arc<Sqlite>) -> (f64, f64) {
    let (sent, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (began, commits) = (Instant::now(), queues.database.commits());
    let producers = (0..PRODUCERS).map(|_| {
        let (queues, sent, over) = (Arc::clone(queues), Arc::clone(&sent), Arc::clone(&over));
        crate::observe::spawn("producer", async move {
            while !over.load(Relaxed) {
                queues.send(&name(), vec![message()], LIMITS).await.unwrap();
                sent.fetch_add(1, Relaxed);
            }
        })
    });
    let producers: Vec<_> = producers.collect();
    tokio::time::sleep(ROUND).await;
    over.store(true, Relaxed);
    for producer in producers {
        producer.await.unwrap();
    }
    let (sent, commits) = (sent.load(Relaxed) as f64, (queues.database.commits() - commits) as f64);
    (sent / began.elapsed().as_secs_f64(), sent / commits)
}

/// Rows a second that the engine alone inserts into a table like ours, with so many in a transaction.
fn raw(connection: &mut Connection, together: usize) -> f64 {
    let (began, mut rows) = (Instant::now(), 0);
    let body = vec![b'x'; BODY];
    let digest = Digest::of(&body);
    let insert =
        "INSERT INTO messages (queue, due, name, sent, since, digest, body) VALUES (1, ?1, ?2, ?1, ?1, ?3, ?4)";
    while began.elapsed() < ROUND {
        let transaction = connection.transaction().unwrap();
        for _ in 0..together {
            let (now, name) = (now().as_microsecond(), MessageId::fresh().to_string());
            transaction.prepare_cached(insert).unwrap().execute(params![now, name, digest, body]).unwrap();
            rows += 1;
        }
        transaction.commit().unwrap();
    }
    f64::from(rows) / began.elapsed().as_secs_f64()
}

/// Messages a second that one consumer receives and settles, in batches of a hundred.
async fn worked_off(queues: &Sqlite) -> f64 {
    let delivery = Delivery { messages: 100, bytes: u64::MAX, lease: Duration::from_secs(60) };
    let (began, mut done) = (Instant::now(), 0);
    while began.elapsed() < ROUND {
        let messages = queues.receive(&name(), delivery).await.unwrap();
        assert_eq!(messages.len(), 100, "there are enough");
        let settled = messages.iter().map(|message| (message.lease().unwrap(), Settled::Done)).collect();
        assert_eq!(queues.settle(&name(), settled).await.unwrap(), 0);
        done += 100;
    }
    f64::from(done) / began.elapsed().as_secs_f64()
}

/// How long the disk takes for a KiB more, in seconds: the median.
fn fsync(folder: &Path) -> f64 {
    let mut file = File::create(folder.join("fsync")).unwrap();
    let times = (0..500).map(|_| {
        let began = Instant::now();
        file.write_all(&[0; BODY]).unwrap();
        file.sync_data().unwrap();
        began.elapsed().as_secs_f64()
    });
    median(times.collect())
}

/// How long a send takes that is alone, in seconds: the 99th percentile.
async fn alone(queues: &Sqlite) -> f64 {
    let mut times = Vec::new();
    for _ in 0..500 {
        let began = Instant::now();
        queues.send(&name(), vec![message()], LIMITS).await.unwrap();
        times.push(began.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times[494]
}

#[tokio::test]
#[ignore = "it measures, which takes a minute of a machine that does nothing else"]
async fn throughput_beside_the_engine_and_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let queues = Arc::new(Sqlite::open(&folder.path().join("ours")).unwrap());
    drop(Sqlite::open(&folder.path().join("raw")).unwrap());
    let mut engine = Connection::open(folder.path().join("raw/queue.db")).unwrap();
    engine.pragma_update(None, "synchronous", "full").unwrap();
    engine.execute("INSERT INTO queues (worker, name) VALUES ('bench', 'jobs')", []).unwrap();
    let (mut sent, mut inserted, mut together, mut off) = (Vec::new(), Vec::new(), 1.0, Vec::new());
    for _ in 0..ROUNDS {
        let (rate, commit) = sends(&queues).await;
        (together, _) = (commit, sent.push(rate));
        inserted.push(raw(&mut engine, commit.round() as usize));
    }
    for _ in 0..ROUNDS {
        off.push(worked_off(&queues).await);
    }
    let (mut disk, mut lone) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        disk.push(fsync(folder.path()));
        lone.push(alone(&queues).await);
    }
    let (sent, inserted, off) = (median(sent), median(inserted), median(off));
    let (disk, lone) = (median(disk), median(lone));
    println!("{PRODUCERS} producers, messages of {BODY} bytes, {ROUNDS} rounds of {ROUND:?}, medians");
    println!(
        "durable sends    {sent:>8.0}/s, {together:.0} in a commit; the engine alone {inserted:.0}/s: {:.0} %",
        100.0 * sent / inserted
    );
    println!("worked off       {off:>8.0}/s, in batches of 100");
    println!("a lone send, p99 {:>8.0} us; an fsync {:.0} us: {:.1} of them", lone * 1e6, disk * 1e6, lone / disk);
    assert!(sent >= 30_000.0 && sent >= 0.6 * inserted, "sends");
    assert!(off >= 20_000.0, "worked off");
    assert!(lone < 3.0 * disk, "a lone send");
}
