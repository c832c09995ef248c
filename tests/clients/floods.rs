//! Floods of frames that cost a client nothing: they end the connection, by a bound of h2 or by limit `h2_glitches`.

use std::io::{Read, Write};

use crate::harness::frames::{
    self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, frame,
};
use crate::{Arena, is_closed, send};

/// Sends these frames on one connection, reading nothing, while others are served; then everything is as before. Says why the node
/// ended the connection, where it was for its frames.
fn flood(begun: &[u8], pieces: impl IntoIterator<Item = Vec<u8>>) -> Option<&'static str> {
    let arena = Arena::new();
    let mut socket = arena.connect();
    socket.write_all(&[&frames::preface(&[]), begun].concat()).expect("sent");
    send(&mut socket, pieces);
    arena.others_are_served();
    arena.has_not_grown();
    let is_closed = is_closed(&mut socket);
    drop(socket);
    arena.is_as_before();
    is_closed.then(|| arena.why_cut())
}

/// So many times the same, in pieces that are worth a system call.
fn again(frame: &[u8], times: usize) -> impl Iterator<Item = Vec<u8>> + use<> {
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
fn cve_2023_44487_streams_that_are_opened_and_reset_in_one_go_start_no_isolate() {
    let arena = Arena::new();
    let before = arena.node.metric("eyot_isolates_started_total", "");
    let mut socket = arena.connect();
    // h2 ends a connection for more than twenty of them.
    let pairs = (0..15)
        .map(|number| 2 * number + 1)
        .map(|stream| [frames::get(stream, "/sleep?ms=60000"), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat());
    let pairs: Vec<u8> = pairs.flatten().collect();
    socket.write_all(&[&frames::preface(&[])[..], &pairs, &frame(PING, 0, 0, b"answered")].concat()).expect("sent");
    let mut read = Vec::new();
    while !read.windows(8).any(|bytes| bytes == b"answered") {
        let mut buffer = [0; 1024];
        let more = socket.read(&mut buffer).expect("the node answers a ping");
        assert!(more > 0, "the connection goes on");
        read.extend_from_slice(&buffer[..more]);
    }
    drop(socket);
    arena.node.wait_until_idle();
    assert_eq!(arena.node.metric("eyot_isolates_started_total", ""), before);
    arena.is_as_before();
}

#[test]
fn cve_2025_8671_streams_that_the_server_is_made_to_reset_end_the_connection() {
    // Each is an error of its stream: a window of nothing and one that overflows (RFC 9113 §6.9, §6.9.1), a stream that depends on
    // itself (RFC 7540 §5.3.1), data and a head behind the end (RFC 9113 §5.1), and data that is not as long as it was said to be.
    let ask = |stream| frames::get(stream, "/sleep?ms=60000");
    type Errs<'a> = &'a dyn Fn(u32) -> Vec<u8>;
    let attacks: &[(&str, Errs<'_>)] = &[
        ("a window of nothing", &|stream| [ask(stream), frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()),
        ("a window that overflows", &|stream| {
            [ask(stream), frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])].concat()
        }),
        ("data behind the end", &|stream| [ask(stream), frame(DATA, 0, stream, b"x")].concat()),
        ("a head behind the end", &|stream| [ask(stream), ask(stream)].concat()),
        ("a dependency on itself", &|stream| {
            [ask(stream), frame(PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[15]].concat())].concat()
        }),
        ("more data than declared", &|stream| {
            // content-length: 1, from the static table (RFC 7541, appendix A).
            let fields = [frames::request("POST", "/sleep?ms=60000"), vec![0x0f, 0x0d, 1, b'1']].concat();
            [frame(HEADERS, END_HEADERS, stream, &fields), frame(DATA, 0, stream, b"xx")].concat()
        }),
    ];
    for (what, errs) in attacks {
        let arena = Arena::new();
        let mut socket = arena.connect();
        socket.write_all(&frames::preface(&[])).expect("sent");
        send(&mut socket, (0..50_000).map(|number| errs(2 * number + 1)));
        assert!(is_closed(&mut socket), "{what}: the node has had enough");
        let started = arena.node.metric("eyot_isolates_started_total", "");
        assert!(started < 1_000.0, "{what}: {started} isolates for a client that wants no answer");
        arena.is_as_before();
    }
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
fn cve_2019_9512_pings_without_end_end_the_connection() {
    let reason = flood(&[], again(&frame(PING, 0, 0, b"12345678"), 500_000));
    assert_eq!(reason, Some("glitches"));
}

#[test]
fn answers_to_pings_that_nobody_sent_end_the_connection() {
    assert_eq!(flood(&[], again(&frame(PING, ACK, 0, b"12345678"), 500_000)), Some("glitches"));
}

#[test]
fn cve_2019_9515_settings_without_end_end_the_connection() {
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]);
    assert_eq!(flood(&[], again(&settings, 500_000)), Some("glitches"));
}

