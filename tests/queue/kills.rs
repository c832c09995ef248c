//! A node that is killed at any moment, while messages are sent and worked off, loses none that it has accepted; nor does a server that keeps
//! them, nor a node beside one.
//!
//! `EYOT_FULL=1 cargo test --test queue kills -- --nocapture` kills 300 times for each of them, without it 6 times. The seed is printed, and
//! taken from `EYOT_TESTS_SEED`.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rusqlite::Connection;
use serde_json::Value;

use super::operators::{command, done};
use super::{Answer, held, jobs, jobs_on, until};
use crate::harness::Node;
use crate::harness::servers::{Server, Synced};

/// So many messages are out at most: two batches of four.
const OUT: usize = 8;

/// What is out with a node that is killed comes again after a second, if another one keeps it.
const QUEUE: &str = "batch = 4\nconcurrency = 2\nattempts = 4\nretry_max = \"50ms\"\nlease = \"1s\"\n[limits]\nevent_cpu_time = \"10s\"";

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Node,
    Server,
}

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
        let told = if answer.status == 200 { answer.json() } else { Value::Null };
        let Some(ids) = told["ids"].as_array() else {
            // Its server may be away; the node itself is not asked again once it has gone.
            std::thread::park_timeout(Duration::from_millis(5));
            continue;
        };
        let ids = ids.iter();
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

/// So often was a message delivered whose body begins so.
fn delivered(node: &Node, verb: &str) -> u64 {
    let counts = noted(node, &format!("body:{verb}")).into_iter();
    counts.map(|(_, count)| count.parse::<u64>().expect("a number")).sum()
}

/// Until nothing is left to be worked off. Three producers were faster than two consumers, each of which waits for the disk many times; and
/// of what is to be given up, nothing goes before all of it was delivered several times.
fn work_off(node: &Node) {
    loop {
        let before = held(node, "jobs");
        if before == 0 {
            return;
        }
        let done = delivered(node, "");
        until("it goes on", || held(node, "jobs") < before || delivered(node, "") > done);
    }
}

/// Kills as often as is to be, under load; then the node works off what is left.
fn killed(mut node: Node, mut server: Option<&mut Server>, victim: Victim) {
    let kills = if std::env::var_os("EYOT_FULL").is_some() { 300 } else { 6 };
    let seed = seed();
    println!("seed {seed}, {kills} kills: {victim:?}");
    let mut random = StdRng::seed_from_u64(seed);
    let accepted = Mutex::new(BTreeSet::new());
    for _ in 0..kills {
        let stopping = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for number in 0..3 {
                let (node, accepted, stopping) = (&node, &accepted, &stopping);
                scope.spawn(move || produce(node, number, accepted, stopping));
            }
            std::thread::park_timeout(Duration::from_millis(random.random_range(5..400)));
            match (victim, server.as_deref_mut()) {
                (Victim::Server, Some(server)) => {
                    server.kill();
                    server.start();
                }
                _ => {
                    let killed = std::process::Command::new("kill").args(["-KILL", &node.id().to_string()]).status();
                    assert!(killed.expect("kill runs").success());
                }
            }
            stopping.store(true, Relaxed);
        });
        if victim == Victim::Node {
            node = node.again("-KILL");
        }
    }
    until("its server is back", || command(&node, &["ls", "jobs"], "").0 == Some(0));
    work_off(&node);
    let accepted = accepted.into_inner().expect("not poisoned");
    let dead = held(&node, "jobs-dead");
    let worked_off = || -> BTreeSet<_> { noted(&node, "id:").into_iter().map(|(id, _)| id).collect() };
    if !accepted.is_subset(&worked_off()) {
        // What was out at four kills in a row is given up before anybody has looked at it. It is not lost: operators bring it back.
        println!("{} given up without being looked at", accepted.difference(&worked_off()).count());
        done(&node, &["redrive", "jobs", "jobs"], "");
        work_off(&node);
    }
    let worked_off = worked_off();
    let lost: Vec<_> = accepted.difference(&worked_off).collect();
    assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), accepted.len());

    // Each was delivered once, but for what was out at a kill.
    let (notes, retried) = (delivered(&node, "note"), delivered(&node, "retry"));
    let sent = worked_off.len() as u64;
    let once = sent.saturating_sub(dead);
    let again = notes.saturating_sub(once);
    println!("{sent} messages, {dead} dead letters, {again} delivered again of those that went well");
    assert!(dead > 0 && retried >= dead, "what is always retried is given up");
    assert!(again <= (kills * OUT) as u64, "{again} delivered again by {kills} kills");
}

/// F01 of the failure cases.
#[test]
fn kills_lose_no_message_that_was_accepted_and_deliver_again_no_more_than_was_out() {
    killed(jobs(QUEUE), None, Victim::Node);
}

/// The same where NATS keeps them.
#[test]
fn kills_of_a_node_lose_no_message_that_nats_keeps() {
    let Some(mut server) = Server::nats(Synced::Always) else { return };
    killed(jobs_on(&server, QUEUE), Some(&mut server), Victim::Node);
}

/// F17 of the failure cases: the server is what is killed.
#[test]
fn kills_of_nats_lose_no_message_that_it_keeps() {
    let Some(mut server) = Server::nats(Synced::Always) else { return };
    killed(jobs_on(&server, QUEUE), Some(&mut server), Victim::Server);
}
