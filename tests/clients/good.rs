//! Clients that behave as browsers, curl and gRPC do, however much they ask for: none of them meets a bound that is there for floods.

use std::io::Write;
use std::process::Command;

use crate::harness::frames::{
    self, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame,
};
use crate::{Arena, until};

/// None of its connections was ended for what came over it.
fn was_not_cut(arena: &Arena) {
    let cut = arena.node.metrics();
    let cut: Vec<_> = cut.lines().filter(|line| line.starts_with("eyot_connections_cut_total")).collect();
    assert!(cut.iter().all(|line| line.contains("\"idle\"")), "{cut:?}");
}

#[test]
fn curl_downloads_and_uploads_much_over_one_connection() {
    let arena = Arena::tls();
    let body = arena.node.folder.path().join("body");
    std::fs::write(&body, vec![b'x'; 1 << 20]).expect("a file");
    // Over TLS: curl 7.88 cannot use a connection again that it began with prior knowledge.
    let curl = |arguments: &[&str], path: &str| {
        let mut curl = Command::new("curl");
        let url = format!("https://localhost:{}{path}", arena.node.address().port());
        let output = curl.args(["--http2", "-ksS"]).args(arguments).arg(url).output().expect("curl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let size = ["-o", "/dev/null", "-w", "%{size_download} by HTTP/%{http_version}\n"];
    for parallel in [&[][..], &["--parallel", "--parallel-max", "50"]] {
        let sizes = curl(&[&size[..], parallel].concat(), "/big-body?mib=1&number=[1-50]");
        assert_eq!(sizes.matches("1048576 by HTTP/2").count(), 50, "{sizes}");
    }
    let answers = curl(&["-T", body.to_str().expect("a plain path")], "/read-body?number=[1-20]");
    assert_eq!(answers.matches("1048576").count(), 20, "{answers}");
    was_not_cut(&arena);
}

#[test]
fn a_browser_that_leaves_a_page_takes_back_all_it_asked_for_and_asks_again() {
    let arena = Arena::new();
    let mut socket = arena.connect();
    // As Firefox begins: settings, the connection's window, a tree of priorities.
    socket.write_all(&frames::preface(&[(4, 131_072)])).expect("sent");
    socket.write_all(&frame(WINDOW_UPDATE, 0, 0, &12_517_377_u32.to_be_bytes())).expect("sent");
    for stream in [3, 5, 7, 9, 11, 13] {
        socket.write_all(&frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 200])).expect("sent");
    }
    let mut stream = 15;
    for _ in 0..2 {
        let first = stream;
        for _ in 0..90 {
            socket.write_all(&frames::get(stream, "/sleep?ms=60000")).expect("sent");
            socket.write_all(&frame(WINDOW_UPDATE, 0, stream, &12_451_840_u32.to_be_bytes())).expect("sent");
            stream += 2;
        }
        until("they run", || arena.node.metric("eyot_isolates_in_use", "") >= 90.0);
        for left in (first..stream).step_by(2) {
            socket.write_all(&frame(RST_STREAM, 0, left, &[0, 0, 0, 8])).expect("sent");
        }
        until("they are gone", || arena.node.metric("eyot_isolates_in_use", "") == 0.0);
        // The next page.
        socket.write_all(&frames::get(stream, "/count")).expect("sent");
        assert!(frames::head_of(&mut socket, stream), "answered");
        stream += 2;
    }
    was_not_cut(&arena);
}

#[test]
fn a_stream_of_messages_of_grpc_is_measured_by_pings_and_opened_by_windows() {
    let arena = Arena::new();
    let mut socket = arena.connect();
    socket
        .write_all(&[frames::preface(&[]), frames::get(1, "/stream?chunks=1000&bytes=20&delay=1")].concat())
        .expect("sent");
    // For each message both windows and, as grpc-go does while it looks for the bandwidth, a ping.
    let mut messages = 0;
    while let Some(got) = frames::next(&mut socket) {
        match got.kind {
            DATA if got.flags & END_STREAM != 0 => break,
            DATA => {
                messages += 1;
                let length = u32::try_from(got.payload.len()).expect("short").to_be_bytes();
                let windows = [frame(WINDOW_UPDATE, 0, 0, &length), frame(WINDOW_UPDATE, 0, 1, &length)].concat();
                socket.write_all(&windows).expect("sent");
                if messages % 10 == 0 {
                    socket.write_all(&frame(PING, 0, 0, b"bdp-ping")).expect("sent");
                }
            }
            SETTINGS if got.flags == 0 => socket.write_all(&frame(SETTINGS, frames::ACK, 0, &[])).expect("sent"),
            HEADERS => assert_eq!(got.flags & END_HEADERS, END_HEADERS),
            _ => {}
        }
    }
    // Some are sent together. Twice as many windows are far more than the budget and what time adds to it.
    assert!(messages >= 200, "{messages} messages came before the end");
    was_not_cut(&arena);
}
