//! The store from outside: through its methods, its files, and processes that die.

mod backups;
mod changes;
mod crash;
mod damage;
mod full;
mod history;
mod opening;
mod pruning;
mod secrets;
mod size;
mod tokens;

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::backup::Backup;
use super::check::Fault;
use super::model::{AuditEntry, Snapshot};
use super::*;

/// Opens a store that nobody else has. A process that another test starts has all files of this one between its fork and its exec, and
/// so the locks of stores that have been closed meanwhile.
fn open(folder: &Path) -> Result<Store, StoreError> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match Store::open(folder) {
            Err(StoreError::Locked { .. }) if Instant::now() < until => std::thread::yield_now(),
            opened => return opened,
        }
    }
}

/// A new store in a folder that goes away.
fn fresh() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    (folder, store)
}

fn by() -> By {
    By::new("alice")
}

/// Adds a version with these bytes.
async fn add(store: &Store, worker: &str, bytes: &[u8]) -> Version {
    let component = store.put_component(Bytes::copy_from_slice(bytes)).await.unwrap();
    let (worker, manifest, message) = (worker.to_owned(), format!("name = \"{worker}\"\n"), "a message".to_owned());
    store.add_version(by(), component, NewVersion { worker, manifest, message }).await.unwrap()
}

/// A deployment to be.
#[derive(Clone)]
struct NewDeployment {
    worker: String,
    shares: Shares,
    why: Why,
    note: String,
    after: After,
}

impl Store {
    async fn deploy(&self, by: By, new: NewDeployment) -> Result<Deployment, StoreError> {
        let NewDeployment { worker, shares, why, note, after } = new;
        let made = Deployment::new(&by, worker, note, Plan::Serve { why, shares });
        self.make_deployment(by, made, after).await
    }

    async fn remove_worker(&self, by: By, worker: &str, after: After) -> Result<Deployment, StoreError> {
        let made = Deployment::new(&by, worker.to_owned(), String::new(), Plan::Removed);
        self.make_deployment(by, made, after).await
    }
}

/// A deployment that gives everything to one version.
fn whole(version: &Version) -> NewDeployment {
    let shares = Shares::whole(version.id);
    let note = "a note".to_owned();
    NewDeployment { worker: version.worker.clone(), shares, why: Why::Deploy, note, after: After::Whatever }
}

/// Adds a version and gives it everything.
async fn serve(store: &Store, worker: &str, bytes: &[u8]) -> (Version, Deployment) {
    let version = add(store, worker, bytes).await;
    let deployment = store.deploy(by(), whole(&version)).await.unwrap();
    (version, deployment)
}

/// The key of secrets.
fn vault() -> Vault {
    Vault::from_key_text(&hex::encode([7; 32])).unwrap()
}

fn name(text: &str) -> SecretName {
    SecretName::parse(text).unwrap()
}

/// Gives a worker's secret this value.
async fn set(store: &Store, worker: &str, secret: &str, value: &str) -> u32 {
    let value = SecretValue::new(value.as_bytes().to_vec()).unwrap();
    let sealed = vault().seal(worker, &name(secret), &value).unwrap();
    store.set_secret(by(), worker, name(secret), sealed).await.unwrap()
}

/// What a token is made of that has this text.
fn token(text: &str) -> NewToken {
    NewToken {
        hash: TokenHash::of(text),
        name: "a token".to_owned(),
        scope: Scope::Deploy,
        workers: vec!["shop-*".to_owned()],
        hosts: vec!["*.shop.example".to_owned()],
        hint: "abcd".to_owned(),
        expires: None,
    }
}

type Everything = (Snapshot, Vec<Version>, Vec<Deployment>, Vec<AuditEntry>, Vec<Secret>, Vec<TokenRow>);

/// All that can be read.
async fn everything(store: &Store) -> Everything {
    let snapshot = store.snapshot().await.unwrap();
    let (mut versions, mut deployments) = (Vec::new(), Vec::new());
    for worker in &snapshot.workers {
        versions.extend(store.versions(&worker.name, None, u32::MAX).await.unwrap());
        deployments.extend(store.deployments(&worker.name, None, u32::MAX).await.unwrap());
    }
    let audit = store.audit(None, u32::MAX).await.unwrap();
    (snapshot, versions, deployments, audit, store.secrets(None).await.unwrap(), store.tokens().await.unwrap())
}

/// Where the one component lies that has these bytes.
fn lies(folder: &Path, bytes: &[u8]) -> std::path::PathBuf {
    let digest = Digest::of(bytes).to_string();
    folder.join("components/sha256").join(&digest[..2]).join(digest)
}

/// Numbers that look random, and are the same for the same seed.
struct Random(u64);

impl Random {
    /// Below this.
    fn below(&mut self, bound: u64) -> u64 {
        // xorshift64*, by Vigna.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}
