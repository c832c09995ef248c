//! What a worker may touch: the data behind a store, and one file for each WIT interface that a guest can import.
//!
//! May import: `failure`, `http`, `config`, `observe`, `egress`, `auth`, `deploy`. The way in: [`Guest`], the data of one store, and
//! [`link`], which gives a linker everything that a guest may import.
//! Invariants: nothing is granted by default (no directory, no socket, no environment of the host); whatever a guest makes the
//! host hold is bounded by a limit of limits.toml; a guest learns of its own request only.

mod event;
mod guest;
mod http;
mod link;
mod log;
mod meter;
mod outcome;

pub use event::Event;
pub use guest::{Capabilities, Guest};
pub use http::Outbound;
pub use link::{link, link_async};
pub use log::LogSink;
pub use meter::{Meter, NodeMemory, Usage};
pub use outcome::failure_of;
