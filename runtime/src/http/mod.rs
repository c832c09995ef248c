//! What crosses rooms: a [`Body`], the [`Client`] at the other end of a connection, the canonical forms of [`host`] and [`path`].
//!
//! May import: `failure`. The way in: the two types, the same for HTTP/1.1, HTTP/2 and tests; for each request [`host::canonical`] and
//! [`path::canonical`].
//! Invariants: nothing here reads or writes a socket ([`Hangup`] only asks whether one is closed); nothing here knows a worker; a
//! request has one canonical path, and it is the one that is routed, authenticated and handed on.

mod body;
mod client;
mod hangup;
pub mod host;
pub mod path;

pub use body::{Body, BodyError};
pub use client::{Client, Tls};
pub use hangup::Hangup;
