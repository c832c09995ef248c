//! What the store keeps, as its callers see it.

use std::fmt::{self, Display, Formatter};

use jiff::Timestamp;
use uuid::Uuid;

use super::digest::Digest;
use super::shares::Shares;

/// The stable name of a version. Ids sort by the time of their making.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId(Uuid);

/// The stable name of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeploymentId(Uuid);

/// A version of a worker. It never changes; its content may be pruned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its stable name.
    pub id: VersionId,
    /// The name of its worker.
    pub worker: String,
    /// 1, 2, 3 for each worker.
    pub number: u32,
    /// When it was added.
    pub created: Timestamp,
    /// What its author said of it.
    pub message: String,
    /// `None`: it was pruned.
    pub content: Option<Content>,
}

/// What a version is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The digest of its component.
    pub component: Digest,
    /// The text of its eyot.toml, as it was given.
    pub manifest: String,
}

/// Which versions of a worker serve, from its time on until the worker's next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Its stable name.
    pub id: DeploymentId,
    /// The name of its worker.
    pub worker: String,
    /// When it was made.
    pub created: Timestamp,
    /// Who asked for it.
    pub who: String,
    /// What its author said of it, or why the node went back.
    pub note: String,
    /// What it says.
    pub plan: Plan,
}

/// What a deployment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// These serve.
    Serve {
        /// What it was made for.
        why: Why,
        /// Which.
        shares: Shares,
    },
    /// The worker was removed. Its history stays.
    Removed,
}

/// What a deployment was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Another version.
    Deploy,
    /// A step from one version to another.
    Rollout,
    /// Somebody went back.
    Rollback,
    /// The node went back.
    AutomaticRollback,
}

/// All workers at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// By name.
    pub workers: Vec<Worker>,
}

/// A worker at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its name.
    pub name: String,
    /// When its first version was added.
    pub created: Timestamp,
    /// The newest deployment, if there was any.
    pub deployment: Option<Deployment>,
    /// The versions that it names, in the order of its shares. Empty: this worker does not serve.
    pub serving: Vec<Version>,
}

/// One line of the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// 1, 2, 3 for all of them.
    pub number: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// Did what.
    pub action: String,
    /// To what.
    pub target: String,
    /// How, as JSON.
    pub detail: String,
}

/// Who asks for a change.
#[derive(Clone, Debug)]
pub struct By {
    /// As it stands in the audit.
    pub who: String,
    /// So that asking again after a lost answer changes nothing more. Versions and deployments alone know it: what is done to a secret
    /// or a token can be done again, and a digest of such a request would tell of the secret.
    pub once: Option<Once>,
}

/// A change that is made once, however often it is asked for.
#[derive(Clone, Debug)]
pub struct Once {
    /// The name that its caller gave it; each caller has names of its own.
    pub key: String,
    /// Of all that was asked, so that a key cannot be used for another change.
    pub request: Digest,
    /// From when on the key is forgotten.
    pub expires: Timestamp,
}

/// A version to be.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// The name of its worker, which is made with its first version.
    pub worker: String,
    /// The text of its eyot.toml.
    pub manifest: String,
    /// What its author says of it.
    pub message: String,
}

/// What a deployment replaces. Of two that replace the same one, the second is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Whatever there is.
    Whatever,
    /// This one.
    This(DeploymentId),
}

impl By {
    /// This one, without a key.
    #[must_use]
    pub fn new(who: impl Into<String>) -> Self {
        Self { who: who.into(), once: None }
    }
}

impl NewVersion {
    /// The version that it is under this number.
    #[must_use]
    pub fn numbered(self, component: Digest, number: u32) -> Version {
        let Self { worker, manifest, message } = self;
        let content = Some(Content { component, manifest });
        Version { id: VersionId::fresh(), worker, number, created: now(), message, content }
    }
}

impl VersionId {
    pub(super) fn fresh() -> Self {
        Self(Uuid::now_v7())
    }

    /// From what [`Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::parse_str(text).ok().map(Self)
    }
}

impl DeploymentId {
    pub(super) fn fresh() -> Self {
        Self(Uuid::now_v7())
    }

    /// From what [`Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::parse_str(text).ok().map(Self)
    }
}

impl Display for VersionId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl Display for DeploymentId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl Deployment {
    /// One to be. The note has 1,000 characters at most, which its caller sees to.
    #[must_use]
    pub fn new(by: &By, worker: String, note: String, plan: Plan) -> Self {
        Self { id: DeploymentId::fresh(), worker, created: now(), who: by.who.clone(), note, plan }
    }

    /// Which versions serve, if any.
    #[must_use]
    pub fn shares(&self) -> Option<&Shares> {
        match &self.plan {
            Plan::Serve { shares, .. } => Some(shares),
            Plan::Removed => None,
        }
    }
}

impl Why {
    const ALL: [Self; 4] = [Self::Deploy, Self::Rollout, Self::Rollback, Self::AutomaticRollback];

    /// As it is written down.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollout => "rollout",
            Self::Rollback => "rollback",
            Self::AutomaticRollback => "automatic rollback",
        }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.word() == word)
    }
}

/// As exact as it is written down.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}
