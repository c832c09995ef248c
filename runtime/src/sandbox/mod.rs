//! Engines, compiled components and isolates: where a guest runs.
//!
//! May import: all rooms up to `bindings`. The way in: [`Engines`] once for a process, [`Prepared`] once for each version,
//! [`find`] and [`run`] for each request.
//! Invariants: a store serves one invocation and is dropped with it, unless its worker asked for it to be kept; a guest that spins never
//! holds its core for more than a slice; every way out of an isolate gives back its memory, its permit and its place in the metrics.

mod bulk;
mod compile;
mod confine;
mod engine;
mod inspect;
mod isolate;
mod lane;
mod metered;
mod pool;
mod prepared;
mod run;
mod stream;
mod sweep;
mod ticker;
mod waiting;
mod work;

pub use compile::compile;
pub use confine::{ConfineError, Confined, Keeps, confine};
pub use engine::{EngineKind, Engines};
pub use inspect::{Handler, Inspection, InspectionError, inspect};
pub use isolate::Job;
pub use metered::Ledger;
pub use pool::Pool;
pub use prepared::{PrepareError, Prepared, fits, refused, turn};
pub use run::{Invocation, run};
pub use waiting::{at_rest, find, for_event, waiting};
pub use work::{Work, work};
