//! Clients that ask for more than their share: each is bounded in what it costs, and is cut.

use std::net::UdpSocket;

use serde_json::{Value, json};

use super::harness::until;
use super::{ENDLESS, Site, aioquic, code, get, post};

/// Within these bounds a node keeps what a client sends it that never ends; most of it is what starting a request takes.
const BOUNDED: u64 = 16 << 20;

fn cuts(site: &Site, why: &str) -> f64 {
    site.node.metric("eyot_connections_cut_total", &format!("reason=\"{why}\""))
}

#[test]
fn a_head_that_never_ends_is_answered_with_431_and_costs_no_memory() {
    let site = Site::new();
    site.is_fine();
    let before = site.node.resident();
    let mut steps: Vec<Value> = Vec::new();
    for n in 0..20 {
        steps.push(json!(["raw", n.to_string(), format!("01{ENDLESS}")]));
        steps.push(json!(["flow", n.to_string(), 4096]));
    }
    steps.push(json!(["wait", "0", "19"]));
    let Some(seen) = site.sees(&json!(steps)) else { return };
    assert_eq!((seen.status("0"), seen.status("19")), (431, 431));
    assert_eq!(seen.of("0")["stopped"], code::NO_ERROR, "{}", seen.0);
    let grown = site.node.resident().saturating_sub(before);
    assert!(grown < BOUNDED, "{grown} bytes more");
    site.is_fine();
}

#[test]
fn a_head_that_is_small_until_it_is_unpacked_is_too_large() {
    let site = Site::new();
    // A thousand times `accept: */*`, of a byte each, behind the prefix.
    let head = format!("01{}0000{}", "43ea", "dd".repeat(1000));
    let Some(seen) = site.sees(&json!([["raw", "one", head, true], ["wait", "one"]])) else { return };
    assert_eq!(seen.status("one"), 431, "{}", seen.0);
}

#[test]
fn an_unknown_frame_that_never_ends_ends_its_stream_or_on_the_control_stream_the_connection() {
    let site = Site::new();
    let before = site.node.resident();
    for bytes in [format!("21{ENDLESS}"), format!("{}21{ENDLESS}", post("/read-body"))] {
        let steps = json!([["raw", "one", bytes], ["flow", "one", 4096], ["wait", "one"]]);
        let Some(seen) = site.sees(&steps) else { return };
        assert_eq!(seen.of("one")["stopped"], code::EXCESSIVE_LOAD, "{}", seen.0);
    }
    for bytes in [format!("00040021{ENDLESS}"), format!("0004{ENDLESS}")] {
        let steps = json!([["raw", "one", bytes, false, true], ["flow", "one", 4096], ["closed"]]);
        let Some(client) = aioquic::start(&site.plan_with(json!({ "http": false }), &steps)) else { return };
        assert_eq!(client.end().closed(), Some(code::EXCESSIVE_LOAD));
    }
    let grown = site.node.resident().saturating_sub(before);
    assert!(grown < BOUNDED, "{grown} bytes more");
    site.is_fine();
}

#[test]
fn trailers_that_never_end_end_their_request() {
    let site = Site::new();
    let bytes = format!("{}00016101{ENDLESS}", post("/read-body"));
    let steps = json!([["raw", "one", bytes], ["flow", "one", 1024], ["wait", "one"]]);
    let Some(seen) = site.sees(&steps) else { return };
    assert_eq!(seen.of("one")["stopped"], code::EXCESSIVE_LOAD, "{}", seen.0);
    site.node.wait_until_idle();
    site.is_fine();
}

#[test]
fn heads_that_come_in_part_on_many_streams_end_the_connection() {
    let site = Site::new();
    // Each declares 60,000 bytes.
    let mut steps: Vec<Value> = Vec::new();
    for n in 0..40 {
        steps.push(json!(["raw", n.to_string(), "018000ea60"]));
        steps.push(json!(["flow", n.to_string(), 48]));
    }
    steps.push(json!(["closed"]));
    let Some(seen) = site.sees(&json!(steps)) else { return };
    assert_eq!(seen.closed(), Some(code::EXCESSIVE_LOAD), "{}", seen.0);
    site.is_fine();
}

#[test]
fn frames_that_bring_nothing_are_counted_and_end_the_connection() {
    let site = Site::new();
    // Unknown ones and empty content; on the control stream, numbers of pushes that nobody makes.
    for (bytes, control) in [("2100".repeat(50), false), ("0000".repeat(50), false), ("0d0101".repeat(50), true)] {
        let (start, http) = if control { ("000400".to_owned(), false) } else { (post("/read-body"), true) };
        let steps = json!([["raw", "one", start, false, control], ["repeat", "one", bytes, 100], ["closed"]]);
        let Some(client) = aioquic::start(&site.plan_with(json!({ "http": http }), &steps)) else { return };
        assert_eq!(client.end().closed(), Some(code::EXCESSIVE_LOAD), "{bytes}");
    }
    until("they are counted", || cuts(&site, "glitches") == 3.0);
    site.is_fine();
}

