//! Modes that look for what a guest must not have, and report what they found.

use std::fs;
use std::io::{Read, Result};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Instant, SystemTime};

use serde_json::{Value, json};

use crate::Query;

/// `env`: environment variables, arguments, and how much there is to read on stdin.
pub(crate) fn env(_query: &Query) -> String {
    let variables: serde_json::Map<String, Value> = std::env::vars_os()
        .map(|(key, value)| (key.to_string_lossy().into(), value.to_string_lossy().into()))
        .collect();
    let arguments: Vec<String> = std::env::args_os().map(|argument| argument.to_string_lossy().into()).collect();
    let stdin = outcome(std::io::stdin().read_to_end(&mut Vec::new()));
    format!("{}\n", json!({ "variables": variables, "arguments": arguments, "stdin": stdin }))
}

/// `files`: tries to read, list and write. Every attempt must end in an error.
pub(crate) fn files(_query: &Query) -> String {
    let report = json!({
        "read /etc/passwd": outcome(fs::read("/etc/passwd").map(|bytes| bytes.len())),
        "read ../../etc/passwd": outcome(fs::read("../../etc/passwd").map(|bytes| bytes.len())),
        "read /proc/self/environ": outcome(fs::read("/proc/self/environ").map(|bytes| bytes.len())),
        "list /": outcome(fs::read_dir("/").map(Iterator::count)),
        "list .": outcome(fs::read_dir(".").map(Iterator::count)),
        "write /tmp/fixture": outcome(fs::write("/tmp/fixture", "x")),
        "write fixture": outcome(fs::write("fixture", "x")),
    });
    format!("{report}\n")
}

/// `sockets?to=HOST:PORT`: tries to connect, listen, send and resolve. Every attempt must end in an error.
pub(crate) fn sockets(query: &Query) -> String {
    let to = query.text("to").unwrap_or("127.0.0.1:80");
    let report = json!({
        "connect": outcome(TcpStream::connect(to).map(|_| "connected")),
        "listen": outcome(TcpListener::bind("127.0.0.1:0").map(|_| "listening")),
        "udp": outcome(UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"x", to))),
        "resolve": outcome(("localhost", 80).to_socket_addrs().map(Iterator::count)),
    });
    format!("{report}\n")
}

/// `clock`: the wall clock in seconds since 1970, and the smallest step of the monotonic clock that was seen, in nanoseconds.
pub(crate) fn clock(_query: &Query) -> String {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970").as_secs_f64();
    let step = (0..1000).filter_map(|_| smallest_step()).min();
    format!("{}\n", json!({ "wall": wall, "step": step }))
}

fn smallest_step() -> Option<u64> {
    let begin = Instant::now();
    (0..100).map(|_| begin.elapsed().as_nanos() as u64).find(|nanoseconds| *nanoseconds > 0)
}

/// What came of an attempt: `{"ok": …}` or `{"error": …}`.
fn outcome<T: Into<Value>>(result: Result<T>) -> Value {
    match result {
        Ok(value) => json!({ "ok": value.into() }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}
