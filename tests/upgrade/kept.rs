//! What workers keep goes on being theirs while one process takes the place of another.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::harness::{Answer, Node, eyot, fixtures, until};
use super::{Successor, confined};

/// Adds one, on a connection of its own and without trying again, and says what it is then.
fn increment(client: &reqwest::blocking::Client, address: SocketAddr) -> u64 {
    let request = client.get(format!("http://{address}/kv-increment?ns=counts&key=n"));
    let answer = Answer::of(request.header("connection", "close"));
    answer.body.trim().parse().unwrap_or_else(|_| panic!("no number: {} {}", answer.status, answer.body))
}

#[test]
fn both_processes_of_an_upgrade_change_what_workers_keep_and_no_change_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = fixtures::worker("shop", &fixtures::fixture(), "kv = [\"counts\"]\n[[route]]\npath = \"/*\"");
    std::fs::create_dir(folder.path().join("shop")).expect("a folder");
    std::fs::write(folder.path().join("shop/eyot.toml"), manifest).expect("a file");
    let configuration = folder.path().join("node.toml");
    let text = "store = \"store\"\nstate = \"state\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
                [admin]\naddress = \"127.0.0.1:0\"\n[[worker]]\npath = \"shop\"\n";
    std::fs::write(&configuration, text).expect("a file");
    let mut node = Node::start_beside(eyot(), &configuration, confined());
    node.untidy();
    let (address, over, answers) = (node.address(), AtomicBool::new(false), AtomicU64::new(0));
    let (_last, numbers) = std::thread::scope(|scope| {
        let count = || {
            let alone = reqwest::blocking::Client::builder().pool_max_idle_per_host(0).retry(reqwest::retry::never());
            let client = alone.build().expect("a client");
            let mut numbers = Vec::new();
            while !over.load(Relaxed) {
                numbers.push(increment(&client, address));
                answers.fetch_add(1, Relaxed);
            }
            numbers
        };
        let counting: Vec<_> = (0..8).map(|_| scope.spawn(count)).collect();
        let more = |so_many: u64| {
            let before = answers.load(Relaxed);
            until("they count on", || over.load(Relaxed) || answers.load(Relaxed) > before + so_many);
        };
        more(100);
        let first = Successor::of(&mut node);
        until("the one before has ended", || node.ended());
        more(100);
        // A third one comes while the second writes: it must not take itself to be alone.
        let second = Node::start_beside(eyot(), &configuration, &["--take-over"]);
        until("the second one has ended", || !first.is_running());
        more(100);
        over.store(true, Relaxed);
        (second, counting.into_iter().flat_map(|counts| counts.join().expect("each was answered")).collect::<Vec<_>>())
    });
    let each: BTreeSet<_> = numbers.iter().copied().collect();
    assert_eq!(each.len(), numbers.len(), "two were given one number");
    assert_eq!(each.last(), Some(&(numbers.len() as u64)), "and none was lost");
}
