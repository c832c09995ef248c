//! One process has a store at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

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
        Self::take_named(folder, LOCK)
    }

    /// Takes what this file in the folder stands for.
    pub(super) fn take_named(folder: &Path, file: &str) -> Result<Self, StoreError> {
        let path = folder.join(file);
        let told = |error| StoreError::file(&path, WRITTEN, &error);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = open.map_err(told)?;
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

/// Who says that it has it.
fn holder(file: &mut File) -> String {
    let mut written = String::new();
    let read = file.take(20).read_to_string(&mut written);
    match read.ok().and_then(|_| written.trim().parse::<u32>().ok()) {
        Some(process) => format!("process {process}"),
        None => "another process".to_owned(),
    }
}
