//! Where a configuration names files and addresses: what is found wrong with one of them later is told there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Place};

/// The files and addresses of a configuration, each with the place that names it.
#[derive(Clone, Debug, Default)]
pub struct Mentions {
    pub(super) files: Vec<(PathBuf, Place)>,
    pub(super) addresses: Vec<(SocketAddr, Place)>,
}

impl Mentions {
    /// The place that names this address, or none when it came from the command line.
    #[must_use]
    pub fn address(&self, address: SocketAddr) -> Place {
        let named = self.addresses.iter().find(|(named, _)| *named == address);
        named.map_or_else(Place::default, |(_, place)| place.clone())
    }

    /// The place that names this folder, or none.
    #[must_use]
    pub fn folder(&self, folder: &Path) -> Place {
        let named = self.files.iter().find(|(named, _)| named == folder);
        named.map_or_else(Place::default, |(_, place)| place.clone())
    }

    /// A fault of a file as a whole is told at the line that names the file, which is where it can be put right.
    #[must_use]
    pub fn locate(&self, fault: Diagnostic) -> Diagnostic {
        match self.files.iter().find(|(file, _)| fault.place.line == 0 && *file == fault.place.file) {
            None => fault,
            Some((file, place)) => {
                Diagnostic { message: format!("{}: {}", file.display(), fault.message), place: place.clone(), ..fault }
            }
        }
    }
}
