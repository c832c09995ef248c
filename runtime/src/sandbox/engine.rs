//! The two engines of a process, and what is common to all components of each.

use std::hash::{Hash, Hasher};
use std::sync::{Mutex, OnceLock, PoisonError};

use sha2::{Digest, Sha256};
use wasmtime::component::Linker;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, WasmFeatures};

use super::pool::{self, Pool};
use super::{bulk, ticker};
use crate::bindings::{self, Guest};
use crate::config::held;

/// Which engine a component needs; read from its types before it is compiled, and part of the key of what is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum EngineKind {
    /// Without component-model concurrency: WASI 0.2 only, 10 to 15 µs cheaper for each isolate.
    Plain,
    /// With it: whatever imports or exports async types or WASI 0.3.
    Concurrent,
}

impl EngineKind {
    /// The usual one first.
    pub const ALL: [Self; 2] = [Self::Plain, Self::Concurrent];
}

/// Both engines. Each is made when the first component asks for it: most nodes have no use for the second one.
pub struct Engines {
    pool: Pool,
    sides: [Side; EngineKind::ALL.len()],
}

#[derive(Default)]
struct Side {
    made: OnceLock<Made>,
    making: Mutex<()>,
    compatibility: OnceLock<String>,
}

/// An engine, and everything that its components may import, which is the same for all of them.
pub(super) struct Made {
    pub(super) engine: Engine,
    pub(super) linker: Linker<Guest>,
}

impl Engines {
    /// Engines whose pools are of this size.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        Self { pool, sides: Default::default() }
    }

    /// So many isolates may each of them have at once.
    #[must_use]
    pub fn isolates(&self) -> u32 {
        self.pool.isolates
    }

    /// One of the two.
    ///
    /// # Errors
    /// When the address space for its pool cannot be reserved, or the ticker's thread cannot be started.
    pub fn engine(&self, kind: EngineKind) -> wasmtime::Result<&Engine> {
        Ok(&self.made(kind)?.engine)
    }

    pub(super) fn made(&self, kind: EngineKind) -> wasmtime::Result<&Made> {
        let side = &self.sides[kind as usize];
        if let Some(made) = side.made.get() {
            return Ok(made);
        }
        let _one_at_a_time = side.making.lock().unwrap_or_else(PoisonError::into_inner);
        if side.made.get().is_none() {
            let engine = Engine::new(&config(kind, self.pool))?;
            let mut linker = Linker::new(&engine);
            match kind {
                EngineKind::Plain => bindings::link(&mut linker)?,
                EngineKind::Concurrent => bindings::link_async(&mut linker)?,
            }
            ticker::start(&engine)?;
            let _ = side.made.set(Made { engine, linker });
        }
        side.made.get().ok_or_else(|| wasmtime::Error::msg("the engine was not made"))
    }

    /// Identifies compiled code: the full version of wasmtime, the target, every setting that matters, and our own part in it.
    ///
    /// # Errors
    /// When the compiler does not know this machine.
    pub fn compatibility(&self, kind: EngineKind) -> wasmtime::Result<&str> {
        let side = &self.sides[kind as usize];
        if let Some(known) = side.compatibility.get() {
            return Ok(known);
        }
        let mut hasher = Sha256Hasher(Sha256::new());
        without_pool(kind)?.precompile_compatibility_hash().hash(&mut hasher);
        // The hash above has only the major number, and a correction of the compiler is another patch.
        wasmtime_environ::VERSION.hash(&mut hasher);
        bulk::VERSION.hash(&mut hasher);
        Ok(side.compatibility.get_or_init(|| format!("{:x}", hasher.0.finalize())))
    }
}

/// What a component may use, by engine; decides which engine it needs.
///
/// # Errors
/// When the compiler does not know this machine.
pub(super) fn features(kind: EngineKind) -> wasmtime::Result<WasmFeatures> {
    static KNOWN: [OnceLock<WasmFeatures>; EngineKind::ALL.len()] = [const { OnceLock::new() }; 2];
    let known = &KNOWN[kind as usize];
    if let Some(features) = known.get() {
        return Ok(*features);
    }
    let features = without_pool(kind)?.get_wasm_features();
    Ok(*known.get_or_init(|| features))
}

/// For compiling, and for questions about it: nothing is instantiated, and pools have no part in code.
pub(super) fn without_pool(kind: EngineKind) -> wasmtime::Result<Engine> {
    Engine::new(&base_config(kind))
}

fn config(kind: EngineKind, pool: Pool) -> Config {
    let mut config = base_config(kind);
    // Else stacks stay as they are, and nothing of them is given back.
    config.async_stack_zeroing(true);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool.config()));
    config
}

fn base_config(kind: EngineKind) -> Config {
    let concurrent = kind == EngineKind::Concurrent;
    let mut config = Config::new();
    config
        .epoch_interruption(held())
        .memory_init_cow(true)
        .memory_reservation(pool::RESERVATION)
        .memory_guard_size(pool::GUARD)
        .max_wasm_stack(pool::WASM_STACK)
        .async_stack_size(pool::FIBER_STACK as usize)
        // For debuggers, and a list that the C library walks whenever one of thousands of components goes.
        .native_unwind_info(false)
        // Most of the advisories of 2026 are in proposals that no toolchain for components needs yet.
        .wasm_gc(false)
        .wasm_exceptions(false)
        .wasm_function_references(false)
        .gc_support(false)
        .wasm_threads(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_custom_page_sizes(false)
        .wasm_component_model_async(concurrent)
        .concurrency_support(concurrent);
    config
}

struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        // Never asked for: the digest is taken whole.
        0
    }
}
