//! Guests that take time: on the core, or by never coming to an end.

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::harness::{fixtures, until};
use crate::{Arena, module, text};

/// Short, so that many guests can spin in a test.
const CPU: &str = "cpu_time = \"50ms\"";

#[test]
fn g01_a_loop_without_host_calls_ends_at_its_cpu_limit() {
    for arena in [Arena::fixture(CPU), Arena::fixture3(CPU)] {
        arena.fails("/spin", 500, "worker_cpu_exceeded");
    }
    module("(func (export \"handle\") (param i32 i32) (loop $again (br $again)))", CPU).fails(
        "/",
        500,
        "worker_cpu_exceeded",
    );
}

#[test]
fn g02_a_start_function_that_loops_or_traps_ends_like_any_other() {
    text("spin-start", CPU).fails("/", 500, "worker_cpu_exceeded");
    text("trap-start", CPU).fails("/", 500, "worker_trapped");
}

#[test]
fn g03_a_loop_of_cheap_host_calls_ends_at_its_cpu_limit() {
    let arena = Arena::fixture(CPU);
    arena.fails("/host-calls?via=clock", 500, "worker_cpu_exceeded");
    arena.fails("/host-calls?via=random", 500, "worker_cpu_exceeded");
}

#[test]
fn g04_cve_2026_27195_a_guest_dropped_while_it_waits_leaves_the_process_alive() {
    let limits = "wall_time = \"200ms\"";
    Arena::fixture(limits).fails("/sleep?ms=60000", 504, "worker_timeout");
    let arena = Arena::fixture3(limits);
    arena.fails("/sleep?ms=60000", 504, "worker_timeout");
    // What nothing could wake is not waited for: the engine sees that it can never go on.
    arena.fails("/never", 500, "worker_trapped");
    assert_eq!(arena.ask("/count").body.trim(), "1");
}

#[test]
fn g22_ghsa_xjhv_v822_pf94_a_pending_call_is_dropped_when_its_client_goes_away() {
    for arena in [Arena::fixture(""), Arena::fixture3("")] {
        const CLIENTS: usize = 20;
        let request = "GET /sleep?ms=60000 HTTP/1.1\r\nhost: hostile.test\r\n\r\n";
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| arena.node.connect()).collect();
        for client in &mut clients {
            client.write_all(request.as_bytes()).expect("sent");
        }
        until("all of them run", || arena.node.metric("eyot_isolates_in_use", "") == CLIENTS as f64);
        for client in clients {
            client.shutdown(Shutdown::Both).expect("gone");
        }
        arena.node.wait_until_idle();
        assert_eq!(arena.failures("client_gone"), CLIENTS as f64);
        assert_eq!(arena.ask("/count").body.trim(), "1");
        arena.neighbour_is_served();
    }
}

#[test]
fn g08_recursion_without_end_is_a_trap_of_its_own_isolate() {
    text("deep-recursion", "").fails("/", 500, "worker_trapped");
}

#[test]
fn g23_ghsa_2hw9_mc66_jc2q_operations_over_many_mib_end_at_the_cpu_limit() {
    text("memory-fill", CPU).fails("/", 500, "worker_cpu_exceeded");
    text("memory-copy", CPU).fails("/", 500, "worker_cpu_exceeded");
    // All that the pool has for one table, filled again and again.
    let tables = "(table $table 10000 funcref) (elem declare func $handle)
         (func $handle (export \"handle\") (param i32 i32)
           (loop $again
             (table.fill $table (i32.const 0) (ref.func $handle) (i32.const 10000))
             (table.copy (i32.const 1) (i32.const 0) (i32.const 9999))
             (br $again)))";
    module(tables, CPU).fails("/", 500, "worker_cpu_exceeded");
}

#[test]
fn a_guest_that_goes_on_after_its_response_has_a_budget_of_its_own() {
    let arena = Arena::fixture("cpu_time = \"50ms\"\nwait_until = \"10s\"");
    assert_eq!(arena.ask("/background?ms=60000&spin=1").status, 200);
    arena.node.wait_until_idle();
    assert_eq!(arena.failures("worker_cpu_exceeded"), 1.0);
    let arena = Arena::fixture("wait_until = \"100ms\"");
    assert_eq!(arena.ask("/background?ms=60000").status, 200);
    arena.node.wait_until_idle();
    assert_eq!(arena.failures("worker_wait_until_exceeded"), 1.0);
    arena.neighbour_is_served();
}

#[test]
fn t12_a_worker_that_is_flooded_refuses_its_own_and_no_request_of_its_neighbour() {
    let arena = Arena::open(
        &fixtures::fixture(),
        "",
        "",
        "cpu_time = \"50ms\"\nconcurrency = 4\nqueue = 4\nqueue_wait = \"1s\"",
    );
    std::thread::scope(|scope| {
        let flood: Vec<_> = (0..40).map(|_| scope.spawn(|| arena.ask("/spin"))).collect();
        until("they run", || arena.node.metric("eyot_isolates_in_use", "") >= 1.0);
        for _ in 0..20 {
            arena.neighbour_is_served();
        }
        for answer in flood.into_iter().map(|answer| answer.join().expect("no panic")) {
            let outcome = (answer.status, answer.code().to_owned());
            let expected = [(500, "worker_cpu_exceeded"), (503, "overloaded")];
            assert!(expected.iter().any(|(status, code)| (*status, *code) == (outcome.0, &outcome.1)), "{outcome:?}");
        }
    });
}

#[test]
fn t12_a_worker_that_would_have_the_whole_node_leaves_some_for_its_neighbour() {
    let limits = "concurrency = 100\nqueue_wait = \"100ms\"";
    let arena = Arena::open(&fixtures::fixture(), "[limits]\nnode_concurrency = 18\nnode_queue = 200", "", limits);
    std::thread::scope(|scope| {
        for _ in 0..60 {
            scope.spawn(|| arena.ask("/sleep?ms=5000"));
        }
        until("it has all that it can get", || arena.node.metric("eyot_isolates_in_use", "") >= 16.0);
        let began = Instant::now();
        for _ in 0..20 {
            arena.neighbour_is_served();
        }
        assert!(began.elapsed() < Duration::from_secs(2), "without waiting: {:?}", began.elapsed());
        assert!(arena.node.metric("eyot_isolates_in_use", "") <= 17.0, "eight times what is free, and the neighbour");
    });
}
