//! From bytes to serving: read a component, check it, compile it, map its code when it is used, switch the snapshot.
//!
//! May import: all rooms up to `sandbox`. The way in: [`Activator::activate`], from a configuration to an [`Active`] snapshot, or to
//! every reason why not; then [`Code::loaded`] and [`Code::load`] for each request.
//! Invariants: a snapshot is complete before anybody sees it, and immutable after; compiled code is mapped only when its digest
//! is the one that was written down when it was compiled; nothing is compiled in this process (`compiler.rs`); what is in memory is
//! bounded, and who runs it keeps it.

mod activator;
mod active;
mod assemble;
mod code;
mod compiled;
pub mod compiler;
mod components;
mod data;
mod deployed;
mod deployments;
mod expected;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod loader;
mod parallel;
mod secrets;
mod split;
mod stock;
mod tally;
mod working_set;

pub use activator::{Activated, Activator, Mode};
pub use active::{Active, Consumed, Destination, Planned, Target, Worker};
pub use compiled::CompiledStore;
pub use compiler::{CompileLimits, Compiler};
pub use components::Components;
pub use data::Data;
pub use deployed::{Deployed, LeftOut};
pub use deployments::{Ask, Asked, DeployError, Deployments, Found, Standing, Upload};
pub use loader::Loader;
pub use secrets::{Secrets, SecretsError};
pub use split::Split;
pub use stock::Stock;
pub use working_set::Bounds;
