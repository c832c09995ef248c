//! What is going on: request ids, logs, the access log, metrics, trace context and spans, named tasks, the CPU clock.
//!
//! May import: `failure`, `http`, `config`. The way in: the types below, made once in `node.rs`; a request then works on
//! handles of its own core ([`AccessLog`], [`WorkerMetrics`], [`Trace`]).
//!
//! Invariants: nothing here waits for a disk, a pipe or a collector on a core that serves; what cannot be kept is dropped and
//! counted. Labels come from configuration and code only. What a client or a guest wrote is escaped before it is shown.

pub mod access;
pub mod clock;
#[cfg(test)]
mod cost;
pub mod escape;
pub mod guest;
pub mod id;
pub mod logs;
pub mod metrics;
mod otlp;
mod short;
pub mod spans;
pub mod tail;
pub mod task;
pub mod trace;
pub mod writer;

pub use access::{AccessForm, AccessLog, AccessLogs, Record, status_style};
pub use escape::EscapedBytes;
pub use guest::{GuestLog, GuestStream, Stream};
pub use id::RequestId;
pub use logs::{Format, LogGuard};
pub use metrics::{
    AcmeOrders, CallMetrics, Called, Certificates, Delivered, FleetMetrics, InUse, Loads, Metrics, QueueMetrics,
    ServiceMetrics, Start, Target, TargetMetrics, WorkerMetrics,
};
pub use spans::{After, Call, Fired, Processed, SpanLosses, Tracer};
pub use tail::{NoTail, Tails, Told};
pub use task::spawn;
pub use trace::{Trace, TraceId};
pub use writer::{Destination, Lane, Writer};

/// What is made once is shared by all cores.
const _: () = {
    const fn shared<T: Send + Sync + 'static>() {}
    shared::<AccessLogs>();
    shared::<AccessLog>();
    shared::<GuestLog>();
    shared::<GuestStream>();
    shared::<LogGuard>();
    shared::<Metrics>();
    shared::<Tails>();
    shared::<Tracer>();
    shared::<Writer>();
};
