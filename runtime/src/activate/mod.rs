//! From bytes to serving: read a component, check it, compile it or map what was compiled, switch the snapshot.
//!
//! May import: all rooms up to `sandbox`. The way in: [`Activator::activate`], from a configuration to an [`Active`] snapshot, or to
//! every reason why not.
//! Invariants: a snapshot is complete before anybody sees it, and immutable after; compiled code is mapped only when its digest
//! is the one that was written down by the process that compiled it; nothing is compiled in this process (`compiler.rs`).

mod activator;
mod active;
mod compiled;
pub mod compiler;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;

pub use activator::{Activator, Mode};
pub use active::{Active, Destination, Target, Worker};
pub use compiled::CompiledStore;
pub use compiler::{CompileLimits, Compiler};
