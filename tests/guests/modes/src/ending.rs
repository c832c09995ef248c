//! Modes that end the isolate.

use crate::Query;

/// `trap`: the instruction `unreachable`.
pub(crate) fn trap(_query: &Query) -> String {
    std::arch::wasm32::unreachable()
}

/// `panic`: a Rust panic: a message on stderr, then a trap.
pub(crate) fn panic(_query: &Query) -> String {
    panic!("this fixture was asked to panic");
}

/// `exit?code=N`: `wasi:cli/exit`, before there is a response.
pub(crate) fn exit(query: &Query) -> String {
    std::process::exit(query.number("code", 0) as i32)
}

/// Ends the isolate in the way of this name: `exit-0`, `exit-1`, `trap` or `spin`; otherwise not at all.
pub fn end(way: &str) {
    match way {
        "exit-0" => std::process::exit(0),
        "exit-1" => std::process::exit(1),
        "trap" => std::arch::wasm32::unreachable(),
        "spin" => loop {
            std::hint::black_box(way);
        },
        _ => {}
    }
}
