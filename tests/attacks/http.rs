//! Guests that write HTTP which must not reach a client as they wrote it.

use std::io::{Read, Write};
use std::process::Command;

use crate::Arena;
use crate::harness::until;

#[test]
fn g10_a_trap_after_the_head_is_never_a_clean_end_over_http_1_and_http_2() {
    for arena in [Arena::fixture(""), Arena::fixture3("")] {
        let wire = arena.raw("/trap-after-head");
        assert!(wire.closed && !wire.bytes.ends_with(b"0\r\n\r\n"), "{}", wire.text());
        assert_eq!(wire.answers(), [(200, String::new())]);
        let url = format!("http://{}/trap-after-head", arena.node.address());
        let mut curl = Command::new("curl");
        curl.args(["-s", "--http2-prior-knowledge", "-H", "host: hostile.test", &url]);
        // 92: the stream was reset, with an error.
        assert_eq!(curl.output().expect("curl runs").status.code(), Some(92));
        until("both are counted", || arena.failures("worker_trapped") == 2.0);
        arena.neighbour_is_served();
    }
}

#[test]
fn g11_a_stream_without_end_is_cut_by_its_time_or_by_its_length() {
    for arena in [
        Arena::fixture("stream_total = \"500ms\"\nwait_until = \"100ms\"\ncpu_time = \"10s\""),
        Arena::fixture3("stream_total = \"500ms\"\nwait_until = \"100ms\"\ncpu_time = \"10s\""),
    ] {
        let wire = arena.raw("/stream-forever?bytes=1024&delay=5");
        assert!(wire.closed && !wire.bytes.ends_with(b"0\r\n\r\n"));
        arena.node.wait_until_idle();
        assert_eq!(arena.failures("worker_stream_timeout"), 1.0);
    }
    let arena = Arena::fixture("response_body = \"1MiB\"\ncpu_time = \"10s\"");
    let wire = arena.raw("/stream-forever?bytes=60000");
    assert!(wire.closed && wire.bytes.len() < 2 << 20, "{} bytes", wire.bytes.len());
    arena.node.wait_until_idle();
    assert_eq!(arena.failures("worker_body_too_large"), 1.0);
    arena.neighbour_is_served();
}

#[test]
fn g12_ghsa_c9gc_w9vx_w86p_a_body_that_nobody_reads_waits_in_the_guest_not_in_the_host() {
    const CLIENTS: u64 = 20;
    // What may be on its way for each: chunks of the guest, and what sockets take.
    const ON_ITS_WAY: u64 = 4 << 20;
    let arena = Arena::fixture("stream_idle = \"2s\"\nwait_until = \"100ms\"\nresponse_body = \"1TiB\"");
    arena.neighbour_is_served();
    let before = arena.node.resident();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| arena.node.connect()).collect();
    for client in &mut clients {
        client.write_all(b"GET /big-body?mib=10240 HTTP/1.1\r\nhost: hostile.test\r\n\r\n").expect("sent");
        assert!(client.read(&mut [0; 64]).expect("a head") > 0);
    }
    until("they stand still", || arena.failures("worker_stream_timeout") >= 1.0);
    let more = arena.node.resident().saturating_sub(before);
    assert!(more < CLIENTS * ON_ITS_WAY, "{} MiB more for {CLIENTS} clients", more >> 20);
    arena.node.wait_until_idle();
    assert_eq!(arena.failures("worker_stream_timeout"), CLIENTS as f64);
    arena.neighbour_is_served();
}

#[test]
fn ghsa_c9gc_w9vx_w86p_a_write_larger_than_was_offered_ends_the_isolate() {
    let arena = Arena::fixture("memory = \"128MiB\"\nhostcall_fuel = \"128MiB\"\ncpu_time = \"10s\"");
    let wire = arena.raw("/overfill?kib=65536");
    assert!(wire.closed && !wire.bytes.ends_with(b"0\r\n\r\n"), "{} bytes", wire.bytes.len());
    arena.node.wait_until_idle();
    assert_eq!(arena.failures("worker_trapped"), 1.0, "{}", arena.node.metrics());
    arena.neighbour_is_served();
}

#[test]
fn g14_ghsa_h4wp_g4x3_7398_two_lengths_that_differ_never_reach_a_client() {
    let arena = Arena::fixture("");
    for lengths in ["declared=3&again=4&sent=3", "declared=4&again=3&sent=3", "declared=3&again=4&sent=4"] {
        let wire = arena.raw(&format!("/wrong-length?{lengths}"));
        let answers = wire.answers();
        assert!(answers.iter().all(|(status, _)| *status == 500), "{lengths}: {}", wire.text());
        assert!(wire.closed && answers.len() == 1, "{lengths}: {}", wire.text());
        arena.neighbour_is_served();
    }
}

#[test]
fn g15_cve_2026_27572_ghsa_243v_98vx_264h_fields_beyond_what_a_header_map_holds_are_the_guest_s_error() {
    let arena = Arena::fixture(
        "response_header = \"256KiB\"\nmemory = \"256MiB\"\ncpu_time = \"10s\"\nhostcall_fuel = \"128MiB\"",
    );
    // The map of the http library holds 32,768.
    for path in ["/headers?n=32769&bytes=1", "/headers?n=40000&bytes=1", "/headers?n=1&bytes=10000000"] {
        let answer = arena.ask(path);
        assert_eq!(answer.status, 500, "{path}: {}", answer.code());
        assert_ne!(answer.code(), "internal", "{path}: no panic of ours");
        arena.neighbour_is_served();
    }
    assert_eq!(arena.node.metric("eyot_task_panics_total", ""), 0.0);
}

#[test]
fn g16_a_field_that_is_not_the_guest_s_to_set_is_refused_to_it_or_left_out() {
    let arena = Arena::fixture("");
    let report = arena.ask("/bad-header").json();
    for (name, outcome) in report.as_object().expect("an outcome for each field") {
        let expected: &[&str] = match name.as_str() {
            "x-good" | "x-latin-1" | "eyot-error" | "x-request-id" => &["accepted"],
            "" | "two words" | "x-colon:" | "x-line\\r\\nset-cookie" | "x-crlf" | "x-lf" | "x-nul" => {
                &["InvalidSyntax"]
            }
            _ => &["Forbidden"],
        };
        assert!(expected.contains(&outcome.as_str().expect("text")), "{name}: {outcome}");
    }
    for name in ["eyot-error", "x-request-id"] {
        let wire = arena.raw(&format!("/bad-header?set={name}&value=forged"));
        assert!(wire.text().starts_with("HTTP/1.1 200") && !wire.text().contains("forged"), "{}", wire.text());
    }
}

#[test]
fn g29_ghsa_jxcf_8qw5_5c33_trailers_carry_no_framing() {
    let arena = Arena::fixture("");
    let wire = arena.raw("/trailers");
    let text = wire.text().to_lowercase();
    let (_, trailers) = text.split_once("\r\n0\r\n").expect("the end of the chunks");
    assert!(trailers.contains("x-good: good"), "{text}");
    // RFC 9110 §6.5.1.
    for name in ["content-length:", "transfer-encoding:", "host:", "connection:", "keep-alive:", "upgrade:", "trailer:"]
    {
        assert!(!trailers.contains(name), "{name} in {trailers}");
    }
    assert!(wire.closed);
    arena.neighbour_is_served();
}
