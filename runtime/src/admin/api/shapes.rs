//! What goes over the wire, both ways: the server writes it, the command line reads it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::config::Diagnostic;
use crate::store;

mod kv;
mod queue;
mod fleet;
mod schedule;

pub use fleet::{Node, Nodes};
pub use kv::{KvEntries, KvEntry, KvKey, KvKeys, KvName, KvNamespace, KvNamespaces, KvPage};
pub use queue::{
    NewQueueMessage, NewQueueMessages, Queue, QueueCount, QueueMessage, QueueMessages, QueuePeek, QueueSent,
    QueueState, Queues, Redrive,
};
pub use schedule::{Schedule, ScheduleHistory, ScheduleRun, ScheduleRuns, Schedules};

/// A fault of what was sent: where, what is wrong, what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fault {
    /// `eyot.toml` or `component`, as they were sent; or one of another version.
    pub file: String,
    /// From 1; 0 where no line is at fault.
    pub line: usize,
    /// From 1; 0 where no line is at fault.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl From<Diagnostic> for Fault {
    fn from(Diagnostic { place, message, help }: Diagnostic) -> Self {
        let file = place.file.display().to_string();
        Self { file, line: place.line, column: place.column, message, help }
    }
}

/// A worker, and what serves of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Worker {
    /// Its name.
    pub name: String,
    /// When its first version was added.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Whether it answers requests.
    pub serves: bool,
    /// The newest deployment. `null`: there was none yet.
    pub deployment: Option<Deployment>,
    /// Why it does not serve what it should.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

/// All workers that the token covers.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Workers {
    /// By name.
    pub workers: Vec<Worker>,
}

/// An immutable version of a worker.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// The name of its worker.
    pub worker: String,
    /// 1, 2, 3 for each worker.
    #[schema(minimum = 1)]
    pub version: u32,
    /// Its stable name.
    pub id: String,
    /// When it was added.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// What its author said of it.
    pub message: String,
    /// The SHA-256 of its component. `null`: the version was pruned.
    pub component: Option<String>,
    /// Its eyot.toml, where one version was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
}

/// Versions of a worker, the newest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Versions {
    /// The newest first.
    pub versions: Vec<Version>,
    /// For `before`, to get what is older; absent where there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
}

/// A version that is sent.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is described, and read part by part")]
pub struct NewVersion {
    /// The text of its eyot.toml.
    pub manifest: String,
    /// The component.
    #[schema(value_type = String, format = Binary)]
    pub component: Vec<u8>,
    /// What its author says of it, at most 1,000 characters.
    #[schema(max_length = 1000)]
    pub message: Option<String>,
}

/// What a version has of its worker's requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Share {
    /// The number of the version.
    #[schema(minimum = 1)]
    pub version: u32,
    /// In percent, to a hundredth. All of a deployment come to 100.
    #[schema(exclusive_minimum = 0, maximum = 100)]
    pub percent: f64,
}

/// Which versions of a worker serve, until its next deployment.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    /// Its stable name.
    pub id: String,
    /// The name of its worker.
    pub worker: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Who asked for it.
    pub who: String,
    /// What it was made for: `deploy`, `rollout`, `rollback`, `automatic rollback` or `remove`.
    pub why: String,
    /// What was said of it, or why the node went back.
    pub note: String,
    /// What serves. None: the worker was removed.
    pub versions: Vec<Share>,
}

/// Deployments of a worker, the newest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Deployments {
    /// The newest first.
    pub deployments: Vec<Deployment>,
    /// For `before`, to get what is older; absent where there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A deployment to be.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDeployment {
    /// Which versions are to serve, and how much each.
    #[schema(min_items = 1, max_items = 20)]
    pub versions: Vec<Share>,
    /// What for. Without it: `rollout` where several versions serve, else `deploy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Purpose>,
    /// The deployment that it is to replace: if there is another one by then, it is not made. Without it: whatever there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// What is said of it, at most 1,000 characters.
    #[serde(default)]
    #[schema(max_length = 1000)]
    pub note: String,
    /// A path. Each version that does not serve yet is asked for it, and the deployment is made only if all answer with a status below
    /// 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^/[!-~]*$", max_length = 1000)]
    pub probe: Option<String>,
}

/// What a deployment is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Another version.
    Deploy,
    /// A step from one version to another.
    Rollout,
}

/// Where to go back to.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// To this version. Without it: to what the deployment before the newest one said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub version: Option<u32>,
    /// As in a new deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// What is said of it, at most 1,000 characters.
    #[serde(default)]
    #[schema(max_length = 1000)]
    pub note: String,
}

/// A secret, without its value.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Secret {
    /// The name of its worker.
    pub worker: String,
    /// Its own.
    pub name: String,
    /// When it was given its value.
    #[schema(value_type = String, format = DateTime)]
    pub set: Timestamp,
    /// 1, 2, 3 for each value.
    pub revision: u32,
}

