//! A node that is killed at any moment, while messages are sent and worked off, loses none that it has accepted.
//!
//! `EYOT_FULL=1 cargo test --test queue kills -- --nocapture` kills 300 times, without it 6 times. The seed is printed, and taken from
//! `EYOT_TESTS_SEED`.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rusqlite::Connection;

use super::{Answer, jobs, until};
use crate::harness::Node;

/// So many messages are out at most: two batches of four.
const OUT: usize = 8;

const QUEUE: &str =
    "batch = 4\nconcurrency = 2\nattempts = 4\nretry_max = \"50ms\"\n[limits]\nevent_cpu_time = \"10s\"";

fn seed() -> u64 {
    let given = std::env::var("EYOT_TESTS_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(rand::random)
}

/// Sends until it is told to stop or the node has gone, some of it to be given up.
fn produce(node: &Node, number: usize, accepted: &Mutex<BTreeSet<String>>, stopping: &AtomicBool) {
    for round in 0.. {
        if stopping.load(Relaxed) {
            return;
        }
        let body = if round % 5 == 0 { "retry%2020" } else { "note" };
        let target = format!("/send?body={body}%20of{number}&times=3");
        let Some(answer) = Answer::try_of(node.request("GET", &target).header("host", "jobs.test")) else { return };
        if answer.status != 200 {
            return;
        }
        let told = answer.json();
        let ids = told["ids"].as_array().unwrap_or_else(|| panic!("{told}")).iter();
        accepted.lock().expect("not poisoned").extend(ids.map(|id| id.as_str().expect("text").to_owned()));
    }
}

/// All keys of the worker's notes with this prefix, without it, and what stands there.
fn noted(node: &Node, prefix: &str) -> Vec<(String, String)> {
    let database = Connection::open(node.folder.path().join("store/kv.db")).expect("a database");
    let mut entries =
        database.prepare("SELECT key, value FROM entries WHERE key >= ?1 AND key < ?1 || '~'").expect("SQL");
    let rows = entries.query_map([prefix], |row| {
        let (key, value): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
        Ok((key[prefix.len()..].to_owned(), String::from_utf8_lossy(&value).into_owned()))
    });
    rows.expect("rows").map(|row| row.expect("a row")).collect()
}

/// F01 of the failure cases.
#[test]
fn kills_lose_no_message_that_was_accepted_and_deliver_again_no_more_than_was_out() {
    let kills = if std::env::var_os("EYOT_FULL").is_some() { 300 } else { 6 };
    let seed = seed();
    println!("seed {seed}, {kills} kills");
    let mut random = StdRng::seed_from_u64(seed);
    let mut node = jobs(QUEUE);
    let accepted = Mutex::new(BTreeSet::new());
    for _ in 0..kills {
        let stopping = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for number in 0..3 {
                let (node, accepted, stopping) = (&node, &accepted, &stopping);
                scope.spawn(move || produce(node, number, accepted, stopping));
            }
            std::thread::park_timeout(Duration::from_millis(random.random_range(5..400)));
            let killed = std::process::Command::new("kill").args(["-KILL", &node.id().to_string()]).status();
            assert!(killed.expect("kill runs").success());
            stopping.store(true, Relaxed);
        });
        node = node.again("-KILL");
    }
    let standing = || {
        let database = Connection::open(node.folder.path().join("store/queue.db")).expect("a database");
        let count = "SELECT count(*) FROM messages m JOIN queues q ON q.id = m.queue WHERE q.name = 'jobs'";
        database.query_row(count, [], |row| row.get::<_, u64>(0)).expect("a number")
    };
    // Three producers were faster than two consumers, each of which waits for the disk many times.
    loop {
        let before = standing();
        if before == 0 {
            break;
        }
        until("less is left", || standing() < before);
    }
    let accepted = accepted.into_inner().expect("not poisoned");
    let worked_off: BTreeSet<_> = noted(&node, "id:").into_iter().map(|(id, _)| id).collect();
    let lost: Vec<_> = accepted.difference(&worked_off).collect();
    assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), accepted.len());

    // Each was delivered once, but for what was out at a kill.
    let delivered = |verb: &str| -> u64 {
        let counts = noted(&node, &format!("body:{verb}")).into_iter();
        counts.map(|(_, count)| count.parse::<u64>().expect("a number")).sum()
    };
    let database = Connection::open(node.folder.path().join("store/queue.db")).expect("a database");
    let dead_letters = "SELECT count(*) FROM messages m JOIN queues q ON q.id = m.queue WHERE q.name = 'jobs-dead'";
    let dead: u64 = database.query_row(dead_letters, [], |row| row.get(0)).expect("a number");
    let (notes, retried) = (delivered("note"), delivered("retry"));
    let sent = worked_off.len() as u64;
    let once = sent.saturating_sub(dead);
    let again = notes.saturating_sub(once);
    println!("{sent} messages, {dead} dead letters, {again} delivered again of those that went well");
    assert!(dead > 0 && retried >= dead, "what is always retried is given up");
    assert!(again <= (kills * OUT) as u64, "{again} delivered again by {kills} kills");
}
