//! Noticing that the sources of workers changed, and only those: not what builds write, and no file that is as it was.
//!
//! Folders are watched one by one, so that those of builds, which may hold tens of thousands, cost nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::Context;
use notify::{RecursiveMode, Watcher};

use super::find;

/// Changes within this time of each other are one change: editors and compilers write several files.
const SETTLE: Duration = Duration::from_millis(200);

/// Changes that never pause are one change after this time.
const PATIENCE: Duration = Duration::from_secs(2);

enum Event {
    Changed(PathBuf),
    /// There were changes that nobody was told of: too many came at once, or the system failed.
    Missed,
    Stop,
}

/// Looks at everything below some paths.
pub(super) struct Watch {
    watcher: notify::RecommendedWatcher,
    events: mpsc::Receiver<Event>,
    roots: Vec<PathBuf>,
    folders: BTreeSet<PathBuf>,
    /// Sources that are told by name: components that nothing here builds, and files that lie elsewhere.
    files: BTreeSet<PathBuf>,
    /// What is in the files that have changed so far: a build that writes what was there before has changed nothing.
    seen: BTreeMap<PathBuf, Option<u64>>,
}

/// Ends a [`Watch`] from another thread.
pub(super) struct Stop(mpsc::Sender<Event>);

impl Stop {
    pub(super) fn stop(&self) {
        let _ = self.0.send(Event::Stop);
    }
}

impl Watch {
    pub(super) fn start(paths: &[PathBuf]) -> anyhow::Result<(Self, Stop)> {
        let (sender, events) = mpsc::channel();
        let stop = Stop(sender.clone());
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let event = match event {
                Ok(event) if !event.need_rescan() => event,
                _ => return drop(sender.send(Event::Missed)),
            };
            if !event.kind.is_access() {
                for path in event.paths {
                    let _ = sender.send(Event::Changed(path));
                }
            }
        })?;
        let roots = paths.iter().map(|path| fs::canonicalize(find::folder(path))).collect::<io::Result<_>>()?;
        let mut watch =
            Self { watcher, events, roots, folders: BTreeSet::new(), files: BTreeSet::new(), seen: BTreeMap::new() };
        watch.look_for_folders()?;
        watch.look_for_missing()?;
        Ok((watch, stop))
    }

    /// These files are sources too, wherever they lie, and also while they are not there.
    pub(super) fn also(&mut self, files: impl IntoIterator<Item = PathBuf>) -> anyhow::Result<()> {
        self.files = files.into_iter().map(|path| find::canonical(&path)).collect();
        self.look_for_missing()
    }

    /// Watches the folders of the files that were told by name, and those of what is not there: it will appear in one that is.
    fn look_for_missing(&mut self) -> anyhow::Result<()> {
        let gone = self.roots.iter().filter(|root| !root.is_dir());
        for path in self.files.iter().chain(gone).cloned().collect::<Vec<_>>() {
            if let Some(folder) = path.ancestors().skip(1).find(|folder| folder.is_dir()) {
                self.add(folder)?;
            }
        }
        Ok(())
    }

    /// Waits for sources to change; nothing when stopped.
    pub(super) fn changes(&mut self) -> anyhow::Result<Option<BTreeSet<PathBuf>>> {
        loop {
            let Some(mut changed) = self.settled() else { return Ok(None) };
            // A folder that was replaced is watched no more, whatever its name.
            self.folders.retain(|folder| !folder.ancestors().any(|part| changed.contains(part)));
            for folder in self.look_for_folders()? {
                // What was written before the folder was watched.
                let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
                changed.extend(files.filter(|path| path.is_file()));
            }
            let known = self.folders.len();
            self.look_for_missing()?;
            if self.folders.len() > known {
                changed.extend(self.files.iter().filter(|file| file.is_file()).cloned());
            }
            changed.retain(|path| self.is_source(path) && self.is_different(path));
            if !changed.is_empty() {
                return Ok(Some(changed));
            }
        }
    }

    /// The paths that have changed, when none has for a while; nothing when stopped.
    fn settled(&self) -> Option<BTreeSet<PathBuf>> {
        let mut changed = BTreeSet::new();
        let mut event = self.events.recv().ok()?;
        let end = Instant::now() + PATIENCE;
        loop {
            match event {
                Event::Changed(path) => drop(changed.insert(path)),
                // All may have changed: every folder is watched anew, and its files are looked at.
                Event::Missed => changed.extend(self.folders.iter().cloned()),
                Event::Stop => return None,
            }
            if Instant::now() >= end {
                return Some(changed);
            }
            event = match self.events.recv_timeout(SETTLE) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => return Some(changed),
                Err(RecvTimeoutError::Disconnected) => return None,
            };
        }
    }

    /// Watches the folders that are new, and returns them.
    fn look_for_folders(&mut self) -> anyhow::Result<Vec<PathBuf>> {
        self.folders.retain(|folder| folder.is_dir());
        let mut below = Vec::new();
        for root in &self.roots {
            collect_folders(root, &mut below);
        }
        below.retain(|folder| !self.folders.contains(folder));
        for folder in &below {
            self.add(folder)?;
        }
        Ok(below)
    }

    fn add(&mut self, folder: &Path) -> anyhow::Result<()> {
        if self.folders.insert(folder.to_owned()) {
            self.watcher.watch(folder, RecursiveMode::NonRecursive).with_context(|| {
                format!(
                    "{} cannot be watched; name fewer folders, or raise fs.inotify.max_user_watches",
                    folder.display()
                )
            })?;
        }
        Ok(())
    }

    fn is_source(&self, path: &Path) -> bool {
        let relative = self.roots.iter().find_map(|root| path.strip_prefix(root).ok());
        self.files.contains(path) || relative.is_some_and(|relative| !is_output(relative) && !path.is_dir())
    }

    fn is_different(&mut self, path: &Path) -> bool {
        let content = fs::read(path).ok().map(|bytes| {
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            hasher.finish()
        });
        self.seen.insert(path.to_owned(), content) != Some(content)
    }
}

