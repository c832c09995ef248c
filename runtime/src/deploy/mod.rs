//! What should run: the route table, one immutable snapshot.
//!
//! May import: `failure`, `http`, `config`, `observe`, `egress`, `auth`. The way in: [`RouteTable::build`] when the configuration is
//! read, [`RouteTable::find`] for each request.
//! Invariants: pure data, no I/O; spellings that differ only in escapes, repeated slashes or path parameters take the same route;
//! which route wins does not depend on the order in which routes were written; what would be ambiguous is refused when the table is
//! built.

mod endpoint;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod table;
#[cfg(test)]
mod tests;

pub use table::RouteTable;
