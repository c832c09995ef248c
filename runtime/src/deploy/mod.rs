//! What should run: the route table, one immutable snapshot, and the canonical forms of host and path that it is asked with.
//!
//! May import: `failure`, `http`, `config`, `observe`, `egress`, `auth`. The way in: [`RouteTable::build`] when the configuration is
//! read; for each request [`host::canonical`], [`path::canonical`], then [`RouteTable::find`].
//! Invariants: pure data, no I/O; a request has one canonical path, and it is the one that is routed, authenticated and handed on;
//! spellings that differ only in escapes, repeated slashes or path parameters take the same route; which route wins does not
//! depend on the order in which routes were written; what would be ambiguous is refused when the table is built.

mod endpoint;
pub mod host;
pub mod path;
mod pattern;
mod table;
#[cfg(test)]
mod tests;

pub use table::{Match, RouteTable};