/// Of those that can be read.
fn collect_folders(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    found.push(folder.to_owned());
    for entry in entries.flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && !find::is_skipped(&entry.file_name()) {
            collect_folders(&entry.path(), found);
        }
    }
}

/// What builds and editors write, by its path below what is watched: what lies above is nobody's business.
fn is_output(relative: &Path) -> bool {
    relative.components().any(|part| find::is_skipped(part.as_os_str()))
        || relative.file_name().is_some_and(|name| name == "Cargo.lock" || name.to_string_lossy().ends_with('~'))
        || relative.extension().is_some_and(|extension| extension == "wasm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_told_by_what_lies_below_the_watched_folder() {
        for source in ["src/lib.rs", "eyot.toml", "a/b/app.js", "messages.json"] {
            assert!(!is_output(Path::new(source)), "{source}");
        }
        for output in
            ["target/x", "node_modules/a/b.js", ".git/HEAD", "src/.lib.rs.swp", "src/lib.rs~", "a.wasm", "Cargo.lock"]
        {
            assert!(is_output(Path::new(output)), "{output}");
        }
    }

    #[test]
    fn a_change_below_a_hidden_folder_is_seen_and_one_that_changes_nothing_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join(".hidden/worker");
        fs::create_dir_all(&root).unwrap();
        let (mut watch, stop) = Watch::start(std::slice::from_ref(&root)).unwrap();
        let root = fs::canonicalize(root).unwrap();
        fs::write(root.join("a.js"), "1").unwrap();
        assert_eq!(watch.changes().unwrap(), Some(BTreeSet::from([root.join("a.js")])));
        // The same again, and an output; then a folder with a file in it.
        fs::write(root.join("a.js"), "1").unwrap();
        fs::write(root.join("a.wasm"), "2").unwrap();
        fs::create_dir(root.join("src")).unwrap();
        fs::write(root.join("src/b.js"), "1").unwrap();
        assert_eq!(watch.changes().unwrap(), Some(BTreeSet::from([root.join("src/b.js")])));
        fs::remove_file(root.join("src/b.js")).unwrap();
        assert_eq!(watch.changes().unwrap(), Some(BTreeSet::from([root.join("src/b.js")])));
        stop.stop();
        assert_eq!(watch.changes().unwrap(), None);
    }

    #[test]
    fn a_folder_that_is_replaced_and_one_that_goes_and_comes_again_are_watched() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap().join("worker");
        let file = root.join("src/a.js");
        fs::create_dir_all(root.join("src")).unwrap();
        let (mut watch, _stop) = Watch::start(std::slice::from_ref(&root)).unwrap();
        // Folders that are gone are told, too.
        let mut changes = |path: &Path| assert!(watch.changes().unwrap().is_some_and(|changed| changed.contains(path)));
        fs::rename(root.join("src"), folder.path().join("old")).unwrap();
        fs::create_dir(root.join("src")).unwrap();
        fs::write(&file, "1").unwrap();
        changes(&file);
        fs::write(&file, "2").unwrap();
        changes(&file);
        fs::remove_dir_all(&root).unwrap();
        changes(&file);
        fs::create_dir_all(root.join("src")).unwrap();
        fs::write(&file, "3").unwrap();
        changes(&file);
    }

    #[test]
    fn a_component_that_nothing_here_builds_is_a_source() {
        let folder = tempfile::tempdir().unwrap();
        let (root, elsewhere) = (folder.path().join("worker"), folder.path().join("dist"));
        fs::create_dir_all(&root).unwrap();
        fs::create_dir_all(&elsewhere).unwrap();
        let component = fs::canonicalize(elsewhere).unwrap().join("x.wasm");
        fs::write(&component, "1").unwrap();
        let (mut watch, _stop) = Watch::start(&[root]).unwrap();
        watch.also([component.clone()]).unwrap();
        fs::write(&component, "2").unwrap();
        assert_eq!(watch.changes().unwrap(), Some(BTreeSet::from([component])));
    }

    #[test]
    fn a_component_that_is_not_there_yet_is_seen_when_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("worker");
        fs::create_dir_all(&root).unwrap();
        let (mut watch, _stop) = Watch::start(&[root]).unwrap();
        let elsewhere = fs::canonicalize(folder.path()).unwrap().join("dist/release");
        let component = elsewhere.join("x.wasm");
        watch.also([component.clone()]).unwrap();
        fs::create_dir_all(&elsewhere).unwrap();
        fs::write(&component, "1").unwrap();
        assert_eq!(watch.changes().unwrap(), Some(BTreeSet::from([component])));
    }
}
