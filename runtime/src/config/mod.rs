//! What the operator and the authors of workers wrote down: node.toml, a worker's eyot.toml, limits.toml.
//!
//! May import: `failure`, `http`. The way in: [`Node::load`], [`Worker::load`], [`LimitTable::builtin`]; each gives typed values or
//! every fault of the file as [`Diagnostics`], with file, line, column, what is wrong and what to do. [`Node::read`] gives both, for who
//! looks further before everything is told.
//! Invariants: parsed once; unknown keys are refused; what is accepted is enforced; paths are absolute after loading.

mod acme;
mod auth;
mod backend;
mod component;
mod diagnostic;
mod file;
mod form;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod host;
mod limit_reader;
mod limit_table;
mod limits;
mod listener;
mod mention;
mod node;
mod origin;
mod pattern;
mod phrase;
mod queue;
mod reader;
mod reference;
mod rollout;
mod route;
mod schedule;
mod schema;
mod service;
mod target;
mod units;
mod worker;

#[cfg(test)]
mod tests;

pub use acme::{Acme, ExternalAccount, OrderedCertificate};
pub use auth::{Algorithm, Auth, Key, TokenSource, algorithm_named};
pub use backend::{Backends, Fleet, Protocol, Server};
pub use diagnostic::{Diagnostic, Diagnostics, Place};
pub use file::read_regular;
pub use form::{is_secret_name, is_worker_name};
pub use host::HostPattern;
pub use limit_table::{LimitRow, LimitTable, Source};
pub use limits::{Kind, NodeLimits, Value, WITHOUT_LIMITS, WorkerLimits, held};
pub use listener::{Admin, Certificate, CertificateFiles, ClientAuthority, Listener, ListenerTls};
pub use mention::Mentions;
pub use node::{Node, Read, Telemetry};
pub use origin::Origin;
pub use pattern::{PathPattern, Segment};
pub use queue::{Queue, QueueAddress};
pub use rollout::{Rollout, Sticky};
pub use route::{Methods, Route};
pub use schedule::{CatchUp, Overlap, Schedule};
pub use schema::Described;
pub use service::Service;
pub use target::{Location, Target};
pub use worker::{AllowedHost, Build, Reading, Worker};

pub(crate) use units::positive_time;
