//! Who has the state folder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config::{Diagnostic, Place};

/// The file that is locked. It stays when nobody has it.
const LOCK: &str = "node.lock";

/// Where whoever has it can be reached.
const SOCKET: &str = "node.sock";

/// That this process has the state folder, alone or together with one that takes over from it. The kernel lets go of it with the last of
/// them.
#[derive(Debug)]
pub struct Claim {
    file: File,
    folder: PathBuf,
}

/// Why a process cannot have a state folder.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another one has it.
    #[error("{holder} runs from the state folder {}", folder.display())]
    Held {
        /// Which folder.
        folder: PathBuf,
        /// Who says to have it.
        holder: String,
    },
    /// It cannot be written.
    #[error("the state folder {} cannot be used: {source}", folder.display())]
    Folder {
        /// Which folder.
        folder: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl From<ClaimError> for Diagnostic {
    fn from(error: ClaimError) -> Self {
        let (folder, help) = match &error {
            ClaimError::Held { folder, .. } => {
                (folder, "stop it, take its place with --take-over, or give each node a state folder of its own")
            }
            ClaimError::Folder { folder, .. } => (folder, "give another with --state DIR"),
        };
        Self::new(Place::file(folder), error.to_string(), help)
    }
}

impl Claim {
    /// Takes the folder, which is made where it is not there.
    ///
    /// # Errors
    /// Another process has it, or it cannot be written.
    pub fn take(folder: &Path) -> Result<Self, ClaimError> {
        let failed = |source| ClaimError::Folder { folder: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(folder.join(LOCK)).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(ClaimError::Held { folder: folder.to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let claim = Self::passed_on(folder, file.into());
        claim.sign().map_err(failed)?;
        Ok(claim)
    }

    /// The open file of another process, which has the lock.
    pub(super) fn passed_on(folder: &Path, file: OwnedFd) -> Self {
        Self { file: file.into(), folder: folder.to_owned() }
    }

    /// Writes down who has it, for whoever comes in vain. The lock itself is the kernel's.
    pub(super) fn sign(&self) -> io::Result<()> {
        let mut file = &self.file;
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", std::process::id())
    }

    /// Where the process that has it waits for one that takes over.
    pub(super) fn socket(&self) -> PathBuf {
        socket(&self.folder)
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, folder: self.folder.clone() })
    }
}

impl AsFd for Claim {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

pub(super) fn socket(folder: &Path) -> PathBuf {
    folder.join(SOCKET)
}

fn holder(file: &mut File) -> String {
    let mut written = String::new();
    let read = file.take(20).read_to_string(&mut written);
    match read.ok().and_then(|_| written.trim().parse::<u32>().ok()) {
        Some(process) => format!("process {process}"),
        None => "another process".to_owned(),
    }
}
