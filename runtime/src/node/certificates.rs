//! The certificates of all listeners of a node: what is told of them, and how they are read again.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::acme::Installs;
use crate::config::{Diagnostic, Diagnostics};
use crate::ingress::{Credentials, Known, Validity};
use crate::observe;

/// The certificates of all listeners.
#[derive(Debug)]
pub(super) struct Certificates {
    listeners: Vec<Credentials>,
    metrics: observe::Certificates,
    /// Whoever reads has what was read used before another one reads, so that nothing older comes back.
    turn: Mutex<()>,
}

impl Certificates {
    /// Says of those that are in use from now on what is to be said.
    pub(super) fn new(listeners: Vec<Credentials>, metrics: observe::Certificates) -> Self {
        let certificates = Self { listeners, metrics, turn: Mutex::default() };
        certificates.tell();
        certificates
    }

    /// Reads the files of all listeners again and uses what they hold for new handshakes: all of it, or nothing.
    ///
    /// # Errors
    /// Every fault of all files.
    pub(super) fn read_again(&self) -> Result<usize, Diagnostics> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut all, mut faults) = (Vec::new(), Vec::new());
        for listener in &self.listeners {
            match listener.read_again() {
                Ok(fresh) => all.push(fresh),
                Err(Diagnostics(more)) => faults.extend(more),
            }
        }
        self.metrics.read_again(faults.is_empty());
        if !faults.is_empty() {
            return Err(Diagnostics::together(faults));
        }
        for fresh in all {
            fresh.serve();
        }
        self.tell();
        Ok(self.listeners.iter().map(|listener| listener.known().len()).sum())
    }

    fn measure(&self) {
        let known: Vec<Known> = self.listeners.iter().flat_map(Credentials::known).collect();
        self.metrics.in_use(known.iter().map(|one| (&*one.name, &*one.file, one.not_after)));
    }

    fn tell(&self) {
        self.measure();
        for Diagnostic { place, message, help } in warnings(&self.listeners) {
            tracing::warn!(file = %place.file.display(), help, "{message}");
        }
    }
}

/// One that was ordered touches none of the others.
impl Installs for Certificates {
    fn in_use(&self, file: &Path) -> Option<Validity> {
        self.listeners.iter().find_map(|listener| listener.ordered(file))
    }

    fn install(&self, file: &Path) -> Result<(), Diagnostics> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh: Vec<_> =
            self.listeners.iter().map(|listener| listener.read_ordered(file)).collect::<Result<_, _>>()?;
        for fresh in fresh.into_iter().flatten() {
            fresh.serve();
        }
        self.measure();
        Ok(())
    }
}

/// What is odd about certificates, and no reason not to start.
pub(super) fn warnings(listeners: &[Credentials]) -> Vec<Diagnostic> {
    let mut warnings: Vec<Diagnostic> = Vec::new();
    for warning in listeners.iter().flat_map(Credentials::warnings) {
        // Listeners may have files in common.
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    warnings
}