#[test]
fn cve_2019_9513_priorities_without_end_end_the_connection() {
    let priorities = (0..500_000u32).map(|number| frame(PRIORITY, 0, 2 * number + 1, &[0, 0, 0, 0, 15]));
    let pieces: Vec<_> = priorities.collect::<Vec<_>>().chunks(100).map(<[_]>::concat).collect();
    assert_eq!(flood(&[], pieces), Some("glitches"));
}

#[test]
fn cve_2019_9518_rustsec_2026_0258_empty_data_frames_without_end_end_the_connection() {
    let begun = frame(HEADERS, END_HEADERS, 1, &frames::request("POST", "/read-body"));
    assert!(flood(&begun, again(&frame(DATA, 0, 1, &[]), 1_000_000)).is_some());
}

#[test]
fn data_frames_of_one_byte_that_nobody_reads_end_the_connection() {
    // Twenty streams, so that it is not the window of one that ends it: 1 MiB of bytes would be as many entries in a queue.
    let begun: Vec<u8> = (0..20)
        .flat_map(|stream| frame(HEADERS, END_HEADERS, 2 * stream + 1, &frames::request("POST", "/sleep?ms=60000")))
        .collect();
    let data = (0..20).flat_map(|stream| again(&frame(DATA, 0, 2 * stream + 1, b"x"), 60_000));
    assert!(flood(&begun, data).is_some());
}

#[test]
fn cve_2019_9516_fields_without_a_name_take_no_memory() {
    let mut number = 1;
    let heads = std::iter::repeat_with(|| {
        let fields = [frames::request("GET", "/count"), [0x00, 0, 0].repeat(5_000)].concat();
        number += 2;
        frame(HEADERS, END_STREAM | END_HEADERS, number, &fields)
    });
    flood(&[], heads.take(1_000));
}

#[test]
fn cve_2019_9517_window_updates_without_end_end_the_connection() {
    let window = again(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), 500_000);
    assert_eq!(flood(&frames::get(1, "/sleep?ms=1000"), window), Some("glitches"));
}

#[test]
fn resets_of_a_stream_that_has_ended_end_the_connection() {
    let resets = again(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), 100_000);
    assert_eq!(flood(&frames::get(1, "/count"), resets), Some("glitches"));
}

#[test]
fn frames_of_unknown_kinds_are_ignored_and_without_end_they_end_the_connection() {
    // RFC 9113 §5.5.
    let unknown = frame(0xfa, 0xff, 0, &[0; 100]);
    let arena = Arena::new();
    let mut socket = arena.connect();
    socket.write_all(&[frames::preface(&[]), unknown.repeat(10), frames::get(1, "/count")].concat()).expect("sent");
    assert!(frames::head_of(&mut socket, 1), "answered");
    assert_eq!(flood(&[], again(&unknown, 200_000)), Some("glitches"));
}

#[test]
fn heads_in_pieces_of_a_byte_end_the_connection() {
    // Each head is one that may be sent: HEADERS and no more CONTINUATION frames than h2 takes.
    let head = |number: u32| {
        let (stream, fields) = (2 * number + 1, frames::request("GET", "/count"));
        let (first, rest) = fields.split_at(1);
        let (middle, last) = rest.split_at(4);
        let mut head = frame(HEADERS, END_STREAM, stream, first);
        head.extend(middle.iter().flat_map(|byte| frame(CONTINUATION, 0, stream, &[*byte])));
        head.extend(frame(CONTINUATION, END_HEADERS, stream, last));
        head
    };
    assert_eq!(flood(&[], (0..50_000).map(head)), Some("glitches"));
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
