//! The values that labels may have, and counters whose labels cannot be mixed up.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use serde::Serialize;

/// Where an isolate came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// From Wasm bytes.
    Compile,
    /// Compiled, on disk, not in memory.
    Cold,
    /// The compiled component was in memory; the isolate is new.
    Warm,
    /// An isolate made ahead, never used.
    Prepared,
    /// An isolate kept from an earlier request.
    Reused,
}

/// What answered a request. Its name is the label `target`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A worker, by its name.
    Worker(&'a str),
    /// An origin, by its name.
    Origin(&'a str),
    /// A route that redirects.
    Redirect,
    /// A route with an answer of its own.
    Respond,
    /// Nothing: no route, or the request was refused before one was looked for.
    None,
}

impl Start {
    pub(super) const ALL: [Self; 5] = [Self::Compile, Self::Cold, Self::Warm, Self::Prepared, Self::Reused];

    /// The word for it in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compile => "compile",
            Self::Cold => "cold",
            Self::Warm => "warm",
            Self::Prepared => "prepared",
            Self::Reused => "reused",
        }
    }
}

impl Target<'_> {
    pub(super) fn label(self) -> String {
        match self {
            Self::Worker(name) => name.to_owned(),
            Self::Origin(name) => format!("origin:{name}"),
            // A worker's name has no colon, so none of these is one.
            Self::Redirect => "node:redirect".to_owned(),
            Self::Respond => "node:respond".to_owned(),
            Self::None => "node:none".to_owned(),
        }
    }
}

/// Counters with `N` labels. The number of values is part of the type, so a look-up cannot fail.
#[derive(Clone)]
pub(super) struct Counters<const N: usize>(IntCounterVec);

impl<const N: usize> Counters<N> {
    pub(super) fn register(registry: &Registry, name: &str, help: &str, labels: [&str; N]) -> prometheus::Result<Self> {
        let counters = IntCounterVec::new(Opts::new(name, help), &labels)?;
        registry.register(Box::new(counters.clone()))?;
        Ok(Self(counters))
    }

    pub(super) fn of(&self, values: [&str; N]) -> IntCounter {
        self.0.with_label_values(&values)
    }
}
