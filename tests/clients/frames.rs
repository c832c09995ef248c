//! Frames that break the protocol: an error of their stream or of their connection (RFC 9113 §5.4), and nothing else.

use std::io::{Read, Write};

use crate::harness::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, PUSH_PROMISE, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, frame,
};
use crate::{Arena, is_closed};

/// Each ends its connection, and a good one next to it goes on.
fn are_errors_of_the_connection(wrong: &[(&str, Vec<u8>)]) {
    let arena = Arena::new();
    for (what, bytes) in wrong {
        let mut socket = arena.connect();
        let _ = socket.write_all(&[frames::preface(&[]), bytes.clone()].concat());
        assert!(is_closed(&mut socket), "{what}");
        arena.others_are_served();
    }
    arena.is_as_before();
}

/// What comes back up to the end of a stream, with the preface before.
fn answers(arena: &Arena, bytes: &[u8]) -> Vec<(u8, u32)> {
    let mut socket = arena.connect();
    socket.write_all(&[&frames::preface(&[]), bytes].concat()).expect("sent");
    let mut seen = Vec::new();
    let mut head = [0; 9];
    // Up to the end of the stream, or of the connection.
    while socket.read_exact(&mut head).is_ok() {
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        socket.read_exact(&mut payload).expect("a whole frame");
        seen.push((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]])));
        if matches!(head[3], HEADERS | RST_STREAM | GOAWAY) {
            break;
        }
    }
    seen
}

#[test]
fn frames_of_a_wrong_size_end_the_connection() {
    are_errors_of_the_connection(&[
        ("a frame larger than was allowed", frame(DATA, 0, 1, &[0; 16_385])),
        ("a ping that is not eight bytes", frame(PING, 0, 0, b"1234567")),
        ("settings that are not sixes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("an acknowledgement with settings", frame(SETTINGS, 1, 0, &[0; 6])),
        ("a window update that is not four bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3])),
        ("a reset that is not four bytes", [frames::get(1, "/sleep?ms=1"), frame(RST_STREAM, 0, 1, &[0; 5])].concat()),
    ]);
}

#[test]
fn frames_on_a_stream_where_they_cannot_be_end_the_connection() {
    are_errors_of_the_connection(&[
        ("data on the connection", frame(DATA, 0, 0, b"x")),
        ("a head on the connection", frame(HEADERS, END_STREAM | END_HEADERS, 0, &frames::request("GET", "/count"))),
        ("a head on a server's stream", frame(HEADERS, END_STREAM | END_HEADERS, 2, &frames::request("GET", "/count"))),
        ("a ping on a stream", frame(PING, 0, 1, b"12345678")),
        ("settings on a stream", frame(SETTINGS, 0, 1, &[])),
        ("a goodbye on a stream", frame(GOAWAY, 0, 1, &[0; 8])),
        ("data on a stream that is not open", frame(DATA, 0, 5, b"x")),
        ("a reset of a stream that is not open", frame(RST_STREAM, 0, 5, &[0; 4])),
        ("a window for a stream that is not open", frame(WINDOW_UPDATE, 0, 5, &[0, 0, 0, 1])),
        ("a stream with a smaller number", [frames::get(5, "/count"), frames::get(3, "/count")].concat()),
        ("a promise by a client", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
    ]);
}

#[test]
fn a_head_is_not_interrupted() {
    let begun = frame(HEADERS, END_STREAM, 1, &frames::request("GET", "/count"));
    are_errors_of_the_connection(&[
        ("by a ping", [begun.clone(), frame(PING, 0, 0, b"12345678")].concat()),
        ("by a priority", [begun.clone(), frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 15])].concat()),
        ("by another stream's", [begun, frame(CONTINUATION, END_HEADERS, 3, &[])].concat()),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &[])),
    ]);
}

#[test]
fn settings_and_windows_out_of_bounds_end_the_connection() {
    are_errors_of_the_connection(&[
        ("push that is neither on nor off", frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2])),
        ("a window of more than 2^31-1", frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0])),
        ("frames of less than 2^14", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0x3f, 0xff])),
        ("frames of more than 2^24-1", frame(SETTINGS, 0, 0, &[0, 5, 1, 0, 0, 0])),
        ("no window for the connection", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("a window that overflows", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
    ]);
}

#[test]
fn heads_that_cannot_be_read_end_the_connection() {
    let head = |fields: &[u8]| frame(HEADERS, END_STREAM | END_HEADERS, 1, fields);
    are_errors_of_the_connection(&[
        ("an index that is not in the table", head(&[0xff, 0xff, 0xff, 0x7f])),
        ("a string that ends before its end", head(&[0x00, 10, b'x'])),
        ("a number without end", head(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
        ("a table larger than was allowed", head(&[0x3f, 0xff, 0xff, 0xff, 0x07])),
        ("padding longer than its frame", frame(HEADERS, END_STREAM | END_HEADERS | 0x08, 1, &[200, 0x82])),
    ]);
}

#[test]
fn requests_that_are_malformed_are_refused_before_an_isolate_begins() {
    let arena = Arena::new();
    let started = || arena.node.metric("eyot_isolates_started_total", "");
    let before = started();
    let field = |name: &[u8], value: &[u8]| {
        let length = |text: &[u8]| u8::try_from(text.len()).expect("short");
        [&[0x00, length(name)], name, &[length(value)], value].concat()
    };
    let with =
        |more: Vec<u8>| frame(HEADERS, END_STREAM | END_HEADERS, 1, &[frames::request("GET", "/count"), more].concat());
    // RFC 9113 §8.2.1, §8.2.2 and §8.3.
    for (what, head) in [
        ("an upper-case name", with(field(b"X-Name", b"y"))),
        ("a field of the connection", with(field(b"connection", b"close"))),
        ("a transfer coding", with(field(b"transfer-encoding", b"chunked"))),
        ("te other than trailers", with(field(b"te", b"gzip"))),
        ("a pseudo-field after a field", with([field(b"x-name", b"y"), field(b":path", b"/")].concat())),
        ("a pseudo-field twice", with(vec![0x82])),
        ("an unknown pseudo-field", with(field(b":unknown", b"y"))),
        ("a line feed in a value", with(field(b"x-name", b"a\nb"))),
        ("a null in a value", with(field(b"x-name", b"a\0b"))),
        ("no method", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0x86, 0x84, 0x01, 1, b'a'])),
        ("no path", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0x82, 0x86, 0x01, 1, b'a'])),
    ] {
        let seen = answers(&arena, &head);
        let is_refused = seen.contains(&(RST_STREAM, 1)) || seen.contains(&(HEADERS, 1));
        // h2 takes what is wrong with a name for an error of the connection.
        assert!(is_refused || seen.contains(&(GOAWAY, 0)), "{what}: {seen:?}");
        assert_eq!(started(), before, "{what}: {seen:?}");
    }
    arena.is_as_before();
}

#[test]
fn noise_is_closed_and_nothing_falls_over() {
    let arena = Arena::new();
    let mut seed = 1u32;
    let mut byte = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    for begun in [Vec::new(), frames::preface(&[]), b"GET / HTTP/1.1\r\n".to_vec(), b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()]
    {
        for _ in 0..20 {
            let noise: Vec<u8> = begun.iter().copied().chain(std::iter::repeat_with(&mut byte).take(4_000)).collect();
            let mut socket = arena.connect();
            let _ = socket.write_all(&noise);
            assert!(is_closed(&mut socket));
        }
        arena.others_are_served();
    }
    arena.is_as_before();
}
