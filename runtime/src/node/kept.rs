//! What was deployed to a node, as a start finds it in its store.

use crate::activate::{Deployed, LeftOut};
use crate::config::{self, Diagnostic, Diagnostics, Place};
use crate::store::{Store, StoreError};

/// The store with what should serve of it.
pub(super) struct Kept {
    pub(super) store: Store,
    pub(super) deployed: Vec<Deployed>,
    /// What cannot be read against this configuration.
    pub(super) left_out: LeftOut,
}

/// Opens the store that the configuration names, if it names one.
pub(super) fn open(node: &config::Node) -> Result<Option<Kept>, Diagnostic> {
    let Some(folder) = &node.store else { return Ok(None) };
    let told = |error: StoreError| {
        let help = "the store holds all that was deployed; the node does not start without it";
        Diagnostic::new(node.mentions.folder(folder), error.to_string(), help)
    };
    let store = Store::open(folder).map_err(told)?;
    // Its own thread answers; this one only waits.
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| {
        Diagnostic::new(Place::default(), format!("cannot wait for the store: {error}"), "this is not a fault of yours")
    })?;
    let snapshot = runtime.block_on(store.snapshot()).map_err(told)?;
    let (mut deployed, mut left_out) = (Vec::new(), LeftOut::new());
    for worker in &snapshot.workers {
        match Deployed::read(worker, &store, node) {
            Ok(found) => deployed.extend(found),
            Err(faults) => left_out.push((worker.name.clone(), faults)),
        }
    }
    Ok(Some(Kept { store, deployed, left_out }))
}

/// Says which workers should serve and cannot.
pub(super) fn tell(left_out: &LeftOut) {
    for (worker, Diagnostics(faults)) in left_out {
        for Diagnostic { place, message, help } in faults {
            tracing::error!(worker, %place, help, "a deployed worker does not serve: {message}");
        }
    }
}
