//! What crosses rooms as plain data: a [`Body`] and the [`Client`] at the other end of a connection.
//!
//! May import: `failure`. The way in: the two types, the same for HTTP/1.1, HTTP/2 and tests.
//! Invariants: nothing here does I/O of its own; nothing here knows a worker.

mod body;
mod client;
mod hop_by_hop;

pub use body::{Body, BodyError};
pub use client::{Client, Tls};
pub use hop_by_hop::{strip_hop_by_hop, tokens};