#[test]
fn requests_that_are_taken_back_at_once_start_little_and_end_the_connection() {
    let site = Site::with("h2_streams = 10");
    let flood = json!([["flood", get("/sleep?ms=20000"), 5000], ["closed"]]);
    let Some(seen) = site.sees(&flood) else { return };
    assert_eq!(seen.closed(), Some(code::EXCESSIVE_LOAD), "{}", seen.0);
    site.node.wait_until_idle();
    // Who lets each of them begin comes no further.
    let flood = json!([["flood", get("/sleep?ms=20000"), 5000, 0.01], ["closed"]]);
    let Some(seen) = site.sees(&flood) else { return };
    assert_eq!(seen.closed(), Some(code::EXCESSIVE_LOAD), "{}", seen.0);
    until("they are counted", || cuts(&site, "glitches") + cuts(&site, "resets") == 2.0);
    assert!(site.node.metric("eyot_isolates_started_total", "") < 200.0, "{}", site.node.metrics());
    site.node.wait_until_idle();
    site.is_fine();
}

#[test]
fn a_client_that_takes_its_request_back_frees_the_isolate() {
    let site = Site::new();
    let steps = json!([
        ["ask", "one", get("/sleep?ms=25000")],
        ["say", "asked"],
        ["hear"],
        ["reset", "one"],
        ["say", "reset"],
        ["hear"]
    ]);
    let Some(mut client) = site.start_client(&steps) else { return };
    client.says("asked");
    until("it runs", || site.node.metric("eyot_isolates_in_use", "") == 1.0);
    client.go_on();
    client.says("reset");
    site.node.wait_until_idle();
    client.go_on();
    client.end();
    site.is_fine();
}

#[test]
fn a_client_that_vanishes_is_missed_and_its_isolate_freed() {
    let site = Site::with("write_idle = \"500ms\"");
    let steps = json!([["ask", "one", get("/sleep?ms=25000")], ["say", "asked"], ["hear"]]);
    let Some(mut client) = site.start_client(&steps) else { return };
    client.says("asked");
    until("it runs", || site.node.metric("eyot_isolates_in_use", "") == 1.0);
    drop(client);
    site.node.wait_until_idle();
    until("it is forgotten", || site.node.metric("eyot_connections", "") == 0.0);
}

#[test]
fn a_client_that_takes_nothing_of_a_response_loses_it_and_keeps_the_others() {
    let site = Site::with("write_idle = \"1s\"");
    let steps = json!([
        ["ask", "unread", get("/stream-forever")],
        ["ask", "small", get("/count")],
        ["wait", "small", "unread"],
        ["ask", "later", get("/count")],
        ["wait", "later"],
    ]);
    let Some(client) = aioquic::start(&site.plan_with(json!({ "window": 4096 }), &steps)) else { return };
    let seen = client.end();
    assert!(seen.reset("unread").is_some(), "{}", seen.0);
    assert_eq!((seen.status("small"), seen.status("later")), (200, 200));
    site.node.wait_until_idle();
}

#[test]
fn an_address_has_so_many_connections_of_tcp_and_quic_together() {
    let site = Site::with("connections_per_address = 2");
    let steps = json!([["ask", "one", get("/count")], ["wait", "one"], ["say", "there"], ["hear"]]);
    let Some(mut first) = site.start_client(&steps) else { return };
    first.says("there");
    let tcp = site.node.connect();
    until("both are counted", || site.node.metric("eyot_connections", "") == 2.0);
    let refused = site.sees(&json!([["ask", "one", get("/count")], ["wait", "one"]])).expect("a client");
    assert!(refused.of("one")["status"].is_null(), "{}", refused.0);
    assert_eq!(cuts(&site, "address"), 1.0);
    drop(tcp);
    until("one is gone", || site.node.metric("eyot_connections", "") == 1.0);
    first.go_on();
    first.end();
    until("both are gone", || site.node.metric("eyot_connections", "") == 0.0);
    site.is_fine();
}

#[test]
fn a_connection_that_asks_for_nothing_ends_at_keepalive_idle_and_a_silent_one_at_header_timeout() {
    let site = Site::with("keepalive_idle = \"1s\"\nheader_timeout = \"1s\"");
    let Some(seen) = site.sees(&json!([["ask", "one", get("/count")], ["wait", "one"], ["closed"]])) else { return };
    assert_eq!((seen.status("one"), seen.closed()), (200, Some(code::NO_ERROR)), "{}", seen.0);
    let Some(seen) = site.sees(&json!([["closed"]])) else { return };
    assert_eq!(seen.closed(), Some(code::NO_ERROR), "{}", seen.0);
    until("both are counted", || cuts(&site, "silent") == 1.0);
}

#[test]
fn datagrams_that_are_none_of_quic_are_nobody_s_connection() {
    let site = Site::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut seed = 1_u64;
    for length in (0..1400).step_by(7) {
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 56) as u8
            })
            .collect();
        socket.send_to(&bytes, site.node.address()).unwrap();
    }
    assert_eq!(site.node.metric("eyot_connections", ""), 0.0);
    site.is_fine();
}
