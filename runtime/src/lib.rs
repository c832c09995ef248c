//! Eyot, an edge runtime: each request in a capped WebAssembly isolate of its own.
//!
//! The rooms stand in one total order, and a room imports only rooms above it in this list; `tests/rooms.rs` keeps it so.
//! `ARCHITECTURE.md` has the walk of a request through them.

// Both panic where nobody takes what they print: use cli::say. Tests may.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod failure;
pub mod http;
pub mod config;
pub mod observe;
pub mod egress;
pub mod auth;
pub mod deploy;
pub mod bindings;
pub mod sandbox;
pub mod activate;
pub mod dispatch;
pub mod ingress;
pub mod admin;
pub mod cli;
pub mod node;
