//! What nodes tell each other, as it stands on the server.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::digest::Digest;
use crate::store::model::{Content, Deployment, DeploymentId, Plan, Version, VersionId, Why};
use crate::store::shares::{Share, Shares, Weight};

/// A version.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct VersionRecord {
    id: String,
    worker: String,
    number: u32,
    created: Timestamp,
    message: String,
    component: String,
    manifest: String,
}

/// A deployment. Without shares it is the one after which a worker does not serve.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DeploymentRecord {
    id: String,
    worker: String,
    created: Timestamp,
    who: String,
    note: String,
    why: Option<String>,
    shares: Vec<ShareRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ShareRecord {
    version: String,
    basis_points: u16,
}

/// A node, as it tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetNode {
    /// Its name.
    pub name: String,
    /// Which Eyot it is.
    pub version: String,
    /// Since when it is there.
    pub started: Timestamp,
    /// When it last told of itself.
    pub seen: Timestamp,
    /// Up to which change of the fleet it has come.
    pub change: u64,
    /// How many workers it serves.
    pub workers: u64,
    /// The deployments that it cannot serve, by their workers' names.
    pub left_out: Vec<String>,
}

impl VersionRecord {
    /// `None` of one that was pruned.
    pub(super) fn of(version: &Version) -> Option<Self> {
        let Content { component, manifest } = version.content.clone()?;
        Some(Self {
            id: version.id.to_string(),
            worker: version.worker.clone(),
            number: version.number,
            created: version.created,
            message: version.message.clone(),
            component: component.to_string(),
            manifest,
        })
    }

    pub(super) fn read(self) -> Option<Version> {
        let content = Content { component: Digest::parse(&self.component)?, manifest: self.manifest };
        let Self { worker, number, created, message, .. } = self;
        Some(Version { id: VersionId::parse(&self.id)?, worker, number, created, message, content: Some(content) })
    }
}

impl DeploymentRecord {
    pub(super) fn of(deployment: &Deployment) -> Self {
        let Deployment { id, worker, created, who, note, plan } = deployment;
        let (why, shares) = match plan {
            Plan::Serve { why, shares } => (Some(why.word().to_owned()), shares.iter().copied().collect()),
            Plan::Removed => (None, Vec::new()),
        };
        let record = |Share { version, weight }| ShareRecord {
            version: version.to_string(),
            basis_points: weight.basis_points(),
        };
        Self {
            id: id.to_string(),
            worker: worker.clone(),
            created: *created,
            who: who.clone(),
            note: note.clone(),
            why,
            shares: shares.into_iter().map(record).collect(),
        }
    }

    pub(super) fn read(self) -> Option<Deployment> {
        let plan = match self.why {
            None => Plan::Removed,
            Some(word) => {
                let read = |share: ShareRecord| {
                    let version = VersionId::parse(&share.version)?;
                    Some(Share { version, weight: Weight::new(share.basis_points).ok()? })
                };
                let shares: Option<Vec<_>> = self.shares.into_iter().map(read).collect();
                Plan::Serve { why: Why::parse(&word)?, shares: Shares::new(shares?).ok()? }
            }
        };
        let Self { worker, created, who, note, .. } = self;
        Some(Deployment { id: DeploymentId::parse(&self.id)?, worker, created, who, note, plan })
    }
}
