//! Certificates that are ordered (ACME, RFC 8555): an account, orders, the proof that a name is ours, renewal.
//!
//! May import: `failure`, `http`, `config`, `observe`, `store`, `egress`, `ingress`.
//!
//! The way in: [`Authority::new`] reads what the configuration names, [`Orders::new`] has the certificates that are to be there, and
//! [`Orders::watch`] orders what is missing or is to be renewed, from [`Orders::start`] on.
//!
//! Invariants:
//! - A key is on the disk before anything uses it, and readable to the node's user alone.
//! - A certificate is looked at before it takes the place of another one.
//! - An authority that refuses is left alone for longer each time, and for as long as it says; one that cannot be reached likewise.
//! - Only the process that has the store orders.
//! - Nothing that goes wrong here ends anything: what serves, serves on.

mod account;
mod authority;
mod due;
mod order;
mod orders;
mod trouble;

pub use authority::Authority;
pub use orders::{Installs, Orders, Standing};
