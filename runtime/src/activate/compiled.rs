//! Compiled components on disk, keyed by the component's digest and by everything that decides about compiled code.
//!
//! The folder is this user's alone. Beside each compiled file lies a record of it under a seal, so that neither another file nor another
//! component's code is taken for it; both are written to a temporary name and renamed, so that a process that dies leaves no half
//! file under a final name. What is active stays; of the rest, those that were used last stay, up to [`MOST_BYTES`] and [`OLDEST`].

mod prune;
mod record;
mod seen;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Timestamps, UTIME_OMIT, utimensat};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::sandbox::{EngineKind, Engines, Inspection};
use crate::store::{Digest, write_whole};
use record::{Record, this_build};
pub(super) use seen::Seen;

/// What the folder may hold. Code is three to four times as large as its component, so this is about a hundred of the largest in
/// use, or each save of a long day of `eyot dev`.
const MOST_BYTES: u64 = 2 << 30;

/// What no start has used for so long will hardly be asked for again.
const OLDEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How the files end: of code, and of its record.
const CODE: &str = "cwasm";
const SEAL: &str = "seal";

/// A folder of compiled components.
pub struct CompiledStore {
    /// None: nothing is kept and nothing is found.
    folder: Option<PathBuf>,
    writes: bool,
}

/// A component whose code is kept.
pub(super) struct Found {
    entry: Entry,
    record: Record,
}

/// Why code that is kept cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("does not have its digest")]
    Digest,
    #[error("cannot be mapped: {0:#}")]
    Map(wasmtime::Error),
}

impl CompiledStore {
    /// Opens or makes the folder.
    ///
    /// # Errors
    /// When it cannot be made, or when others can write to it: what lies there is run as it is.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let folder = folder.join("compiled");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        if !is_ours(&folder)? {
            let why = format!("{} belongs to another user, or others can write to it", folder.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        Ok(Self { folder: Some(folder), writes: true })
    }

    /// What a folder holds already, if it can be used; nothing is written to it.
    #[must_use]
    pub fn read_only(folder: Option<&Path>) -> Self {
        let folder = folder.map(|folder| folder.join("compiled"));
        Self { folder: folder.filter(|folder| is_ours(folder).is_ok_and(|ours| ours)), writes: false }
    }

    /// What is known of a component whose code is kept for one of these engines. Nothing of the code is read.
    pub(super) fn find(&self, engines: &Engines, digest: &Digest) -> Option<Found> {
        EngineKind::ALL.into_iter().find_map(|kind| {
            let entry = self.entry(engines, kind, digest)?;
            let text = fs::read_to_string(entry.seal()).ok()?;
            let Some(record) = Record::unsealed(&text, &entry.key) else {
                self.discard(&entry, &Unusable::Digest);
                return None;
            };
            if fs::metadata(&entry.code).ok()?.len() != record.bytes {
                self.discard(&entry, &Unusable::Digest);
                return None;
            }
            Some(Found { entry, record })
        })
    }

    /// Maps what was found, after a look at every byte of it, or at `seen`: whether it is what this process has looked at before.
    ///
    /// # Errors
    /// When it is not what was compiled. It is thrown away then, if the folder is ours to write to.
    pub(super) fn map(&self, engines: &Engines, found: &Found, seen: &Seen) -> Result<Component, Unusable> {
        let map = || {
            let file = File::open(&found.entry.code)?;
            if !seen.is_good(&file, &found.record.code)? {
                return Err(Unusable::Digest);
            }
            let engine = engines.engine(found.record.inspection.engine).map_err(Unusable::Map)?;
            trusted(engine, Source::File(&file)).map_err(Unusable::Map)
        };
        map().inspect_err(|why| self.discard(&found.entry, why))
    }

