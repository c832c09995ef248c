//! What crosses rooms as plain data: a [`Body`], the [`Client`] at the other end of a connection, the canonical forms of [`host`] and
//! [`path`], the [`Gate`] before something that is bounded, the [`Pace`] of bodies, which addresses are public, and which fields are ours
//! or meant for one connection.
//!
//! May import: `failure`. The way in: these types, the same for HTTP/1.1, HTTP/2 and tests; for each request [`host::canonical`] and
//! [`path::canonical`].
//! Invariants: nothing here does I/O of its own; nothing here knows a worker; a request has one canonical path, and it is the one that
//! is routed, authenticated and handed on.

mod address;
mod body;
mod client;
mod gate;
mod hop_by_hop;
pub mod host;
mod ours;
mod pace;
pub mod path;

pub use address::is_public;
pub use body::{Body, BodyError};
pub use client::{AlternativeName, Client, ClientCertificate, Tls};
pub use gate::{Gate, Permit};
pub use hop_by_hop::{strip_hop_by_hop, tokens};
pub use ours::{strip_names, strip_ours, strip_prefix};
pub use pace::Pace;
