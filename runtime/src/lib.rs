//! Eyot, an edge runtime: each request in a capped WebAssembly isolate of its own.
//!
//! The rooms stand in one total order, and a room imports only rooms above it in this list; `tests/rooms.rs` keeps it so.
//! `ARCHITECTURE.md` has the walk of a request through them. Only the command line is public: it is all that the binary needs, and
//! so the compiler can tell what nobody uses.

// Both panic where nobody takes what they print: use cli::say. Tests may.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

mod failure;
mod http;
mod config;
mod observe;
mod store;
mod egress;
mod auth;
mod deploy;
mod bindings;
mod sandbox;
mod activate;
mod dispatch;
mod ingress;
mod acme;
mod life;
mod admin;
pub mod cli;
mod node;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