    /// Keeps code that was just compiled and linked. `None`: this folder keeps nothing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn keep(
        &self,
        engines: &Engines,
        digest: &Digest,
        inspection: &Inspection,
        code: &[u8],
    ) -> io::Result<Option<Found>> {
        let entry = self.entry(engines, inspection.engine, digest).filter(|_| self.writes);
        let Some(entry) = entry else { return Ok(None) };
        let linked = linker(engines);
        let (inspection, bytes) = (inspection.clone(), code.len() as u64);
        let record = Record { inspection, code: Digest::of(code).to_string(), bytes, linked };
        // The record first: code without it is never used, the other way round is harmless.
        write_whole(&entry.seal(), record.sealed(&entry.key)?.as_bytes())?;
        write_whole(&entry.code, code)?;
        Ok(Some(Found { entry, record }))
    }

    /// Writes down that it was linked here.
    pub(super) fn is_linked(&self, engines: &Engines, found: &Found) {
        let record = Record { linked: linker(engines), ..found.record.clone() };
        let write = || write_whole(&found.entry.seal(), record.sealed(&found.entry.key)?.as_bytes());
        // It is linked again at the next start, which costs time alone.
        let _ = self.writes.then(write);
    }

    /// Marks code as used now, so that it stays, and comes first at the next start: by the time of its record, since that of the code
    /// itself tells whether it was changed.
    pub(super) fn mark(&self, engines: &Engines, kind: EngineKind, digest: &Digest) {
        let Some(entry) = self.entry(engines, kind, digest).filter(|_| self.writes) else { return };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let used = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: i64::from(now.subsec_nanos()) };
        let unread = rustix::fs::Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let times = Timestamps { last_access: unread, last_modification: used };
        // That it cannot be marked costs a compilation at most.
        let _ = utimensat(CWD, entry.seal(), &times, AtFlags::empty());
    }

    /// The digests of components that other builds have compiled into this folder, for engines of theirs.
    pub(super) fn for_other_builds(&self, engines: &Engines) -> HashSet<String> {
        let Some(entries) = self.folder.as_ref().and_then(|folder| fs::read_dir(folder).ok()) else {
            return HashSet::new();
        };
        let ours = EngineKind::ALL.map(|kind| engines.compatibility(kind).map(short).unwrap_or_default());
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let digest = |name: String| {
            let (digest, engine) = name.strip_suffix(SEAL)?.strip_suffix('.')?.split_once('-')?;
            (!ours.contains(&engine)).then(|| digest.to_owned())
        };
        names.filter_map(digest).collect()
    }

    /// Throws away what was used longest ago and is not among these.
    pub(super) fn prune<'a>(&self, engines: &Engines, active: impl Iterator<Item = &'a Digest>) {
        let Some(folder) = self.folder.as_ref().filter(|_| self.writes) else { return };
        let files = active.flat_map(|digest| {
            EngineKind::ALL.into_iter().filter_map(move |kind| Some(self.entry(engines, kind, digest)?.code))
        });
        if let Err(error) = prune::prune(folder, &files.collect(), MOST_BYTES, OLDEST) {
            tracing::warn!(path = %folder.display(), %error, "compiled code that nobody needs cannot be removed");
        }
    }

    fn entry(&self, engines: &Engines, kind: EngineKind, digest: &Digest) -> Option<Entry> {
        let compatibility = engines.compatibility(kind).ok()?;
        let name = format!("{digest}-{}.{CODE}", short(compatibility));
        Some(Entry { key: format!("{digest}-{compatibility}"), code: self.folder.as_ref()?.join(name) })
    }

    fn discard(&self, entry: &Entry, why: &Unusable) {
        if self.writes {
            tracing::warn!(path = %entry.code.display(), "compiled code {why}: it is thrown away");
            let _ = fs::remove_file(&entry.code);
        }
    }
}

impl Found {
    /// What the component is.
    pub(super) fn inspection(&self) -> &Inspection {
        &self.record.inspection
    }

    /// When it was used last.
    pub(super) fn used(&self) -> SystemTime {
        used(&self.entry.code)
    }

    /// The length of the code.
    pub(super) fn bytes(&self) -> u64 {
        self.record.bytes
    }

    /// Whether it was linked by this very build, for pools of this size.
    pub(super) fn is_linked(&self, engines: &Engines) -> bool {
        self.record.linked == linker(engines)
    }
}

/// When code was used last: its record is marked then.
fn used(code: &Path) -> SystemTime {
    let record = fs::metadata(code.with_extension(SEAL)).or_else(|_| fs::metadata(code));
    record.and_then(|record| record.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// As much of an engine's compatibility as stands in names; the whole of it is sealed.
fn short(compatibility: &str) -> &str {
    &compatibility[..16]
}

/// Who has found that a component can be linked, and has a place in the pool.
fn linker(engines: &Engines) -> String {
    format!("{} {}", this_build(), engines.isolates())
}

/// Where one component's code lies.
struct Entry {
    /// What the record is sealed with, besides itself.
    key: String,
    code: PathBuf,
}

impl Entry {
    fn seal(&self) -> PathBuf {
        self.code.with_extension(SEAL)
    }
}

/// What lies in the folder is run as it is, so nobody else may write to it.
fn is_ours(folder: &Path) -> io::Result<bool> {
    let found = fs::metadata(folder)?;
    Ok(found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0)
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

/// For code that came from our own compiler a moment ago.
pub(super) fn fresh(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    trusted(engine, Source::Bytes(code))
}
