//! Floods of frames that cost a client nothing: whatever there is of them, they end the connection or are taken at little cost.

use std::io::Write;

use crate::harness::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    frame,
};
use crate::{Arena, is_closed, send};

/// Sends these frames on one connection, reading nothing, while others are served; then everything is as before.
fn flood(begun: Vec<u8>, pieces: impl IntoIterator<Item = Vec<u8>>) -> usize {
    let arena = Arena::new();
    let mut socket = arena.connect();
    socket.write_all(&frames::preface(&[])).expect("sent");
    socket.write_all(&begun).expect("sent");
    let sent = send(&mut socket, pieces);
    arena.others_are_served();
    drop(socket);
    arena.is_as_before();
    sent
}

/// So many times the same, in pieces that are worth a system call.
fn again(frame: &[u8], times: usize) -> impl Iterator<Item = Vec<u8>> {
    let piece = frame.repeat(100);
    std::iter::repeat_n(piece, times / 100)
}

#[test]
fn cve_2023_44487_streams_that_are_opened_and_reset_end_the_connection() {
    let arena = Arena::new();
    let mut socket = arena.connect();
    socket.write_all(&frames::preface(&[])).expect("sent");
    let cancel = [0, 0, 0, 8];
    let attack = (0..50_000).map(|number| {
        let stream = 2 * number + 1;
        [frames::get(stream, "/sleep?ms=60000"), frame(RST_STREAM, 0, stream, &cancel)].concat()
    });
    send(&mut socket, attack);
    assert!(is_closed(&mut socket), "the node has had enough");
    let started = arena.node.metric("eyot_isolates_started_total", "");
    assert!(started < 1_000.0, "{started} isolates for a client that wants no answer");
    arena.is_as_before();
}

#[test]
fn cve_2025_8671_streams_that_the_server_is_made_to_reset_end_the_connection() {
    let arena = Arena::new();
    let mut socket = arena.connect();
    socket.write_all(&frames::preface(&[])).expect("sent");
    // A window update of nothing is an error of the stream (RFC 9113 §6.9).
    let attack = (0..50_000).map(|number| {
        let stream = 2 * number + 1;
        [frames::get(stream, "/sleep?ms=60000"), frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()
    });
    send(&mut socket, attack);
    assert!(is_closed(&mut socket), "the node has had enough");
    let started = arena.node.metric("eyot_isolates_started_total", "");
    assert!(started < 1_000.0, "{started} isolates for a client that wants no answer");
    arena.is_as_before();
}

#[test]
fn cve_2024_27316_a_head_of_continuations_without_end_ends_the_connection() {
    let arena = Arena::new();
    let mut socket = arena.connect();
    socket.write_all(&frames::preface(&[])).expect("sent");
    socket.write_all(&frame(HEADERS, END_STREAM, 1, &frames::request("GET", "/count"))).expect("sent");
    // Literal fields without indexing (RFC 7541 §6.2.2), in frames of 16 KiB.
    let field = [&[0x00, 1, b'x', 100][..], &[b'y'; 100]].concat();
    let piece = frame(CONTINUATION, 0, 1, &field.repeat(157));
    send(&mut socket, std::iter::repeat_n(piece, 2_000));
    assert!(is_closed(&mut socket));
    arena.is_as_before();
}

#[test]
fn cve_2024_27316_continuations_of_nothing_without_end_end_the_connection() {
    let arena = Arena::new();
    let mut socket = arena.connect();
    socket.write_all(&frames::preface(&[])).expect("sent");
    socket.write_all(&frame(HEADERS, END_STREAM, 1, &frames::request("GET", "/count"))).expect("sent");
    send(&mut socket, again(&frame(CONTINUATION, 0, 1, &[]), 1_000_000));
    assert!(is_closed(&mut socket));
    arena.is_as_before();
}

#[test]
fn cve_2019_9512_pings_whose_answers_nobody_reads_take_no_memory() {
    flood(Vec::new(), again(&frame(PING, 0, 0, b"12345678"), 500_000));
}

#[test]
fn cve_2019_9515_settings_whose_answers_nobody_reads_take_no_memory() {
    flood(Vec::new(), again(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]), 500_000));
}

#[test]
fn cve_2019_9513_priorities_without_end_take_no_memory() {
    let priorities = (0..500_000u32).map(|number| frame(PRIORITY, 0, 2 * number + 1, &[0, 0, 0, 0, 15]));
    let pieces: Vec<_> = priorities.collect::<Vec<_>>().chunks(100).map(<[_]>::concat).collect();
    flood(Vec::new(), pieces);
}

#[test]
fn cve_2019_9518_rustsec_2026_0258_empty_data_frames_without_end_take_no_memory() {
    let begun = frame(HEADERS, END_HEADERS, 1, &frames::request("POST", "/read-body"));
    flood(begun, again(&frame(DATA, 0, 1, &[]), 1_000_000));
}

#[test]
fn cve_2019_9516_fields_without_a_name_take_no_memory() {
    let mut number = 1;
    let heads = std::iter::repeat_with(|| {
        let fields = [frames::request("GET", "/count"), [0x00, 0, 0].repeat(5_000)].concat();
        number += 2;
        frame(HEADERS, END_STREAM | END_HEADERS, number, &fields)
    });
    flood(Vec::new(), heads.take(1_000));
}

#[test]
fn window_updates_without_end_take_no_memory() {
    let begun = frames::get(1, "/sleep?ms=1000");
    flood(begun, again(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), 500_000));
}

#[test]
fn frames_of_unknown_kinds_are_ignored_and_take_no_memory() {
    // RFC 9113 §5.5.
    flood(Vec::new(), again(&frame(0xfa, 0xff, 0, &[0; 100]), 200_000));
}

#[test]
fn cve_2016_6581_fields_that_refer_to_one_large_field_do_not_become_large() {
    let arena = Arena::new();
    let mut socket = arena.connect();
    socket.write_all(&frames::preface(&[])).expect("sent");
    // A field of 4,000 bytes goes into the table, and every byte after it stands for it again.
    let large = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'y'; 4_000]].concat();
    let fields = [frames::request("GET", "/count"), large, vec![0xbe; 10_000]].concat();
    socket.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields)).expect("sent");
    arena.others_are_served();
    drop(socket);
    arena.is_as_before();
    assert!(arena.node.metric("eyot_isolates_started_total", "") < 20.0, "it was refused before an isolate began");
}
