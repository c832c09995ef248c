//! The first token of a store: whoever may read its file may do everything, and makes the others by it.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::auth::operator::{self, Grant, GrantError};
use crate::store::{By, Scope, Store, StoreError};

/// The file, in the folder of the store.
const FILE: &str = "admin.token";

/// Why there is no first token.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// What the store says.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gives no random numbers.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The file cannot be written.
    #[error("{path} cannot be written: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// Makes it where a store has no token yet, and says where it was written. Only this user may read it.
///
/// # Errors
/// When it cannot be made or written.
pub async fn first_token(store: &Store, folder: &Path) -> Result<Option<PathBuf>, RootError> {
    if !store.tokens().await?.is_empty() {
        return Ok(None);
    }
    let grant = Grant::parse(Scope::Admin, &["*"], &["*"])?;
    let (token, new) = operator::issue("first", &grant, None)?;
    let path = folder.join(FILE);
    // Written first: a token that nobody has read locks nobody out, one that nobody can read would.
    write(&path, token.reveal()).map_err(|error| RootError::File { path: path.clone(), error })?;
    store.add_token(By::new("eyot"), new).await?;
    Ok(Some(path))
}

fn write(path: &Path, token: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(token.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}
