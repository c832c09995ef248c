//! Telling apart why a guest ended.

use wasmtime::Trap;
use wasmtime::component::ResourceTableError;

use super::Usage;
use crate::config::WorkerLimits;
use crate::failure::Failure;

/// Names the failure behind an error that came out of a store.
///
/// A trap after a denied growth is reported as memory: most guests turn −1 into `unreachable`. The same holds for every
/// other limit that was met before, because it is the likely cause.
#[must_use]
pub fn failure_of(error: &wasmtime::Error, usage: &Usage, limits: &WorkerLimits) -> Failure {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.clone();
    }
    if let Some(failure) = of_library(error, limits) {
        return failure;
    }
    if let Some(failure) = usage.met() {
        return failure.clone();
    }
    // It ended of its own accord, without an answer.
    if error.downcast_ref::<wasmtime_wasi::I32Exit>().is_some() {
        return Failure::WorkerNoResponse("guest exited");
    }
    match error.downcast_ref::<Trap>() {
        // Of WASI 0.3.
        Some(Trap::AsyncDeadlock) => Failure::WorkerNoResponse("guest waits for what will never come"),
        Some(Trap::NoAsyncResult) => Failure::WorkerNoResponse("guest ended without a result"),
        Some(trap) => Failure::WorkerTrapped(trap.to_string()),
        None => Failure::WorkerTrapped(error.root_cause().to_string()),
    }
}

/// The limits that wasmtime holds itself. Two of its errors have no public type, only a text; the tests of these limits fail
/// when the text changes.
fn of_library(error: &wasmtime::Error, limits: &WorkerLimits) -> Option<Failure> {
    if error.downcast_ref::<wasmtime::PoolConcurrencyLimitError>().is_some() {
        return Some(Failure::Overloaded {
            reason: "no free slot for an isolate",
            retry_after: std::time::Duration::from_secs(1),
        });
    }
    for cause in error.chain() {
        if matches!(cause.downcast_ref::<ResourceTableError>(), Some(ResourceTableError::Full)) {
            return Some(Failure::WorkerResourcesExceeded { limit: limits.resource_table });
        }
        let text = cause.to_string();
        if text.contains("fuel allocated for hostcalls") {
            return Some(Failure::WorkerHostcallExceeded { limit: limits.hostcall_fuel });
        }
        if text.contains("store handle limit exceeded") {
            return Some(Failure::WorkerHandlesExceeded { limit: limits.handles });
        }
        if text.starts_with("requested len") {
            return Some(Failure::WorkerRandomExceeded { limit: limits.random_bytes });
        }
    }
    None
}
