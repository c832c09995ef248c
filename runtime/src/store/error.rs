//! Why the store does not do what it was asked for.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::durable::parent;
use super::model::DeploymentId;
use super::token::TokenId;
use super::vault::VaultError;

/// Why the store does not do what it was asked for: what is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The machine is at fault, or whoever set it up.
    #[error("{path} cannot be {doing}: {reason}; check the path, its owner and its permissions")]
    File {
        /// Which file or folder.
        path: PathBuf,
        /// `written`, `read`.
        doing: &'static str,
        /// What the system says.
        reason: String,
    },
    /// Nothing can be written there.
    #[error("{path} cannot be written: {reason}; let this user write to it, or give another folder")]
    ReadOnly {
        /// Which file or folder.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The disk, or what this user may have of it, is full. What was there still is.
    #[error("{path} cannot be written, since there is no space left: {reason}; make room, and ask again")]
    Full {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// What is kept elsewhere cannot be asked for now.
    #[error("{place} cannot be used now: {reason}")]
    Server {
        /// Which server.
        place: String,
        /// Why not.
        reason: String,
    },
    /// It could lose what it has acknowledged, or is too old to say.
    #[error(
        "{place} is not used: {reason}; a server that could lose what it has acknowledged is used only where node.toml says \
         `allow_unsynced = true`"
    )]
    Unsynced {
        /// Which server.
        place: String,
        /// What is missing.
        reason: String,
    },
    /// Two nodes have made different versions under one number, before they knew of each other.
    #[error(
        "version {number} of {worker} is another one here than in the fleet; delete the worker on one of them, or give it another name"
    )]
    Differs {
        /// The name of the worker.
        worker: String,
        /// The number of the version.
        number: u32,
    },
    /// Two nodes cannot have one store.
    #[error("{folder} is in use by {holder}; stop it, or give another folder")]
    Locked {
        /// Which folder.
        folder: PathBuf,
        /// Who has it.
        holder: String,
    },
    /// The file is something else.
    #[error("{path} is not Eyot's database: {reason}; give another folder, or restore a backup into a new one")]
    NotADatabase {
        /// Which file.
        path: PathBuf,
        /// What it is.
        reason: String,
    },
    /// A downgrade.
    #[error(
        "{path} was made by Eyot {made_by} (schema {schema}), and Eyot {} reads no more than schema {ours}; start Eyot {made_by} or a \
         newer one, or restore a backup that this one made (its own copy is called state.db.before-…)",
        env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// The version of Eyot that wrote it last.
        made_by: String,
        /// The number of its last migration.
        schema: u32,
        /// The number of our last migration.
        ours: u32,
    },
    /// An upgrade that did not come through. The file is what it was.
    #[error(
        "{path} cannot be brought to schema {number}: {reason}; it is as it was, start the version before and tell us"
    )]
    Migration {
        /// Which file.
        path: PathBuf,
        /// The number of the migration.
        number: u32,
        /// What SQLite says.
        reason: String,
    },
    /// A disk lied, or somebody wrote to the file.
    #[error("{path} is damaged: {found}; restore a backup into a new folder, and keep this one to be looked at")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
    },
    /// There are components but no database that says whose they are.
    #[error("{path} is gone, but there are components beside it; put it back, or restore a backup into a new folder")]
    Gone {
        /// Which file.
        path: PathBuf,
    },
    /// Anything else that SQLite says.
    #[error("{path} cannot be used: {reason}; look at the log and at the disk that it is on")]
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// What SQLite says.
        reason: String,
    },
    /// After a failed fsync nobody knows what is on the disk, and a second one would say that all is well.
    #[error(
        "{path} takes no changes any more, since one was not written: {reason}; check the disk, and start the node again"
    )]
    Failed {
        /// Which file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// A component is not what its name says.
    #[error("the component {path} of {} {why}; put it back from a backup, or deploy it again", listed(.used_by))]
    Component {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// The versions that it belongs to, as `worker version 3`.
        used_by: Vec<String>,
    },
    /// Where something new is to be there must be nothing.
    #[error("{folder} is not empty; give a folder that is, or that does not exist")]
    NotEmpty {
        /// Which folder.
        folder: PathBuf,
    },
    /// There is nothing to restore.
    #[error("{folder} is not a whole backup: {reason}; give a folder that a backup was made into")]
    NotABackup {
        /// Which folder.
        folder: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Whoever asked is at fault.
    #[error("there is no worker `{worker}`; add a version of it first")]
    NoWorker {
        /// Its name.
        worker: String,
    },
    /// Whoever asked is at fault.
    #[error("worker `{worker}` has no version {version}; its versions are listed with it")]
    NoVersion {
        /// Its name.
        worker: String,
        /// As it was given.
        version: String,
    },
    /// Whoever asked came too late.
    #[error("version {number} of worker `{worker}` was pruned; add it again, as a new version")]
    Pruned {
        /// Its name.
        worker: String,
        /// Which version.
        number: u32,
    },
    /// Somebody else was faster.
    #[error("worker `{worker}` has another deployment by now{}; look at it, and ask again", known(.current))]
    Raced {
        /// Its name.
        worker: String,
        /// The deployment that it has, if any.
        current: Option<DeploymentId>,
    },
    /// Whoever asked is at fault.
    #[error("the idempotency key `{key}` was used for another request; give each request its own")]
    KeyReused {
        /// The key.
        key: String,
    },
    /// Whoever asked is at fault.
    #[error("worker `{worker}` has no secret `{name}`; its secrets are listed with it")]
    NoSecret {
        /// The name of the worker.
        worker: String,
        /// The name of the secret.
        name: String,
    },
    /// Whoever asked is at fault.
    #[error(
        "worker `{worker}` has {most} secrets, with those that were removed lately, and can have no more; put several into one"
    )]
    TooManySecrets {
        /// The name of the worker.
        worker: String,
        /// So many are allowed.
        most: u32,
    },
    /// Secrets could not be given another key, or one of them is damaged.
    #[error("no secret was sealed anew: {0}")]
    NotResealed(VaultError),
    /// Whoever asked is at fault.
    #[error("there is no token {id}; list them to see which there are")]
    NoToken {
        /// As it was given.
        id: TokenId,
    },
    /// Whoever asked is at fault.
    #[error("there are {most} tokens that hold, and there can be no more; revoke those that nobody uses")]
    TooManyTokens {
        /// So many are allowed.
        most: u32,
    },
    /// Another process wants it, and what runs here takes too long.
    #[error("the store is in use; ask again when what runs is done")]
    Busy,
    /// The node is ending.
    #[error("the store is closed; ask again when the node has started")]
    Closed,
    /// A bug of ours, which the log shows. Nothing was changed.
    #[error("the store panicked, and nothing was changed; the log says where, please tell us")]
    Panicked,
}

