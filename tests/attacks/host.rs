//! Guests that turn on the host: its logs, its clocks, their own subrequests.

use std::time::{Duration, SystemTime};

use crate::Arena;
use crate::harness::origin::Origin;
use crate::harness::{Answer, escaped, fixtures, until};

/// The one origin of [`asking`].
const URL: &str = "http://o.origin.internal/";

/// A worker that may ask this origin.
fn asking(origin: &Origin, limits: &str) -> Arena {
    Arena::open(&fixtures::fixture(), &origin.declared("o"), "origins = [\"o\"]", limits)
}

fn fetch(arena: &Arena, arguments: &str) -> serde_json::Value {
    let answer = arena.ask(&format!("/fetch?url={}&{arguments}", escaped(URL)));
    assert_eq!(answer.status, 200, "{arguments}: {}", answer.body);
    answer.json()
}

#[test]
fn g09_g13_each_end_without_a_response_is_told_in_the_node_s_words_only() {
    let arena = Arena::fixture("");
    for (path, code) in [
        ("/trap", "worker_trapped"),
        ("/panic", "worker_trapped"),
        ("/no-response", "worker_no_response"),
        ("/error-code", "worker_error"),
    ] {
        arena.fails(path, 500, code);
        let body = arena.ask(path).body;
        for secret in ["unreachable", "asked to", "wasm", "src/"] {
            assert!(!body.contains(secret), "{path}: {body}");
        }
    }
}

#[test]
fn g19_ten_thousand_subrequests_are_fifty_and_five_hundred_at_once_are_six() {
    let origin = Origin::answering();
    let arena = asking(&origin, "cpu_time = \"10s\"\nresource_table = 100000");
    let answers = fetch(&arena, "n=10000");
    let sent = answers.as_array().expect("a list").iter().filter(|answer| answer["status"] == 200).count();
    assert_eq!((sent, origin.so_far().len()), (50, 50));
    assert_eq!(answers[50]["error"], "ConnectionLimitReached", "{}", answers[50]);

    let silent = Origin::silent();
    let arena = asking(&silent, "cpu_time = \"10s\"\nwall_time = \"2s\"");
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| arena.ask(&format!("/fetch?url={}&n=500&parallel=1", escaped(URL))));
        let held: Vec<_> = (0..6).map(|_| silent.next()).collect();
        assert!(silent.next_within(Duration::from_millis(300)).is_none(), "six wait for their head, no more");
        let answer = answer.join().expect("no panic");
        assert_eq!((answer.status, answer.code()), (504, "worker_timeout"));
        drop(held);
    });
    arena.neighbour_is_served();
}

#[test]
fn g22_a_guest_whose_client_has_gone_sends_no_further_subrequest() {
    use std::io::Write;
    let origin = Origin::silent();
    let arena = asking(&origin, "");
    let mut client = arena.node.connect();
    let request = format!("GET /fetch?url={}&n=2 HTTP/1.1\r\nhost: hostile.test\r\n\r\n", escaped(URL));
    client.write_all(request.as_bytes()).expect("sent");
    let first = origin.next();
    client.shutdown(std::net::Shutdown::Both).expect("gone");
    arena.node.wait_until_idle();
    first.answer(crate::harness::origin::OK);
    assert!(origin.next_within(Duration::from_millis(300)).is_none());
    assert_eq!(arena.failures("client_gone"), 1.0);
}

#[test]
fn an_upload_that_its_guest_has_not_ended_is_no_whole_one_for_its_origin() {
    let origin = Origin::silent();
    let arena = asking(&origin, "");
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| arena.ask(&format!("/fetch?url={}&method=POST&body=part&leave=1", escaped(URL))));
        let seen = origin.next().answer_early("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        assert!(seen.contains("transfer-encoding: chunked") && seen.contains("part"), "{seen}");
        assert!(!seen.ends_with("0\r\n\r\n"), "{seen}");
        assert_eq!(answer.join().expect("no panic").code(), "worker_trapped");
    });
    arena.neighbour_is_served();
}

#[test]
fn ghsa_w4qr_p94g_mjhv_a_timeout_of_zero_is_a_timeout() {
    let origin = Origin::silent();
    let arena = asking(&origin, "");
    for timeouts in ["first-byte=0", "connect=0&first-byte=50", "connect=0&first-byte=0&between=0"] {
        let answer = fetch(&arena, timeouts);
        let error = answer[0]["error"].as_str().unwrap_or_default();
        assert!(error.ends_with("Timeout"), "{timeouts}: {answer}");
        arena.neighbour_is_served();
    }
    assert_eq!(arena.node.metric("eyot_task_panics_total", ""), 0.0);
}

