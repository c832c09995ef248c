//! Whether a file of compiled code is what this process has looked at before.
//!
//! A digest is taken of every byte when code is mapped for the first time. After that, the file tells by itself whether somebody has
//! written to it: the kernel notes the time of each change (`st_ctime`), and nobody can set that back. Another digest would show no
//! more: pages that are mapped are read from the file as they are needed, and digested by nobody.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::store::Digest;

/// What a file was when its digest was right.
#[derive(Default)]
pub(in crate::activate) struct Seen(Mutex<Option<Stamp>>);

/// Which file, and when it was changed last.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

/// Two changes within so long may have the same time.
const COARSE: Duration = Duration::from_secs(1);

impl Seen {
    /// Whether the file has this digest.
    pub(super) fn is_good(&self, file: &File, digest: &str) -> io::Result<bool> {
        let about = file.metadata()?;
        let stamp = Stamp::of(&about);
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == Some(stamp) {
            return Ok(true);
        }
        let is_good = Digest::of_file(file)?.to_string() == digest;
        *seen = Some(stamp).filter(|_| is_good && has_rested(&about));
        Ok(is_good)
    }
}

impl Stamp {
    fn of(about: &Metadata) -> Self {
        let changed = (about.ctime(), about.ctime_nsec());
        Self { device: about.dev(), inode: about.ino(), size: about.size(), changed }
    }
}

/// Whether a change that comes now would have another time than the last one.
fn has_rested(about: &Metadata) -> bool {
    let changed = Duration::from_secs(u64::try_from(about.ctime()).unwrap_or(u64::MAX));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now > changed.saturating_add(2 * COARSE)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_is_what_it_was_is_not_read_again_and_one_that_was_changed_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("code");
        fs::write(&path, "code").unwrap();
        let (seen, digest) = (Seen::default(), Digest::of(b"code").to_string());
        let is_good = |digest: &str| seen.is_good(&File::open(&path).unwrap(), digest).unwrap();
        assert!(is_good(&digest));
        assert!(!is_good("another"), "too new to be known by its time");
        let rested = || has_rested(&fs::metadata(&path).unwrap());
        while !rested() {
            std::thread::park_timeout(Duration::from_millis(50));
        }
        assert!(is_good(&digest));
        assert!(is_good("another"), "it is known");
        fs::write(&path, "edoc").unwrap();
        assert!(!is_good(&digest), "the same file, of the same size");
        fs::write(&path, "code").unwrap();
        assert!(is_good(&digest));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "edoc").unwrap();
        assert!(!is_good(&digest), "another file");
    }
}
