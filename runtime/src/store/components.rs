//! The bytes of components, each in a file that is named by its digest: `components/sha256/<2 hex>/<hex>`.
//!
//! A file gets its name when all of it is on the disk, and never changes after. One thread does all that adds or removes files, so
//! that pruning meets no upload halfway; what was added and no version names yet is held.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::digest::Digest;
use super::durable::{self, TEMPORARY};
use super::error::{READ, StoreError, WRITTEN};

/// The folder, below that of the store.
const FOLDER: &str = "components/sha256";

/// What is wrong with a component's file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("is not there")]
    Missing,
    #[error("has other bytes than it was written with")]
    Changed,
    #[error("cannot be read ({0})")]
    Unreadable(io::Error),
}

/// The folder of components.
#[derive(Clone, Debug)]
pub(super) struct Components {
    folder: PathBuf,
    holds: Arc<Mutex<Holds>>,
}

#[derive(Debug, Default)]
struct Holds {
    /// How often each is held.
    held: HashMap<Digest, usize>,
    /// How many hold everything.
    everything: usize,
}

/// A component that is in the store, and stays there while this is held, whoever refers to it.
#[derive(Debug)]
pub struct Held {
    digest: Digest,
    holds: Arc<Mutex<Holds>>,
}

/// Everything that is in the store stays there while this is held.
#[derive(Debug)]
pub(super) struct AllHeld(Arc<Mutex<Holds>>);

/// What is held at one moment.
pub(super) struct HeldNow {
    everything: bool,
    digests: Vec<Digest>,
}

impl Components {
    /// The components of a store, or of a backup.
    pub(super) fn of(store: &Path) -> Self {
        Self { folder: store.join(FOLDER), holds: Arc::default() }
    }

    /// The same, of a store that is this process's: makes the folder, and removes what a process that died has left half.
    pub(super) fn open(store: &Path) -> Result<Self, StoreError> {
        let components = Self::of(store);
        let told = |error| StoreError::file(&components.folder, WRITTEN, &error);
        durable::make_folder(&components.folder).map_err(told)?;
        for path in components.files().map_err(told)? {
            if path.extension().is_some_and(|end| end == TEMPORARY) {
                fs::remove_file(&path).map_err(|error| StoreError::file(&path, "removed", &error))?;
            }
        }
        Ok(components)
    }

    /// Where a component lies, or would.
    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.folder.join(&name[..2]).join(name)
    }

    /// Adds a component, durably, unless it is there already, and holds it.
    pub(super) fn put(&self, bytes: &[u8]) -> Result<Held, StoreError> {
        let held = self.hold(Digest::of(bytes));
        let path = self.path(&held.digest);
        // One that was damaged is written again.
        if self.verify(&held.digest).is_err() {
            let write = durable::make_folder(durable::parent(&path)).and_then(|()| durable::write_whole(&path, bytes));
            write.map_err(|error| StoreError::file(&path, WRITTEN, &error))?;
        }
        Ok(held)
    }

    /// The bytes of a component, all of them as they were written.
    pub(super) fn read(&self, digest: &Digest) -> Result<Vec<u8>, Unusable> {
        let bytes = fs::read(self.path(digest)).map_err(unusable)?;
        if Digest::of(&bytes) == *digest { Ok(bytes) } else { Err(Unusable::Changed) }
    }

    /// Whether a component is as it was written.
    pub(super) fn verify(&self, digest: &Digest) -> Result<(), Unusable> {
        let found = File::open(self.path(digest)).and_then(|file| Digest::of_file(&file)).map_err(unusable)?;
        if found == *digest { Ok(()) } else { Err(Unusable::Changed) }
    }

    /// All that are there.
    pub(super) fn all(&self) -> Result<Vec<Digest>, StoreError> {
        let files = self.files().map_err(|error| StoreError::file(&self.folder, READ, &error))?;
        let digest = |path: PathBuf| Digest::parse(path.file_name()?.to_str()?);
        Ok(files.into_iter().filter_map(digest).collect())
    }

    /// Removes one, and says how many bytes that were.
    pub(super) fn remove(&self, digest: &Digest) -> Result<u64, StoreError> {
        let path = self.path(digest);
        let bytes = fs::metadata(&path).map_or(0, |found| found.len());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::file(&path, "removed", &error)),
            _ => Ok(bytes),
        }
    }

    /// Holds everything that is there.
    pub(super) fn hold_all(&self) -> AllHeld {
        lock(&self.holds).everything += 1;
        AllHeld(Arc::clone(&self.holds))
    }

    /// What is held now.
    pub(super) fn held(&self) -> HeldNow {
        let holds = lock(&self.holds);
        HeldNow { everything: holds.everything > 0, digests: holds.held.keys().copied().collect() }
    }

    fn hold(&self, digest: Digest) -> Held {
        *lock(&self.holds).held.entry(digest).or_default() += 1;
        Held { digest, holds: Arc::clone(&self.holds) }
    }

    /// All files in the folders of the components. There are none where there is no folder.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let folders = match fs::read_dir(&self.folder) {
            Ok(folders) => folders,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
            Err(error) => return Err(error),
        };
        for folder in folders {
            let folder = folder?;
            if folder.file_type()?.is_dir() {
                for file in fs::read_dir(folder.path())? {
                    files.push(file?.path());
                }
            }
        }
        Ok(files)
    }
}

impl HeldNow {
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.everything || self.digests.contains(digest)
    }
}

impl Held {
    /// Of the component.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut holds = lock(&self.holds);
        if let Some(count) = holds.held.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                holds.held.remove(&self.digest);
            }
        }
    }
}

impl Drop for AllHeld {
    fn drop(&mut self) {
        lock(&self.0).everything -= 1;
    }
}

fn unusable(error: io::Error) -> Unusable {
    match error.kind() {
        io::ErrorKind::NotFound => Unusable::Missing,
        _ => Unusable::Unreadable(error),
    }
}

/// Whoever panicked with it has counted already, or not yet.
fn lock(holds: &Mutex<Holds>) -> MutexGuard<'_, Holds> {
    holds.lock().unwrap_or_else(PoisonError::into_inner)
}
