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
