//! What the operator and the authors of workers wrote down: node.toml, a worker's eyot.toml, limits.toml.
//!
//! May import: `failure`, `http`. The way in: [`Node::load`], [`Worker::load`], [`LimitTable::builtin`]; each gives typed values or
//! every fault of the file as [`Diagnostics`], with file, line, column, what is wrong and what to do.
//! Invariants: parsed once; unknown keys are refused; what is accepted is enforced; paths are absolute after loading.

mod auth;
mod component;
mod diagnostic;
mod form;
mod host;
mod limit_reader;
mod limit_table;
mod limits;
mod listener;
mod node;
mod origin;
mod pattern;
mod phrase;
mod reader;
mod reference;
mod route;
mod target;
mod units;
mod worker;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub use auth::Key;
pub use auth::{Algorithm, Auth, TokenSource};
pub use diagnostic::{Diagnostic, Diagnostics, Place};
pub use host::HostPattern;
pub use limit_table::{LimitRow, LimitTable, Source};
pub use limits::{Kind, NodeLimits, Value, WorkerLimits};
pub use listener::{Admin, Listener, ListenerTls};
pub use node::{Node, Telemetry};
pub use origin::Origin;
pub use pattern::{PathPattern, Segment};
pub use route::{Methods, Route};
pub use target::{Location, Target};
pub use worker::{AllowedHost, Build, Worker};
