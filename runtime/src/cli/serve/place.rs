//! The place of a node: its state folder, whom it takes it from, and who takes it next.

use std::path::Path;

use super::wrong;
use crate::config::{self, Diagnostic, Diagnostics};
use crate::ingress::Given;
use crate::life::{Claim, Handover, Starter, TakeOver};
use crate::node::{Arrival, Node};

/// What a node has besides its configuration. One without a state folder of its own has nothing that another could take.
#[derive(Default)]
pub(super) struct Place {
    given: Given,
    claim: Option<Claim>,
    predecessor: Option<TakeOver>,
    starter: Option<Starter>,
}

impl Place {
    /// To be called before the process is confined.
    pub(super) fn take(node: &config::Node, take_over: bool, mut given: Given) -> anyhow::Result<Self> {
        let Some(folder) = node.state.as_deref() else {
            return if take_over { Err(no_folder()) } else { Ok(Self { given, ..Self::default() }) };
        };
        let (claim, predecessor) = claim(folder, take_over, &mut given)?;
        let starter = Some(Starter::start()?);
        Ok(Self { given, claim: Some(claim), predecessor, starter })
    }

    /// What the node comes by.
    pub(super) fn arrival(&mut self) -> Arrival<'_> {
        let given = std::mem::take(&mut self.given);
        Arrival { given, predecessor: self.predecessor.as_ref(), shares: self.claim.is_some() }
    }

    /// Returns when the node may begin to accept.
    pub(super) fn may_serve(&self) -> Result<(), Diagnostics> {
        match self.predecessor.as_ref().map(TakeOver::may_serve) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(Diagnostic::from(error).into()),
        }
    }

    /// Says that it does. From here on the next process may come.
    pub(super) fn serves(&mut self, node: &Node) -> Option<Handover> {
        if let Some(predecessor) = self.predecessor.take() {
            tracing::info!(process = predecessor.process, "taken over");
            predecessor.serves();
        }
        let offered = Handover::offer(self.claim.as_ref()?, node.shared(), node.alone());
        let told = |error: &std::io::Error| tracing::error!(%error, "no process can take over from this one");
        offered.inspect_err(told).ok()
    }

    /// Has a process started that takes over.
    pub(super) fn start_successor(&self) {
        match self.starter.as_ref().map(Starter::begin) {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::error!(%error, "no process that takes over can be started"),
            None => tracing::error!(
                help = NO_FOLDER,
                "no process can take over from this one: it has no state folder of its own"
            ),
        }
    }
}

const NO_FOLDER: &str = "write state = \"/var/lib/eyot\" in node.toml, or give --state DIR";

fn no_folder() -> anyhow::Error {
    wrong(
        "--take-over: this node has no state folder of its own, by which the one before could be found".to_owned(),
        NO_FOLDER,
    )
}

fn claim(folder: &Path, take_over: bool, given: &mut Given) -> Result<(Claim, Option<TakeOver>), Diagnostics> {
    let taken = match take_over {
        true => TakeOver::begin(folder, given).map_err(Diagnostic::from),
        false => Claim::take(folder).map(|claim| (claim, None)).map_err(Diagnostic::from),
    };
    Ok(taken?)
}
