//! The certificates of all listeners of a node: what is told of them, and how they are read again.

use crate::config::{Diagnostic, Diagnostics};
use crate::ingress::{Credentials, Known};
use crate::observe;

/// The certificates of all listeners.
#[derive(Debug)]
pub(super) struct Certificates {
    listeners: Vec<Credentials>,
    metrics: observe::Certificates,
}

impl Certificates {
    /// Says of those that are in use from now on what is to be said.
    pub(super) fn new(listeners: Vec<Credentials>, metrics: observe::Certificates) -> Self {
        let certificates = Self { listeners, metrics };
        certificates.tell();
        certificates
    }

    /// Reads the files of all listeners again and uses what they hold for new handshakes: all of it, or nothing.
    ///
    /// # Errors
    /// Every fault of all files.
    pub(super) fn read_again(&self) -> Result<usize, Diagnostics> {
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

    fn tell(&self) {
        let known: Vec<Known> = self.listeners.iter().flat_map(Credentials::known).collect();
        self.metrics.in_use(known.iter().map(|one| (&*one.name, &*one.file, one.not_after)));
        for Diagnostic { place, message, help } in warnings(&self.listeners) {
            tracing::warn!(file = %place.file.display(), help, "{message}");
        }
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
