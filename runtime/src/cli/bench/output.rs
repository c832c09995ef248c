//! Where results are written.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cli::say;
use crate::config::{Diagnostic, Place};

/// Where one goes; opened before anything is measured, so that nothing is measured in vain.
pub(super) enum Output {
    Stdout,
    File(File, PathBuf),
}

impl Output {
    pub(super) fn open(path: &Path) -> Result<Self, Diagnostic> {
        if path.as_os_str() == "-" {
            return Ok(Self::Stdout);
        }
        // What is there stays until there is something better.
        let file = File::options().write(true).create(true).truncate(false).open(path);
        let fault = |error| Diagnostic::new(Place::file(path), format!("this cannot be written: {error}"), WRITABLE);
        file.map(|file| Self::File(file, path.to_owned())).map_err(fault)
    }

    pub(super) fn write(self, text: &str) -> anyhow::Result<()> {
        match self {
            Self::Stdout => say::result(text),
            Self::File(mut file, path) => file
                .set_len(0)
                .and_then(|()| file.write_all(text.as_bytes()))
                .with_context(|| format!("{} cannot be written", path.display())),
        }
    }
}

const WRITABLE: &str = "name a file in a folder that is there and that this user can write to";
