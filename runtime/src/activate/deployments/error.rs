//! Why a change is not made.

use crate::config::{Diagnostic, Diagnostics};
use crate::store::{SharesError, StoreError};

/// Why a change is not made. What served before serves on.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// Whoever asked is at fault: each fault has its place and says what to do.
    #[error("{} of what was sent: {}", faults(.0), first(.0))]
    Refused(Diagnostics),
    /// Whoever asked may not.
    #[error("{0}")]
    Denied(String),
    /// Whoever asked is at fault.
    #[error(transparent)]
    Shares(#[from] SharesError),
    /// Whoever asked is at fault.
    #[error("a deployment needs a version: name at least one")]
    NothingToServe,
    /// There is nothing to go back to.
    #[error("worker `{worker}` has served nothing else before; deploy another version of it")]
    NothingBefore {
        /// Its name.
        worker: String,
    },
    /// What the store says.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Diagnostics> for DeployError {
    fn from(faults: Diagnostics) -> Self {
        Self::Refused(faults)
    }
}

impl From<Diagnostic> for DeployError {
    fn from(fault: Diagnostic) -> Self {
        Self::Refused(fault.into())
    }
}

fn faults(Diagnostics(faults): &Diagnostics) -> String {
    match faults.len() {
        1 => "a fault".to_owned(),
        count => format!("{count} faults"),
    }
}

fn first(Diagnostics(faults): &Diagnostics) -> &str {
    faults.first().map_or("", |fault| &fault.message)
}
