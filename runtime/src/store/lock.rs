//! One process has a store at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::error::{StoreError, WRITTEN};

/// The file that is locked. It stays when nobody has it.
pub(super) const LOCK: &str = "lock";

/// Held for as long as the store is open; the kernel lets go of it when the process dies.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the folder.
    pub(super) fn take(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(LOCK);
        let told = |error| StoreError::file(&path, WRITTEN, &error);
        let mut file = open(&path).map_err(told)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { folder: folder.to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(told(error)),
        }
        // For whoever comes second; the lock itself is the kernel's.
        let write = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
        write.map_err(told)?;
        Ok(Self { _file: file })
    }
}

/// What several processes may have at a time, of which one may be making it.
#[derive(Debug)]
pub(super) struct Share {
    file: File,
    path: PathBuf,
}

impl Share {
    /// Takes what this file stands for: alone, if nobody has it, until [`Share::let_in`]; else as one of those who have it, when nobody is
    /// alone with it any more. Says whether it is alone.
    pub(super) fn take(path: PathBuf) -> Result<(Self, bool), StoreError> {
        let told = |error| StoreError::file(&path, WRITTEN, &error);
        let file = open(&path).map_err(told)?;
        let is_alone = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => {
                file.lock_shared().map_err(told)?;
                false
            }
            Err(TryLockError::Error(error)) => return Err(told(error)),
        };
        Ok((Self { file, path }, is_alone))
    }

    /// Others may have it, too.
    pub(super) fn let_in(&self) -> Result<(), StoreError> {
        // What is locked already is locked anew, without a moment in between (flock(2)).
        rustix::fs::flock(&self.file, FlockOperation::LockShared)
            .map_err(|error| StoreError::file(&self.path, WRITTEN, &error.into()))
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Who says that it has it.
fn holder(file: &mut File) -> String {
    let mut written = String::new();
    let read = file.take(20).read_to_string(&mut written);
    match read.ok().and_then(|_| written.trim().parse::<u32>().ok()) {
        Some(process) => format!("process {process}"),
        None => "another process".to_owned(),
    }
}
