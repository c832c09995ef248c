//! Telling apart why a guest ended.

use std::fmt::{self, Write};

use wasmtime::Trap;
use wasmtime::component::ResourceTableError;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::FieldMapError;

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
    if error.downcast_ref::<I32Exit>().is_some() {
        return Failure::WorkerNoResponse("guest exited");
    }
    match error.downcast_ref::<Trap>() {
        // Of WASI 0.3.
        Some(Trap::AsyncDeadlock) => Failure::WorkerNoResponse("guest waits for what will never come"),
        Some(Trap::NoAsyncResult) => Failure::WorkerNoResponse("guest ended without a result"),
        Some(trap) => Failure::WorkerTrapped(trap.to_string()),
        None => Failure::WorkerTrapped(bounded(format_args!("{}", error.root_cause()))),
    }
}

/// The same for a guest that ended after the head of its response: to exit with status 0 is then a good end.
#[must_use]
pub fn failure_after_head(error: &wasmtime::Error, usage: &Usage, limits: &WorkerLimits) -> Option<Failure> {
    match error.downcast_ref::<I32Exit>() {
        Some(I32Exit(0)) => None,
        Some(I32Exit(status)) => Some(Failure::WorkerTrapped(format!("it exited with status {status}"))),
        None => Some(failure_of(error, usage, limits)),
    }
}

/// A guest's words are as long as it likes, and are not counted by limit `log`.
const WORDS: usize = 512;

/// The words of a guest in a failure: cut where they are long, on one line.
#[must_use]
pub fn bounded(words: fmt::Arguments<'_>) -> String {
    let mut text = Bounded(String::new());
    if text.write_fmt(words).is_err() {
        text.0.push('…');
    }
    text.0
}

struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        for character in piece.chars() {
            if self.0.len() >= WORDS {
                return Err(fmt::Error);
            }
            if character.is_control() {
                self.0.extend(character.escape_default());
            } else {
                self.0.push(character);
            }
        }
        Ok(())
    }
}

/// The limits that wasmtime holds itself. Three of its errors have no public type, only a text; the tests of these limits fail
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
        if let Some(FieldMapError::TotalSizeTooBig | FieldMapError::TooManyFields) = cause.downcast_ref() {
            return Some(Failure::WorkerHeaderTooLarge { limit: limits.response_header });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_guest_are_cut_and_stay_on_one_line() {
        let code = bounded(format_args!("{:?}", Some("a\nb".repeat(1 << 20))));
        assert!(code.starts_with("Some(\"a\\nba") && code.ends_with('…') && code.len() < WORDS + 8, "{code}");
        assert_eq!(bounded(format_args!("a\nb\u{1b}[1m")), "a\\nb\\u{1b}[1m");
        assert_eq!(bounded(format_args!("{}", "x".repeat(WORDS))).len(), WORDS);
    }
}