/// The secrets of a worker.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Secrets {
    /// By name.
    pub secrets: Vec<Secret>,
}

/// The value of a secret. No answer has it.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretValue {
    /// Text; what is none is encoded first, for example in base64.
    #[schema(max_length = 65536)]
    pub value: String,
}

/// What a token lets do. Each lets do what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look.
    Read,
    /// Say what serves.
    Deploy,
    /// All else: secrets, tokens, the audit.
    Admin,
}

impl From<Scope> for store::Scope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Read => Self::Read,
            Scope::Deploy => Self::Deploy,
            Scope::Admin => Self::Admin,
        }
    }
}

impl From<store::Scope> for Scope {
    fn from(scope: store::Scope) -> Self {
        match scope {
            store::Scope::Read => Self::Read,
            store::Scope::Deploy => Self::Deploy,
            store::Scope::Admin => Self::Admin,
        }
    }
}

/// A token to be.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What its owner calls it.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// What it lets do.
    pub scope: Scope,
    /// With which workers: names, with `*` for any number of characters.
    #[schema(min_items = 1, max_items = 32, value_type = Vec<WorkerGlob>)]
    pub workers: Vec<String>,
    /// With routes of which hosts: `shop.example`, `*.shop.example`, or `*` for any host.
    #[schema(max_items = 100, value_type = Vec<HostGlob>)]
    pub hosts: Vec<String>,
    /// From when on it does not hold. Without it: it holds until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Timestamp>,
}

/// The name of a worker, with `*` for any number of characters.
#[derive(ToSchema)]
#[schema(pattern = r"^[a-z0-9*-]{1,128}$")]
#[expect(dead_code, reason = "it is described, not made")]
pub struct WorkerGlob(String);

/// A host, `*.` and a host for all below it, or `*` for any.
#[derive(ToSchema)]
#[schema(pattern = r"^(\*|(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?)$")]
#[expect(dead_code, reason = "it is described, not made")]
pub struct HostGlob(String);

/// A token that was made. This is the only time that it is shown.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// What stands behind `Authorization: Bearer`.
    pub token: String,
    /// What is kept of it.
    #[serde(flatten)]
    pub kept: Token,
}

/// A token, without the token itself.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its stable name, which is no secret.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// What it lets do.
    pub scope: Scope,
    /// With which workers.
    pub workers: Vec<String>,
    /// With routes of which hosts.
    pub hosts: Vec<String>,
    /// Its last four characters.
    pub hint: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// By whom.
    pub created_by: String,
    /// From when on it does not hold.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Timestamp>,
    /// Since when it does not hold, because somebody said so.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked: Option<Timestamp>,
}

/// All tokens.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Tokens {
    /// The oldest first.
    pub tokens: Vec<Token>,
}

/// A line of the audit.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// 1, 2, 3 for all of them.
    pub number: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// Did what.
    pub action: String,
    /// To what.
    pub target: String,
    /// How.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
}

/// Who changed what, the newest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Audit {
    /// The newest first.
    pub entries: Vec<AuditEntry>,
    /// For `before`, to get what is older; absent where there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

/// How the node stands.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Of Eyot.
    pub version: String,
    /// Whether requests may be sent here.
    pub ready: bool,
    /// For so many seconds it has been running.
    pub uptime_seconds: u64,
    /// A component that is sent has so many bytes at most.
    pub component_size: u64,
    /// So many deployed workers serve.
    pub serving: usize,
    /// Those that should serve and do not, with the reasons.
    pub faulty: Vec<Faulty>,
    /// Those that are ordered (ACME).
    #[serde(default)]
    pub certificates: Vec<OrderedCertificate>,
}

/// A certificate that is ordered.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OrderedCertificate {
    /// The hosts that it is for.
    pub names: Vec<String>,
    /// Until when the one is good that is in use. Without it there is none yet, and handshakes for these hosts are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_after: Option<Timestamp>,
    /// When it is ordered, or ordered anew.
    #[schema(value_type = String, format = DateTime)]
    pub ordered_at: Timestamp,
    /// Why the last order has come to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A worker that should serve and does not.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Faulty {
    /// Its name.
    pub worker: String,
    /// Why.
    pub faults: Vec<Fault>,
}

/// A backup to be.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBackup {
    /// The name of its folder.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
}

/// A backup that was made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Backup {
    /// Where it lies, on the machine of the node.
    pub folder: String,
    /// So many components.
    pub components: usize,
    /// So many bytes of them.
    pub bytes: u64,
}

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct NumberedPage {
    /// Only what is older than this number.
    #[param(minimum = 1)]
    pub before: Option<u32>,
    /// So many at most. Without it: 50.
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
}

/// Which part of a list is wanted.
#[derive(Clone, Debug, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Only what is older than this one.
    pub before: Option<String>,
    /// So many at most. Without it: 50.
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
}
