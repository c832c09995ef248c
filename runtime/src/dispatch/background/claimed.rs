//! Runs of a fleet: each is one node's. Others look after it until it is over, and take it over when its node falls silent.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::timer::Shared;
use crate::observe;
use crate::store::{Claim, Elsewhere, Fleet, RENEWED, SILENT};

/// A run that is this node's: it is said so for as long as this is held.
pub(super) struct Held {
    over: oneshot::Sender<()>,
}

impl Held {
    pub(super) fn new(shared: &Shared, mut claim: Claim) -> Self {
        let (over, mut is_over) = oneshot::channel();
        let name = shared.name.clone();
        observe::spawn("claim", async move {
            loop {
                tokio::select! {
                    _ = &mut is_over => break,
                    () = sleep(RENEWED) => match claim.renew().await {
                        Ok(true) => {}
                        Ok(false) => {
                            tracing::error!(schedule = %name, "another node has taken this run over, since this one was silent");
                            return;
                        }
                        // It is said again.
                        Err(error) => tracing::debug!(schedule = %name, "{error}"),
                    },
                }
            }
            if let Err(error) = claim.end().await {
                tracing::warn!(schedule = %name, "another node may run it once more: {error}");
            }
        });
        Self { over }
    }

    /// The run is over.
    pub(super) fn end(self) {
        // Who listens goes only after another node has taken it over.
        let _ = self.over.send(());
    }
}

/// Looks after a run that another node has, until it is over.
pub(super) fn look_after(shared: &Shared, fleet: Arc<Fleet>, due: Timestamp) {
    let shared = shared.clone();
    observe::spawn("stand-by", async move {
        let (mut known, mut since) = (None, Instant::now());
        loop {
            sleep(RENEWED).await;
            if shared.core.dispatcher.serving.is_over() || shared.planned().is_none() {
                return;
            }
            let Ok(elsewhere) = fleet.elsewhere(&shared.name, due).await else {
                // Nothing is known of anybody while the server is away.
                since = Instant::now();
                continue;
            };
            let Elsewhere::Runs(word) = elsewhere else { return };
            if known != Some(word) {
                (known, since) = (Some(word), Instant::now());
            } else if since.elapsed() >= SILENT {
                match fleet.take_over(&shared.name, due, word).await {
                    Ok(true) => {
                        tracing::warn!(schedule = %shared.name, %due, "the node that ran it has fallen silent: it runs here");
                        if let Err(error) = shared.schedules.ask(&shared.name).await {
                            tracing::error!(schedule = %shared.name, "it does not run here either: {error}");
                        }
                        return;
                    }
                    Ok(false) => (known, since) = (None, Instant::now()),
                    Err(_) => since = Instant::now(),
                }
            }
        }
    });
}
