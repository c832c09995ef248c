//! What crosses rooms as plain data: a [`Body`], the [`Client`] at the other end of a connection, the [`Gate`] before something
//! that is bounded, which addresses are public, and which field names are ours.
//!
//! May import: `failure`. The way in: these types, the same for HTTP/1.1, HTTP/2 and tests.
//! Invariants: nothing here does I/O of its own; nothing here knows a worker.

mod address;
mod body;
mod client;
mod gate;
mod hangup;
mod ours;

pub use address::is_public;
pub use body::{Body, BodyError, Cut};
pub use client::{Client, Tls};
pub use gate::{Gate, Permit};
pub use hangup::Hangup;
pub use ours::{strip_names, strip_ours, strip_prefix};
