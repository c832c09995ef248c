//! G24: whether an isolate can see what another one left in its slot of the pool: memory, tables, stacks of large and small ones.
//!
//! `EYOT_FULL=1` makes it 100,000 rounds.

use crate::Arena;
use crate::harness::{Node, fixtures};

/// What one isolate has to leave behind for 20 of the next ones to look for.
fn rounds() -> usize {
    if std::env::var_os("EYOT_FULL").is_some() { 100_000 } else { 100 }
}

const LIMITS: &str = "cpu_time = \"10s\"\nmemory = \"128MiB\"";

#[test]
fn a_planted_pattern_would_be_found() {
    for arena in [Arena::fixture(LIMITS), Arena::fixture3(LIMITS)] {
        let seen = arena.ask("/scan?kib=64&byte=165&plant=1").json();
        assert!(seen["runs"].as_u64().is_some_and(|runs| runs >= 64 * 1024 / 64 - 1), "{seen}");
        assert_eq!(arena.ask("/scan?byte=165").json()["runs"], 0);
    }
}

#[test]
fn g24_cve_2026_34988_no_isolate_finds_what_another_one_left() {
    for arena in [Arena::fixture(LIMITS), Arena::fixture3(LIMITS)] {
        for round in 0..rounds() {
            // A small one is cleared in place, a large one goes back to the kernel: each kind after each.
            let kib = if round % 20 == 0 { 48 << 10 } else { 256 };
            assert_eq!(arena.ask(&format!("/plant?kib={kib}&byte=165")).status, 200);
            let grow = if round % 20 == 1 { 48 } else { 1 };
            let seen = arena.ask(&format!("/scan?byte=165&grow={grow}")).json();
            assert_eq!(seen["runs"], 0, "round {round}: {seen}");
        }
    }
}

/// A module without data: whatever its memory and table hold at its start was not put there by it.
const SEARCHER: &str = r#"
    (memory 16) (table $table 1000 funcref)
    (func (export "handle") (param i32 i32) (local $at i32)
      (if (i32.eq (memory.grow (i32.const 624)) (i32.const -1)) (then unreachable))
      (loop $more
        (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br_if $more (i32.lt_u (local.get $at) (i32.const 41943040))))
      (local.set $at (i32.const 0))
      (loop $more
        (if (i32.eqz (ref.is_null (table.get $table (local.get $at)))) (then unreachable))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $at) (i32.const 1000)))))"#;

/// The same shape, and nothing in it is left as it was.
const PLANTER: &str = r#"
    (memory 16) (table $table 1000 funcref) (elem declare func $handle)
    (func $handle (export "handle") (param i32 i32)
      (drop (memory.grow (i32.const 624)))
      (memory.fill (i32.const 0) (i32.const 165) (i32.const 41943040))
      (table.fill $table (i32.const 0) (ref.func $handle) (i32.const 1000)))"#;

#[test]
fn g24_no_worker_finds_what_another_worker_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let (planter, searcher) = (folder.path().join("planter"), folder.path().join("searcher"));
    let worker = |name: &str, code: &str, folder: &std::path::Path| {
        std::fs::create_dir(folder).expect("a folder");
        let route = format!("[[route]]\nhost = \"{name}.test\"\npath = \"/*\"\n[limits]\n{LIMITS}");
        fixtures::worker(name, &fixtures::handler(code, folder), &route)
    };
    let (first, second) = (worker("planter", PLANTER, &planter), worker("searcher", SEARCHER, &searcher));
    // One isolate at a time, so that each comes where the last one was.
    let node = Node::start(
        "[limits]\nnode_concurrency = 1\n[[worker]]\npath = \"p\"\n[[worker]]\npath = \"s\"\n",
        &[("p/eyot.toml", &first), ("s/eyot.toml", &second)],
    );
    for round in 0..rounds() / 4 {
        for host in ["planter.test", "searcher.test"] {
            let answer = node.get_from(host, "/");
            assert_eq!(answer.code(), "worker_no_response", "{host} found something in round {round}");
        }
    }
}
