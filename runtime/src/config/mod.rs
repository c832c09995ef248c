//! What the operator and the authors of workers wrote down: node.toml, a worker's eyot.toml, limits.toml.
//!
//! May import: `failure`, `http`. The way in: [`Node::load`], [`Worker::load`], [`LimitTable::builtin`]; each gives typed values or
//! every fault of the file as [`Diagnostics`], with file, line, column, what is wrong and what to do.
//! Invariants: parsed once; unknown keys are refused; what is accepted is enforced; paths are absolute after loading.

mod diagnostic;
mod duration;
mod limits;
mod node;
mod reader;
mod worker;

pub use diagnostic::{Diagnostic, Diagnostics, Place};
pub use limits::{Kind, LimitRow, LimitTable, NodeLimits, Scope, Source, Value, WorkerLimits};
pub use node::{Admin, Algorithm, Auth, Key, Listener, ListenerTls, Node, Origin, Telemetry, TokenSource};
pub use worker::{Build, Egress, Methods, Route, Target, Worker};
