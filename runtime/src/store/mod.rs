//! What should run, on disk: workers, their versions and components, deployments, and who changed what.
//!
//! May import: `failure`, `http`, `config`, `observe`. The way in: [`Store::open`]; then its methods, each of which waits for a thread
//! of the store and never for a disk.
//! Invariants: what was answered is on the disk; a change is whole or not there, together with its line of the audit; versions and
//! deployments never change and are never deleted; one process has a store; what is damaged is named, not served.
// Its callers are the next step: `eyot deploy` and the admin API.
#![cfg_attr(not(test), expect(dead_code, reason = "`eyot deploy` and the admin API come next"))]
#![expect(unused_imports, reason = "the names of what they get and give, too")]

mod backup;
mod change;
mod check;
mod components;
mod database;
mod digest;
mod durable;
mod error;
mod lock;
mod migrate;
mod model;
mod prune;
mod read;
mod seal;
mod shares;
mod state;
#[cfg(test)]
mod tests;
mod thread;
mod wal;
mod writer;

pub use backup::{Backup, restore};
pub use check::Fault;
pub use components::Held;
pub use digest::Digest;
pub use durable::write_whole;
pub use error::StoreError;
pub use model::{
    After, AuditEntry, By, Content, Deployment, DeploymentId, NewDeployment, NewVersion, Once, Plan, Snapshot, Version,
    VersionId, Why, Worker,
};
pub use prune::{Keep, Pruned};
pub use shares::{Share, Shares, SharesError, Weight};
pub use state::Store;