#[test]
fn ghsa_5qpp_g3j2_8frx_a_path_that_is_an_absolute_url_leads_nowhere_else() {
    let (origin, other) = (Origin::answering(), Origin::answering());
    let arena = asking(&origin, "");
    let absolute = format!("http://{}/taken", other.address);
    for path in [absolute.clone(), format!("//{}/taken", other.address), format!("@{}/", other.address)] {
        let answer = fetch(&arena, &format!("path={}", escaped(&path)));
        arena.neighbour_is_served();
        assert!(other.so_far().is_empty(), "{path}: {answer}");
        // Refused, or a path of the origin's.
        for head in origin.so_far() {
            let target = head.split(' ').nth(1).expect("a target").to_owned();
            assert!(target.starts_with('/'), "{path}: {head}");
        }
    }
    let host = format!("fields={}", escaped(&format!("host:{}", other.address)));
    let answer = fetch(&arena, &host);
    assert!(answer[0]["error"].is_string(), "Host is the authority's: {answer}");
    assert!(other.so_far().is_empty());
}

#[test]
fn ghsa_w36r_2hch_9xp9_a_path_longer_than_any_url_is_refused_to_the_guest() {
    let origin = Origin::answering();
    let arena = asking(&origin, "cpu_time = \"5s\"");
    for (long, path) in [(70_000, "/"), (1_000_000, "/"), (70_000, "/?")] {
        let answer = fetch(&arena, &format!("path={}&long={long}", escaped(path)));
        assert!(answer[0]["error"].is_string(), "{long}: {answer}");
        arena.neighbour_is_served();
    }
    assert!(origin.so_far().is_empty());
}

#[test]
fn ghsa_r8xh_cgf7_392j_lengths_that_differ_are_not_sent_to_an_origin() {
    let origin = Origin::answering();
    let arena = asking(&origin, "");
    let fields = escaped("content-length:2|content-length:30");
    let answer = fetch(&arena, &format!("method=POST&body=four&fields={fields}"));
    assert!(answer[0]["error"].is_string(), "{answer}");
    for head in origin.so_far() {
        assert!(head.to_lowercase().matches("content-length").count() < 2, "{head}");
    }
    let fields = escaped("transfer-encoding:chunked|content-length:2");
    let answer = fetch(&arena, &format!("method=POST&body=four&fields={fields}"));
    assert!(answer[0]["error"].is_string(), "{answer}");
    arena.neighbour_is_served();
}

#[test]
fn g21_a_flood_of_logs_is_cut_and_counted_and_every_line_is_harmless() {
    let arena = Arena::fixture("log = \"64KiB\"\ncpu_time = \"10s\"");
    assert_eq!(arena.ask("/log?bytes=50000000").status, 200);
    let dropped = 50_000_000.0 - 65_536.0;
    until("what was dropped is counted", || {
        arena.node.metric("eyot_guest_log_bytes_dropped_total", "hostile") == dropped
    });
    for to in ["stdout", "stderr"] {
        assert_eq!(arena.ask(&format!("/log-nasty?to={to}")).status, 200);
    }
    arena.node.wait_for_log("no newline at the end");
    let log = arena.node.log();
    for forbidden in ['\u{1b}', '\0', '\r', '\u{8}', '\u{7f}', '\u{202e}'] {
        assert!(!log.contains(forbidden), "{forbidden:?} is in the log");
    }
    // Each line is an entry of the node's own, whatever it quotes.
    for line in log.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not an entry: {line}"));
        assert!(entry["message"] != "forged", "{line}");
    }
    arena.neighbour_is_served();
}

#[test]
fn ghsa_5m8g_xhq4_4h93_a_million_empty_writes_are_not_kept() {
    let arena = Arena::fixture("cpu_time = \"20s\"\nwall_time = \"60s\"");
    assert_eq!(arena.ask("/empty-writes?n=1000").status, 200);
    let before = arena.node.resident();
    let answer: Answer = arena.ask("/empty-writes?n=1000000");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(arena.node.resident() < before + (16 << 20), "{} MiB more", (arena.node.resident() - before) >> 20);
}

#[test]
fn g28_the_clocks_of_a_guest_are_clocks() {
    for arena in [Arena::fixture("cpu_time = \"5s\""), Arena::fixture3("cpu_time = \"5s\"")] {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64();
        let clock = arena.ask("/clock").json();
        let wall = clock["wall"].as_f64().expect("a time");
        assert!((wall - now).abs() < 60.0, "{clock}, now {now}");
        // No coarser clock is promised: SECURITY.md says so of side channels.
        assert!(clock["step"].as_u64().is_some_and(|step| step > 0), "{clock}");
    }
}
