//! Compiled components on disk, keyed by the component's digest and by everything that decides about compiled code.
//!
//! The folder is this user's alone. Beside each compiled file lies its own digest; both are written to a temporary name and
//! renamed, so that a process that dies leaves no half file under a final name.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::sandbox::{EngineKind, Engines, interruptible};

/// A folder of compiled components.
pub struct CompiledStore {
    /// None: nothing is kept and nothing is found.
    folder: Option<PathBuf>,
    writes: bool,
    plain: String,
    concurrent: String,
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
    /// When it does not compile. What goes wrong with the folder only costs time, and is logged.
    pub fn load(
        &self,
        engines: &Engines,
        kind: EngineKind,
        digest: &str,
        bytes: &[u8],
    ) -> wasmtime::Result<(Component, Start)> {
        let engine = engines.engine(kind);
        let path = self.path(kind, digest);
        if let Some(component) = path.as_ref().and_then(|path| mapped(engine, path)) {
            return Ok((component, Start::Mapped));
        }
        let compiled = engine.precompile_component(&interruptible(bytes)?)?;
        if let Some(path) = path.filter(|_| self.writes) {
            match write(&path, &compiled) {
                Ok(()) => {
                    if let Some(component) = mapped(engine, &path) {
                        return Ok((component, Start::Compiled));
                    }
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "compiled code cannot be kept: every start compiles anew");
                }
            }
        }
        // The bytes were made by this process a moment ago.
        Ok((trusted(engine, Source::Bytes(&compiled))?, Start::Compiled))
    }

    fn path(&self, kind: EngineKind, digest: &str) -> Option<PathBuf> {
        let compatibility = match kind {
            EngineKind::Plain => &self.plain,
            EngineKind::Concurrent => &self.concurrent,
        };
        Some(self.folder.as_ref()?.join(format!("{digest}-{}.cwasm", &compatibility[..16])))
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

fn mapped(engine: &Engine, path: &Path) -> Option<Component> {
    let expected = fs::read_to_string(path.with_extension("sha256")).ok()?;
    let found = digest(&fs::read(path).ok()?);
    if expected != found {
        tracing::warn!(path = %path.display(), "compiled code does not have its digest: it is thrown away");
        let _ = fs::remove_file(path);
        return None;
    }
    match trusted(engine, Source::File(path)) {
        Ok(component) => Some(component),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "compiled code cannot be mapped: it is thrown away");
            let _ = fs::remove_file(path);
            None
        }
    }
}

enum Source<'a> {
    File(&'a Path),
    Bytes(&'a [u8]),
}

/// The one unsafe act of the product: to run what was compiled before.
#[allow(unsafe_code, reason = "compiled code is native code; only what we compiled, behind its digest, comes here")]
fn trusted(engine: &Engine, source: Source<'_>) -> wasmtime::Result<Component> {
    match source {
        // SAFETY: the digest of the file is the one that this user's own process wrote down when it compiled it, and the folder
        // is writable by nobody else.
        Source::File(path) => unsafe { Component::deserialize_file(engine, path) },
        // SAFETY: the bytes come straight from `precompile_component`.
        Source::Bytes(bytes) => unsafe { Component::deserialize(engine, bytes) },
    }
}

/// The digest first: a file without its digest is never used, the other way round is harmless.
fn write(path: &Path, compiled: &[u8]) -> io::Result<()> {
    write_whole(&path.with_extension("sha256"), digest(compiled).as_bytes())?;
    write_whole(path, compiled)
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}
