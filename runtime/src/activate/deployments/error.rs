//! Why a change is not made.

use crate::config::{Diagnostic, Diagnostics};
use crate::store::{SecretError, SharesError, StoreError, VaultError};

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
    /// The version is at fault.
    #[error("version {version} {why} when it was asked for {path}; what served before serves on")]
    Probe {
        /// The number of the version.
        version: u32,
        /// What it was asked for.
        path: String,
        /// What it did.
        why: String,
    },
    /// Whoever asked is at fault.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The node has no key, or another one.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The operator has given the node no key.
    #[error("this node has no key for secrets; give it one: `secrets_key` in node.toml, or EYOT_SECRETS_KEY")]
    NoKey,
    /// A version that serves needs it.
    #[error(
        "version {version} of worker `{worker}` serves and asks for secret `{name}`; deploy one that does not first"
    )]
    InUse {
        /// The name of the worker.
        worker: String,
        /// The number of the version.
        version: u32,
        /// The name of the secret.
        name: String,
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
