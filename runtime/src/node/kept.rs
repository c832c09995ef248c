//! What was deployed to a node, as a start finds it in its store.

use std::path::Path;
use std::sync::Arc;

use crate::activate::{Deployed, LeftOut, Secrets, SecretsError};
use crate::admin;
use crate::config::{self, Diagnostic, Diagnostics, Place, read_regular};
use crate::store::{Fleet, Store, StoreError, Vault};

/// The store with what should serve of it.
pub(super) struct Kept {
    pub(super) store: Store,
    pub(super) deployed: Vec<Deployed>,
    pub(super) secrets: Secrets,
    /// With whom it is shared.
    pub(super) fleet: Option<Arc<Fleet>>,
    /// What cannot be read against this configuration.
    pub(super) left_out: LeftOut,
}

/// The key of secrets, where no file is named.
const KEY: &str = "EYOT_SECRETS_KEY";

/// A key has 64 digits.
const LARGEST_KEY: u64 = 1 << 10;

/// Opens the store that the configuration names, if it names one.
pub(super) fn open(node: &config::Node) -> Result<Option<Kept>, Diagnostic> {
    let Some(folder) = &node.store else { return Ok(None) };
    let vault = vault(node)?;
    let told = |error: StoreError| {
        let help = "the store holds all that was deployed; the node does not start without it";
        Diagnostic::new(node.mentions.folder(folder), error.to_string(), help)
    };
    let store = Store::open(folder).map_err(told)?;
    // Its own thread answers; this one only waits.
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| {
        Diagnostic::new(Place::default(), format!("cannot wait for the store: {error}"), "this is not a fault of yours")
    })?;
    let first = runtime.block_on(admin::first_token(&store, folder)).map_err(|error| {
        let help = "whoever may read it makes the other tokens by it";
        Diagnostic::new(node.mentions.folder(folder), format!("no first token: {error}"), help)
    })?;
    if let Some(file) = first {
        tracing::info!(file = %file.display(), "the first token of the admin API is in this file");
    }
    let snapshot = runtime.block_on(store.snapshot()).map_err(told)?;
    let secrets = runtime.block_on(Secrets::open(&store, vault)).map_err(|error| no_secrets(node, folder, &error))?;
    let (mut deployed, mut left_out) = (Vec::new(), LeftOut::new());
    for worker in &snapshot.workers {
        let found = Deployed::read(worker, &store, node).and_then(|found| {
            for stored in found.iter().flat_map(|found| &found.versions) {
                secrets.are_there(stored)?;
            }
            Ok(found)
        });
        match found {
            Ok(found) => deployed.extend(found),
            Err(faults) => left_out.push((worker.name.clone(), faults)),
        }
    }
    let fleet = node.backends.fleet.as_ref().map(|config::Fleet { server, name }| {
        let opened = Fleet::open(server, name.clone()).map(Arc::new);
        let help = "node.toml names this server in [fleet]";
        opened.map_err(|error| Diagnostic::new(Place::default(), error.to_string(), help))
    });
    Ok(Some(Kept { store, deployed, secrets, fleet: fleet.transpose()?, left_out }))
}

fn vault(node: &config::Node) -> Result<Option<Vault>, Diagnostic> {
    let (text, place) = match &node.secrets_key {
        Some(file) => {
            let fault = |why: &dyn std::fmt::Display| {
                let message = format!("the key of secrets cannot be read: {why}");
                node.mentions.locate(Diagnostic::new(Place::file(file), message, "make one: openssl rand -hex 32"))
            };
            let bytes = read_regular(file, LARGEST_KEY).map_err(|error| fault(&error))?;
            let text = String::from_utf8(bytes).map_err(|_| fault(&"it is not text"))?;
            (text, node.mentions.folder(file))
        }
        None => match std::env::var(KEY) {
            Ok(text) => (text, Place::default()),
            Err(_) => return Ok(None),
        },
    };
    let key = Vault::from_key_text(text.trim());
    key.map(Some).map_err(|error| Diagnostic::new(place, error.to_string(), "make one: openssl rand -hex 32"))
}

fn no_secrets(node: &config::Node, folder: &Path, error: &SecretsError) -> Diagnostic {
    let help = "give the node the key that it had: `secrets_key` in node.toml, or EYOT_SECRETS_KEY";
    Diagnostic::new(node.mentions.folder(folder), error.to_string(), help)
}

/// Says which workers should serve and cannot.
pub(super) fn tell(left_out: &LeftOut) {
    for (worker, Diagnostics(faults)) in left_out {
        for Diagnostic { place, message, help } in faults {
            tracing::error!(worker, %place, help, "a deployed worker does not serve: {message}");
        }
    }
}
