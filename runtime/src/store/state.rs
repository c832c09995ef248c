//! The store as its callers have it: each question goes to the thread that it belongs to.

use std::path::{Path, PathBuf};

use super::backup::{self, Backup};
use super::change;
use super::check::{self, Fault};
use super::components::{Components, Held};
use super::database::{self, DATABASE};
use super::digest::Digest;
use super::durable;
use super::error::{Cause, StoreError, WRITTEN};
use super::lock::Lock;
use super::model::{After, AuditEntry, By, Deployment, DeploymentId, NewVersion, Snapshot, Version, VersionId, Worker};
use super::prune::{self, Keep, Pruned};
use super::read;
use super::thread::{Owner, apart};
use super::writer::Writer;

mod secrets;
mod tokens;

/// What should run on this node, on disk. Dropping it makes what was asked and closes the files.
#[derive(Debug)]
pub struct Store {
    database: PathBuf,
    components: Components,
    // Dropped in this order: the last connection tidies up, and the lock goes when nothing is open any more.
    reader: Owner<rusqlite::Connection>,
    files: Owner<Components>,
    writer: Writer,
    _lock: Lock,
}

impl Store {
    /// Opens the store in a folder, or makes one there. It waits for the disk, so it is for a node that does not serve yet.
    ///
    /// # Errors
    /// When another process has it, when it cannot be written, and when what is there is damaged, of a newer Eyot or not ours.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        durable::make_folder(folder).map_err(|error| StoreError::file(folder, WRITTEN, &error))?;
        let lock = Lock::take(folder)?;
        let components = Components::open(folder)?;
        let database = folder.join(DATABASE);
        if !database::is_there(&database)? && !components.all()?.is_empty() {
            return Err(StoreError::Gone { path: database });
        }
        let connection = database::open(&database)?;
        let broken = check::rows(&connection, false);
        if !broken.is_empty() {
            return Err(StoreError::Damaged { path: database, found: broken.join("; ") });
        }
        let threads = || -> Result<_, StoreError> {
            let reader = Owner::start("eyot-store-read", database::open_to_read(&database)?);
            let files = Owner::start("eyot-store-files", components.clone());
            let writer = Writer::start("eyot-store-write", connection, database.clone());
            let told = |error| StoreError::file(folder, "given its threads", &error);
            Ok((reader.map_err(told)?, files.map_err(told)?, writer.map_err(told)?))
        };
        let (reader, files, writer) = threads()?;
        Ok(Self { database, components, reader, files, writer, _lock: lock })
    }

    /// All workers with what they serve, at one moment.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.read(read::snapshot).await
    }

    /// A worker with what it serves, at one moment.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn worker(&self, name: &str) -> Result<Option<Worker>, StoreError> {
        let name = name.to_owned();
        self.read(move |connection| read::worker(connection, &name)).await
    }

    /// A version.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn version(&self, id: VersionId) -> Result<Option<Version>, StoreError> {
        self.read(move |connection| read::version(connection, id)).await
    }

    /// A version by its number.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn version_numbered(&self, worker: &str, number: u32) -> Result<Option<Version>, StoreError> {
        let worker = worker.to_owned();
        self.read(move |connection| read::version_numbered(connection, &worker, number)).await
    }

    /// The newest versions of a worker, the newest first, so many at most; below this number, if there is one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn versions(&self, worker: &str, below: Option<u32>, most: u32) -> Result<Vec<Version>, StoreError> {
        let worker = worker.to_owned();
        self.read(move |connection| read::versions(connection, &worker, below, most)).await
    }

    /// The newest deployments of a worker, the newest first, so many at most; before this one, if there is one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn deployments(
        &self,
        worker: &str,
        before: Option<DeploymentId>,
        most: u32,
    ) -> Result<Vec<Deployment>, StoreError> {
        let worker = worker.to_owned();
        self.read(move |connection| read::deployments(connection, &worker, before, most)).await
    }

    /// The newest lines of the audit, the newest first, so many at most; below this number, if there is one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn audit(&self, below: Option<i64>, most: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.read(move |connection| read::audit(connection, below, most)).await
    }

    /// The bytes of a component, all of them as they were written.
    ///
    /// # Errors
    /// When it is not there or not what it was: which file, and which versions need it.
    #[cfg(test)]
    pub async fn component(&self, digest: Digest) -> Result<Vec<u8>, StoreError> {
        let components = self.components.clone();
        let question = move |connection: &rusqlite::Connection| {
            components.read(&digest).map_err(|why| {
                let used_by = read::users(connection, &digest).unwrap_or_default();
                StoreError::Component { path: components.path(&digest), why: why.to_string(), used_by }.into()
            })
        };
        self.read(question).await
    }

    /// Where the bytes of a component lie, for whoever looks at their digest.
    #[must_use]
    pub fn component_path(&self, digest: &Digest) -> PathBuf {
        self.components.path(digest)
    }

    /// Puts a component on the disk. It stays while it is held, and then for as long as a version needs it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn put_component(&self, bytes: bytes::Bytes) -> Result<Held, StoreError> {
        self.files.ask(move |components| components.put(&bytes)).await
    }

    /// Adds a version to a worker, which is made with its first one. Nothing serves it yet.
    ///
    /// # Errors
    /// When it cannot be written, or when the key was used for something else.
    pub async fn add_version(&self, by: By, component: Held, new: NewVersion) -> Result<Version, StoreError> {
        // The component is held by this, which the writer keeps until it has answered, after the commit, even if nobody waits.
        let add =
            move |connection: &rusqlite::Connection| change::add_version(connection, &by, component.digest(), &new);
        self.writer.change(add).await
    }

    /// Makes a deployment: from now on its versions are what should serve, or nothing of its worker.
    ///
    /// # Errors
    /// When a version is not there or was pruned, when somebody was faster, or when it cannot be written.
    pub async fn make_deployment(&self, by: By, made: Deployment, after: After) -> Result<Deployment, StoreError> {
        self.writer.change(move |connection| change::deploy(connection, &by, &made, after)).await
    }

    /// Adds a version that another node has made, with its component. One that is there already stays as it is.
    ///
    /// # Errors
    /// When another version has its number here, or when it cannot be written.
    pub async fn import_version(&self, by: By, component: Held, version: Version) -> Result<Version, StoreError> {
        let import = move |connection: &rusqlite::Connection| {
            // Held until it is committed.
            let _held = &component;
            change::import_version(connection, &by, &version)
        };
        self.writer.change(import).await
    }

    /// Makes a deployment that another node has made: from now on its versions are what should serve.
    ///
    /// # Errors
    /// When a version is not there or was pruned, or when it cannot be written.
    pub async fn import_deployment(&self, by: By, deployment: Deployment) -> Result<Deployment, StoreError> {
        self.writer.change(move |connection| change::import_deployment(connection, &by, &deployment)).await
    }

    /// The number that the next version of a worker has.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn next_number(&self, worker: &str) -> Result<u32, StoreError> {
        let worker = worker.to_owned();
        self.read(move |connection| change::next_number(connection, &worker)).await
    }

    /// The version that was made under a key.
    ///
    /// # Errors
    /// When the database cannot be read, or when the key was used for something else.
    pub async fn version_of_key(&self, by: By) -> Result<Option<Version>, StoreError> {
        self.read(move |connection| change::version_of_key(connection, &by)).await
    }

    /// The deployment that was made under a key.
    ///
    /// # Errors
    /// When the database cannot be read, or when the key was used for something else.
    pub async fn deployment_of_key(&self, by: By) -> Result<Option<Deployment>, StoreError> {
        self.read(move |connection| change::deployment_of_key(connection, &by)).await
    }

    /// Writes a line of the audit, for a change that was made elsewhere.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn note(
        &self,
        by: By,
        action: &'static str,
        target: &str,
        detail: serde_json::Value,
    ) -> Result<(), StoreError> {
        let target = target.to_owned();
        self.writer
            .change(move |connection| change::audit(connection, change::now(), &by, action, &target, &detail))
            .await
    }

    /// Removes what nobody will serve again, by the rule of `prune.rs`.
    ///
    /// # Errors
    /// When it cannot be written. What was removed until then stays so.
    pub async fn prune(&self, by: By, keep: Keep) -> Result<Pruned, StoreError> {
        let rows = self.writer.change(move |connection| prune::rows(connection, &by, keep)).await?;
        let database = self.database.clone();
        let remove = move |components: &mut Components| {
            prune::components(components, &database::open_to_read(&database)?, &database)
        };
        let files = self.files.ask(remove).await?;
        Ok(Pruned { components: files.components, bytes: files.bytes, ..rows })
    }

    /// Looks at all of the database and at every byte of every component that a version needs. Takes its time, on a thread of its own.
    ///
    /// # Errors
    /// When the database cannot be opened.
    pub async fn check(&self) -> Result<Vec<Fault>, StoreError> {
        let (database, components) = (self.database.clone(), self.components.clone());
        apart("eyot-store-check", move || {
            // What a version needs is not pruned before it was looked at.
            let _held = components.hold_all();
            let mut connection = database::open_to_read(&database)?;
            // One moment, whatever is changed meanwhile.
            let transaction = connection.transaction().map_err(|error| StoreError::sqlite(&database, &error))?;
            check::all(&transaction, &components, database.clone())
        })
        .await
    }

    /// Copies all of the store, as it is at one moment, into a new folder, while it goes on being used.
    ///
    /// # Errors
    /// When there is something in the folder, when it cannot be written, and when a component is not what it was.
    pub async fn backup(&self, into: &Path) -> Result<Backup, StoreError> {
        let (database, components, into) = (self.database.clone(), self.components.clone(), into.to_owned());
        apart("eyot-store-backup", move || backup::backup(&database, &components, &into)).await
    }

    /// How many transactions there were since it was opened. Changes that come together share one.
    #[cfg(test)]
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.writer.commits()
    }

    /// Reads in one transaction, which sees one moment.
    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&rusqlite::Connection) -> Result<T, Cause> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = self.database.clone();
        self.reader
            .ask(move |connection| {
                let told = |error: rusqlite::Error| StoreError::sqlite(&database, &error);
                let transaction = connection.transaction().map_err(told)?;
                question(&transaction).map_err(|cause| cause.at(&database))
            })
            .await
    }
}
