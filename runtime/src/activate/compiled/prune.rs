//! What goes from the folder of compiled code: what was used longest ago, and what a process that died has left.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{CODE, SEAL, used};

/// Removes code that was used longest ago, so that the rest has no more bytes than these and is no older than this; and what a
/// process that died has left. What is kept stays, however old or large it is.
pub(super) fn prune(folder: &Path, kept: &HashSet<PathBuf>, most: u64, oldest: Duration) -> io::Result<()> {
    let now = SystemTime::now();
    let mut code = Vec::new();
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // Another process may be pruning too.
        let Ok(found) = fs::metadata(&path) else { continue };
        let age = |time: SystemTime| now.duration_since(time).unwrap_or_default();
        if path.extension().is_none_or(|end| end != CODE) {
            if found.modified().is_ok_and(|made| age(made) > oldest) && !path.with_extension(CODE).exists() {
                let _ = fs::remove_file(&path);
            }
        } else if kept.contains(&path) {
            bytes += found.len();
        } else {
            code.push((age(used(&path)), found.len(), path));
        }
    }
    code.sort();
    for (age, length, path) in code {
        bytes += length;
        if bytes > most || age > oldest {
            let _ = fs::remove_file(&path);
            let _ = fs::remove_file(path.with_extension(SEAL));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// Files of ten bytes, last used so many days ago.
    fn folder(files: &[(&str, u32)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, days) in files {
            let path = folder.path().join(name);
            fs::write(&path, "0123456789").unwrap();
            fs::File::open(&path).unwrap().set_modified(SystemTime::now() - DAY * *days).unwrap();
        }
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_used_last_stays_within_the_bounds() {
        let files = [("a.cwasm", 99), ("a.seal", 1), ("b.cwasm", 2), ("b.seal", 2), ("c.cwasm", 3), ("c.seal", 3)];
        let folder = folder(&files);
        prune(folder.path(), &HashSet::new(), 20, 30 * DAY).unwrap();
        assert_eq!(names(folder.path()), ["a.cwasm", "a.seal", "b.cwasm", "b.seal"]);
        prune(folder.path(), &HashSet::new(), 20, DAY / 2).unwrap();
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[test]
    fn what_is_active_stays_and_what_is_not_makes_room_for_it() {
        let folder = folder(&[("a.cwasm", 1), ("b.cwasm", 2), ("c.cwasm", 99), ("c.seal", 99)]);
        let kept = HashSet::from([folder.path().join("c.cwasm")]);
        prune(folder.path(), &kept, 20, 30 * DAY).unwrap();
        assert_eq!(names(folder.path()), ["a.cwasm", "c.cwasm", "c.seal"]);
        prune(folder.path(), &kept, 5, 30 * DAY).unwrap();
        assert_eq!(names(folder.path()), ["c.cwasm", "c.seal"]);
    }

    #[test]
    fn what_a_process_that_died_has_left_goes_when_it_is_old() {
        let folder = folder(&[("a.1.tmp", 40), ("b.2.tmp", 0), ("c.seal", 40), ("d.seal", 0), ("e.sha256", 40)]);
        prune(folder.path(), &HashSet::new(), 1000, 30 * DAY).unwrap();
        assert_eq!(names(folder.path()), ["b.2.tmp", "d.seal"]);
    }
}
