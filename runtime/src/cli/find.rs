//! Finding the workers below a folder.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::config::{Diagnostic, Diagnostics, Place};

/// Folders that hold no workers of their own.
const SKIPPED: [&str; 3] = ["target", "node_modules", "__pycache__"];

/// How deep workers may lie.
const DEPTH: usize = 6;

/// Every folder with an eyot.toml at or below the given paths, in order.
///
/// # Errors
/// When a path does not exist, or there is no worker at all.
pub(super) fn workers(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Diagnostics> {
    let mut found = Vec::new();
    let mut faults = Vec::new();
    for path in paths {
        let before = found.len();
        search(folder(path), DEPTH, &mut found);
        if found.len() == before {
            let message = if path.exists() { "no eyot.toml here or below" } else { "no such file or folder" };
            let help = "a worker is a folder with an eyot.toml; `name = \"…\"` is all that it needs";
            faults.push(Diagnostic::new(Place::file(path), message, help));
        }
    }
    // The same folder, given twice in two ways, is one worker.
    found.sort_by_key(|folder| canonical(folder));
    found.dedup_by_key(|folder| canonical(folder));
    if faults.is_empty() { Ok(found) } else { Err(Diagnostics(faults)) }
}

/// The folder that a path of the command line names: itself, or that of the eyot.toml.
pub(super) fn folder(path: &Path) -> &Path {
    if path.file_name().is_none_or(|name| name != "eyot.toml") {
        return path;
    }
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The one spelling of a path, as far as it exists.
pub(super) fn canonical(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if !parent.as_os_str().is_empty() => canonical(parent).join(name),
        _ => path.to_owned(),
    })
}

/// Hidden folders and those of builds.
pub(super) fn is_skipped(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with('.') || SKIPPED.contains(&&*name)
}

fn search(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if folder.join("eyot.toml").is_file() {
        found.push(folder.to_owned());
        return;
    }
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    if depth == 0 {
        return;
    }
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !is_skipped(&entry.file_name()) {
            search(&entry.path(), depth - 1, found);
        }
    }
}
