//! Compiled components on disk, keyed by the component's digest and by everything that decides about compiled code.
//!
//! The folder is this user's alone. Beside each compiled file lies the digest of its key and its code, so that neither another file
//! nor another component's code is taken for it; both are written to a temporary name and renamed, so that a process that dies
//! leaves no half file under a final name. Whenever one is added, those that were used last stay, up to [`MOST_BYTES`] and
//! [`OLDEST`]; the others go.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::compiler::{CompileError, Compiler};
use crate::sandbox::{EngineKind, Engines};

/// What the folder may hold. Code is three to four times as large as its component, so this is about a hundred of the largest in
/// use, or each save of a long day of `eyot dev`.
const MOST_BYTES: u64 = 2 << 30;

/// What no start has used for so long will hardly be asked for again.
const OLDEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A folder of compiled components.
pub struct CompiledStore {
    /// None: nothing is kept and nothing is found.
    folder: Option<PathBuf>,
    writes: bool,
    plain: String,
    concurrent: String,
}

/// Why a component cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no code for it.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The pool that isolates are made of has no place of this form.
    #[error("the component needs more than an isolate may have: {0:#}")]
    Pool(wasmtime::Error),
}

impl LoadError {
    /// What to do.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::Compile(error) => error.help(),
            Self::Pool(_) => "build it from fewer or smaller parts",
        }
    }
}

/// How a component came into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Compiled just now.
    Compiled,
    /// Mapped from disk.
    Mapped,
}

