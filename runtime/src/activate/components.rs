//! From a component's bytes to code that can run: found in the folder and mapped, or compiled by the process for that.

use std::sync::Arc;

use wasmtime::component::Component;

use super::code::Code;
use super::compiled::{self, CompiledStore, Found};
use super::compiler::{CompileError, Compiler};
use crate::config::read_regular;
use crate::sandbox::{self, EngineKind, Engines, Inspection, InspectionError, PrepareError, Prepared};
use crate::store::Digest;

/// What all components of a node have in common.
pub struct Components {
    /// Both engines.
    pub engines: Engines,
    /// Where compiled code is kept.
    pub compiled: CompiledStore,
    /// Makes what is not there.
    pub compiler: Compiler,
    /// The largest component that is read, in bytes.
    pub component_size: u64,
}

/// A component that can run.
pub(super) struct Ready {
    pub(super) prepared: Prepared,
    pub(super) engine: EngineKind,
    /// What it takes of the working set, in bytes.
    pub(super) bytes: u64,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be a worker.
    #[error(transparent)]
    Inspect(#[from] InspectionError),
    /// There is no code for it.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The pool that isolates are made of has no place of this form.
    #[error("the component needs more than an isolate may have: {0:#}")]
    Pool(wasmtime::Error),
    /// It does not fit what we offer.
    #[error(transparent)]
    Link(#[from] PrepareError),
    /// Its code is gone, and so is what it was made of.
    #[error("its code is gone, and {0}")]
    Gone(String),
    /// A bug of ours, which the log shows.
    #[error("loading it panicked")]
    Panicked,
}

impl LoadError {
    /// What to do.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::Inspect(error) => error.help(),
            Self::Compile(error) => error.help(),
            Self::Pool(_) => "build it from fewer or smaller parts",
            Self::Link(error) => error.help(),
            Self::Panicked => "this is not a fault of the component",
            Self::Gone(_) => "put the component back, or start the node again with the one that is there",
        }
    }
}

/// What a component takes of memory, by the length of its code: the code, which is mapped as far as it is used, and what the engine
/// makes of its types (55 KiB for the 216 KiB of `hello`).
pub(super) fn taken(code: u64) -> u64 {
    code + code / 4
}

impl Components {
    /// What is known of a component that was compiled before.
    pub(super) fn find(&self, digest: &Digest) -> Option<Found> {
        self.compiled.find(&self.engines, digest)
    }

    /// What a component would take of the working set, if its code is there.
    pub(super) fn bytes(&self, digest: &Digest) -> Option<u64> {
        Some(taken(self.find(digest)?.bytes()))
    }

    /// Marks code as used now.
    pub(super) fn mark(&self, engine: EngineKind, digest: &Digest) {
        self.compiled.mark(&self.engines, engine, digest);
    }

    /// Maps and links what was compiled before. `None`: there is nothing of use, and it has to be made.
    ///
    /// # Errors
    /// When it cannot be linked.
    pub(super) fn load(&self, code: &Code) -> Result<Option<Ready>, LoadError> {
        let Some(found) = self.find(code.digest()) else { return Ok(None) };
        let Ok(component) = self.compiled.map(&self.engines, &found, &code.slot.seen) else { return Ok(None) };
        let ready = self.link(found.inspection(), &component, found.bytes(), code)?;
        if !found.is_linked(&self.engines) {
            self.compiled.is_linked(&self.engines, &found);
        }
        Ok(Some(ready))
    }

    /// Inspects, compiles, links and keeps a component.
    ///
    /// # Errors
    /// The first thing that is wrong with it. What goes wrong with the folder only costs time, and is logged.
    pub(super) fn make(&self, code: &Code, bytes: &[u8]) -> Result<Ready, LoadError> {
        let inspection = sandbox::inspect(bytes)?;
        let compiled = self.compiler.compile(inspection.engine, bytes)?;
        let engine = self.engines.engine(inspection.engine).map_err(PrepareError::Engine)?;
        // What the pool refuses or we cannot link is not kept: it would be refused at each start. The bytes were made a moment ago, by
        // a process of our own.
        let component = compiled::fresh(engine, &compiled).map_err(LoadError::Pool)?;
        let length = compiled.len() as u64;
        let ready = self.link(&inspection, &component, length, code)?;
        match self.compiled.keep(&self.engines, code.digest(), &inspection, &compiled) {
            Ok(None) => Ok(ready),
            // Mapped, it costs no memory of its own.
            Ok(Some(found)) => match self.compiled.map(&self.engines, &found, &code.slot.seen) {
                Ok(component) => self.link(&inspection, &component, length, code),
                Err(_) => Ok(ready),
            },
            Err(error) => {
                let digest = code.digest();
                tracing::warn!(%digest, %error, "compiled code cannot be kept: it is compiled whenever it is needed");
                Ok(ready)
            }
        }
    }

    /// Makes again what has gone from the folder or cannot be used.
    ///
    /// # Errors
    /// When the component is not what it was, or see [`Self::make`].
    pub(super) fn make_again(&self, code: &Code) -> Result<Ready, LoadError> {
        let path = code.component.display();
        let bytes = read_regular(&code.component, self.component_size)
            .map_err(|error| LoadError::Gone(format!("{path} cannot be read: {error}")))?;
        if Digest::of(&bytes) != *code.digest() {
            return Err(LoadError::Gone(format!("{path} is another component by now")));
        }
        self.make(code, &bytes)
    }

    fn link(
        &self,
        inspection: &Inspection,
        component: &Component,
        length: u64,
        code: &Code,
    ) -> Result<Ready, LoadError> {
        let prepared = Prepared::new(&self.engines, inspection, component, Arc::clone(&code.capabilities))?;
        Ok(Ready { prepared, engine: inspection.engine, bytes: taken(length) })
    }
}
