//! What should run, on disk: workers, their versions and components, deployments, secrets, operators' tokens, and who changed what.
//!
//! May import: `failure`, `http`, `config`, `observe`. The way in: [`Store::open`]; then its methods, each of which waits for a thread
//! of the store and never for a disk.
//! Invariants: what was answered is on the disk; a change is whole or not there, together with its line of the audit; versions and
//! deployments never change, and of history only pruning deletes, by its rule and behind what it keeps; no secret and no token is in the
//! store but encrypted or as a digest; one process has a store; what is damaged is named, not served.

mod backup;
mod beside;
mod change;
mod check;
#[cfg(test)]
mod claims;
mod components;
mod database;
mod digest;
mod durable;
mod error;
mod fleet;
mod horizon;
mod kv;
mod lock;
mod migrate;
mod model;
mod nats;
mod prune;
#[cfg(test)]
#[path = "../../../tests/harness/python.rs"]
mod python;
mod queue;
mod read;
mod room;
mod schedule;
mod seal;
mod secret;
#[cfg(test)]
#[expect(dead_code, reason = "tests from outside use the rest of it")]
#[path = "../../../tests/harness/servers.rs"]
mod servers;
mod shares;
mod state;
#[cfg(test)]
mod tests;
mod thread;
mod token;
mod vault;
mod wal;
mod writer;

pub use backup::restore;
pub use components::Held;
pub use database::DATABASE;
pub use digest::Digest;
pub use durable::{make_folder, write_whole};
pub use error::StoreError;
pub use fleet::{Change, Claim, Elsewhere, Fleet, FleetNode, RENEWED, SILENT};
pub use kv::{Entry, Expected, Kv, KvError, KvLimits, Listed, Namespace, Page, Put};
pub use model::{
    After, By, Content, Deployment, DeploymentId, NewVersion, Once, Plan, Version, VersionId, Why, Worker,
};
pub use prune::{Keep, Pruned};
pub use queue::{
    Delivery, Lease, Message, MessageId, NewMessage, QueueError, QueueLimits, QueueName, QueueRule, Queues, Settled,
    Wanted,
};
pub use room::Room;
pub use schedule::{Run, RunId, RunOutcome, ScheduleName, Schedules};
pub use secret::{Secret, SecretError, SecretName, SecretValue};
pub use shares::{Share, Shares, SharesError, Weight};
pub use state::Store;
pub use token::{NewToken, Scope, TokenHash, TokenId, TokenRow};
pub use vault::{Vault, VaultError};