fn listed(versions: &[String]) -> String {
    if versions.is_empty() { "no version".to_owned() } else { versions.join(", ") }
}

fn known(deployment: &Option<DeploymentId>) -> String {
    deployment.as_ref().map(|id| format!(", {id}")).unwrap_or_default()
}

impl StoreError {
    /// A file or folder of ours could not be written or read.
    pub(super) fn file(path: &Path, doing: &'static str, error: &io::Error) -> Self {
        let (path, reason) = (path.to_owned(), error.to_string());
        match error.kind() {
            // The last one is a limit on the size of files.
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full { path, reason }
            }
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path, reason },
            io::ErrorKind::PermissionDenied if doing == WRITTEN => Self::ReadOnly { path, reason },
            _ => Self::File { path, doing, reason },
        }
    }

    /// What SQLite says of a database.
    pub(super) fn sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let (path, reason) = (path.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                let holder = format!("another program that has {} open", path.display());
                Self::Locked { folder: parent(&path).to_owned(), holder }
            }
            Some(ErrorCode::DiskFull) => Self::Full { path, reason },
            Some(ErrorCode::ReadOnly) => Self::ReadOnly { path, reason },
            Some(ErrorCode::NotADatabase) => Self::NotADatabase { path, reason },
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged { path, found: reason },
            // A quota or a limit on the size of files: SQLite keeps the system's own word for itself.
            Some(ErrorCode::SystemIoFailure) if extended(error) == rusqlite::ffi::SQLITE_IOERR_WRITE => {
                Self::Full { path, reason: format!("{reason} in writing") }
            }
            Some(_) => Self::Sqlite { path, reason },
            // What was read is not of the kind that is written there.
            None => Self::Damaged { path, found: reason },
        }
    }
}

/// What is being done to a file, as [`StoreError::file`] tells it.
pub(super) const WRITTEN: &str = "written";
pub(super) const READ: &str = "read";

/// SQLite's own number of an error, or 0.
pub(super) fn extended(error: &rusqlite::Error) -> i32 {
    error.sqlite_extended_error_code().unwrap_or_default()
}

/// Why a statement came to nothing, before it is said of which database.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// A row that is not what it was when it was written.
    #[error("{0}")]
    Damaged(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Cause {
    pub(super) fn at(self, path: &Path) -> StoreError {
        match self {
            Self::Sqlite(error) => StoreError::sqlite(path, &error),
            Self::Damaged(found) => StoreError::Damaged { path: path.to_owned(), found },
            Self::Store(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_read_only_one_are_told_from_other_faults() {
        let told = |kind: io::ErrorKind, doing| StoreError::file(Path::new("/x"), doing, &kind.into());
        assert!(matches!(told(io::ErrorKind::StorageFull, WRITTEN), StoreError::Full { .. }));
        assert!(matches!(told(io::ErrorKind::QuotaExceeded, WRITTEN), StoreError::Full { .. }));
        assert!(matches!(told(io::ErrorKind::ReadOnlyFilesystem, WRITTEN), StoreError::ReadOnly { .. }));
        assert!(matches!(told(io::ErrorKind::PermissionDenied, WRITTEN), StoreError::ReadOnly { .. }));
        assert!(matches!(told(io::ErrorKind::PermissionDenied, READ), StoreError::File { .. }));
    }
}