impl CompiledStore {
    /// Opens or makes the folder.
    ///
    /// # Errors
    /// When it cannot be made, or when others can write to it: what lies there is run as it is.
    pub fn open(folder: &Path, engines: &Engines) -> io::Result<Self> {
        let folder = folder.join("compiled");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        if !is_ours(&folder)? {
            let why = format!("{} belongs to another user, or others can write to it", folder.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        Ok(Self::over(Some(folder), true, engines))
    }

    /// What a folder holds already, if it can be used; nothing is written to it.
    #[must_use]
    pub fn read_only(folder: Option<&Path>, engines: &Engines) -> Self {
        let folder =
            folder.map(|folder| folder.join("compiled")).filter(|folder| is_ours(folder).is_ok_and(|ours| ours));
        Self::over(folder, false, engines)
    }

    fn over(folder: Option<PathBuf>, writes: bool, engines: &Engines) -> Self {
        Self {
            folder,
            writes,
            plain: engines.compatibility(EngineKind::Plain),
            concurrent: engines.compatibility(EngineKind::Concurrent),
        }
    }

    /// Maps the compiled form of a component, after compiling it if need be.
    ///
    /// # Errors
    /// When it does not compile or can have no isolate. What goes wrong with the folder only costs time, and is logged.
    pub fn load(
        &self,
        compiler: &Compiler,
        engines: &Engines,
        kind: EngineKind,
        digest: &str,
        bytes: &[u8],
    ) -> Result<(Component, Start), LoadError> {
        let engine = engines.engine(kind);
        let entry = self.entry(kind, digest);
        if let Some(component) = entry.as_ref().and_then(|entry| entry.mapped(engine, self.writes)) {
            return Ok((component, Start::Mapped));
        }
        let compiled = compiler.compile(kind, bytes)?;
        // What the pool refuses is not kept: it would be thrown away at each start. The bytes were made a moment ago, by a process of
        // our own.
        let component = trusted(engine, Source::Bytes(&compiled)).map_err(LoadError::Pool)?;
        let Some((entry, folder)) = entry.zip(self.folder.as_ref()).filter(|_| self.writes) else {
            return Ok((component, Start::Compiled));
        };
        if let Err(error) = entry.write(&compiled).and_then(|()| prune(folder, MOST_BYTES, OLDEST)) {
            let path = entry.code.display();
            tracing::warn!(%path, %error, "compiled code cannot be kept: every start compiles anew");
            return Ok((component, Start::Compiled));
        }
        // Mapped, it costs no memory of its own.
        Ok((entry.mapped(engine, true).unwrap_or(component), Start::Compiled))
    }

    fn entry(&self, kind: EngineKind, digest: &str) -> Option<Entry> {
        let compatibility = match kind {
            EngineKind::Plain => &self.plain,
            EngineKind::Concurrent => &self.concurrent,
        };
        let code = self.folder.as_ref()?.join(format!("{digest}-{}.cwasm", &compatibility[..16]));
        Some(Entry { key: format!("{digest}-{compatibility}"), seal: code.with_extension("sha256"), code })
    }
}

/// One component's code and its seal: the digest of its key and of the code.
struct Entry {
    key: String,
    code: PathBuf,
    seal: PathBuf,
}

impl Entry {
    fn seal_of(&self, code: &[u8]) -> String {
        let mut hasher = Sha256::new();
        hasher.update(&self.key);
        hasher.update(code);
        format!("{:x}", hasher.finalize())
    }

    /// What cannot be used is thrown away, and what is used is marked, if the folder is ours to write to (`writes`).
    fn mapped(&self, engine: &Engine, writes: bool) -> Option<Component> {
        let discard = |why: &str| {
            let path = self.code.display();
            if writes {
                tracing::warn!(%path, "compiled code {why}: it is thrown away");
                let _ = fs::remove_file(&self.code);
            }
        };
        let seal = fs::read_to_string(&self.seal).ok()?;
        let mut file = File::open(&self.code).ok()?;
        let mut code = Vec::new();
        file.read_to_end(&mut code).ok()?;
        if seal != self.seal_of(&code) {
            discard("does not have its digest");
            return None;
        }
        if writes {
            // So that it is not pruned; that it cannot be marked costs a compilation at most.
            let _ = file.set_modified(SystemTime::now());
        }
        match trusted(engine, Source::File(&file)) {
            Ok(component) => Some(component),
            Err(error) => {
                discard(&format!("cannot be mapped: {error}"));
                None
            }
        }
    }

    /// The seal first: code without its seal is never used, the other way round is harmless.
    fn write(&self, code: &[u8]) -> io::Result<()> {
        write_whole(&self.seal, self.seal_of(code).as_bytes())?;
        write_whole(&self.code, code)
    }
}

/// What lies in the folder is run as it is, so nobody else may write to it.
fn is_ours(folder: &Path) -> io::Result<bool> {
    let found = fs::metadata(folder)?;
    Ok(found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0)
}

/// The SHA-256 of some bytes, in hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

enum Source<'a> {
    File(&'a File),
    Bytes(&'a [u8]),
}

/// The one unsafe act of the product: to run what was compiled before.
#[allow(unsafe_code, reason = "compiled code is native code; only what we compiled, behind its digest, comes here")]
fn trusted(engine: &Engine, source: Source<'_>) -> wasmtime::Result<Component> {
    match source {
        Source::File(file) => {
            // By the descriptor that was read, since another file may have the path by now.
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            // SAFETY: the digest of the file is the one that this user's own process wrote down when it compiled it, and the
            // folder is writable by nobody else.
            unsafe { Component::deserialize_file(engine, path) }
        }
        // SAFETY: the bytes come straight from our own compiler.
        Source::Bytes(bytes) => unsafe { Component::deserialize(engine, bytes) },
    }
}

/// For code that was compiled in this process a moment ago, which only the fuzz targets do.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn compiled_here(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    trusted(engine, Source::Bytes(code))
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| _ = fs::remove_file(&temporary))
}

/// Removes what was used longest ago, so that the rest has no more bytes than these and is no older than this; and what a process that
/// died has left.
fn prune(folder: &Path, most: u64, oldest: Duration) -> io::Result<()> {
    let now = SystemTime::now();
    let mut code = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // Another process may be pruning too.
        let Ok(found) = fs::metadata(&path) else { continue };
        let age = found.modified().ok().and_then(|used| now.duration_since(used).ok()).unwrap_or_default();
        if path.extension().is_some_and(|end| end == "cwasm") {
            code.push((age, found.len(), path));
        } else if age > oldest && !path.with_extension("cwasm").exists() {
            let _ = fs::remove_file(&path);
        }
    }
    code.sort();
    let mut kept = 0;
    for (age, bytes, path) in code {
        kept += bytes;
        if kept > most || age > oldest {
            let _ = fs::remove_file(&path);
            let _ = fs::remove_file(path.with_extension("sha256"));
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
            File::open(&path).unwrap().set_modified(SystemTime::now() - DAY * *days).unwrap();
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
        let files =
            [("a.cwasm", 1), ("a.sha256", 99), ("b.cwasm", 2), ("b.sha256", 2), ("c.cwasm", 3), ("c.sha256", 3)];
        let folder = folder(&files);
        prune(folder.path(), 20, 30 * DAY).unwrap();
        assert_eq!(names(folder.path()), ["a.cwasm", "a.sha256", "b.cwasm", "b.sha256"]);
        prune(folder.path(), 20, DAY / 2).unwrap();
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[test]
    fn what_a_process_that_died_has_left_goes_when_it_is_old() {
        let folder = folder(&[("a.1.tmp", 40), ("b.2.tmp", 0), ("c.sha256", 40), ("d.sha256", 0)]);
        prune(folder.path(), 1000, 30 * DAY).unwrap();
        assert_eq!(names(folder.path()), ["b.2.tmp", "d.sha256"]);
    }

    #[test]
    fn a_write_that_fails_leaves_nothing_behind() {
        let folder = folder(&[]);
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(write_whole(&taken, b"x").is_err());
        assert_eq!(names(folder.path()), ["taken"]);
    }
}
