//! From trigger to invocation, from failure to response.
//!
//! May import: all rooms up to `activate`. The way in: [`Core::handle`], called by every connection for every request.
//! Invariants: the order of the security steps stands in one function, `http.rs`; `respond.rs` alone makes error responses; a
//! request that is rejected starts no isolate.

mod admission;
mod arrival;
mod background;
mod body;
mod client;
mod content;
mod finish;
mod forward;
mod head;
mod held;
mod http;
mod pace;
mod pressure;
mod redirect;
mod respond;
mod service;

pub use admission::NodeGate;
pub use background::{Serving, work};
pub use http::{Core, Dispatcher, Previews};
pub use pressure::watch_process;
pub use respond::Detail;
