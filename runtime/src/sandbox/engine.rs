//! The two engines of a process, and how their pools are sized.

use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmFeatures};

use super::{bulk, ticker};
use crate::config::held;

/// Which engine a component needs; read from its types before it is compiled, and part of the key of what is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum EngineKind {
    /// Without component-model concurrency: WASI 0.2 only, 10 to 15 µs cheaper for each isolate.
    Plain,
    /// With it: whatever imports or exports async types or WASI 0.3.
    Concurrent,
}

/// Both engines.
pub struct Engines {
    plain: Engine,
    concurrent: Engine,
}

/// Toolchains in use need up to eight core instances and tables for a component (Go: five), nearly always one memory.
const CORE_INSTANCES: u32 = 8;
/// Some adapters bring a memory of their own.
const MEMORIES: u32 = 2;
/// So much of a memory is kept mapped and cleared by memset or by the kernel's list of dirty pages, in place of being given back for
/// each request.
const KEEP_RESIDENT: usize = 64 << 10;
/// The same of a table and of a stack. There are many of both, and in nobody's budget: what a deep recursion has touched would
/// otherwise be the process's for ever.
const KEEP_SMALL: usize = 16 << 10;
/// The stack of a guest; host calls run on what the fiber has beyond it.
const WASM_STACK: usize = 512 << 10;
const FIBER_STACK: usize = 1 << 20;

impl Engines {
    /// Engines with room for so many isolates at once, and for so many on each core that wait for a request or are to be cleared.
    ///
    /// # Errors
    /// When the address space for the pools cannot be reserved.
    pub fn new(isolates: u64, waiting: u64) -> wasmtime::Result<Self> {
        // More than the address space has room for is an error below, and no reason for an overflow here.
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let isolates = isolates.saturating_add(waiting.saturating_add(1).saturating_mul(cores));
        let isolates = u32::try_from(isolates).unwrap_or(u32::MAX).min(u32::MAX / CORE_INSTANCES);
        let plain = Engine::new(&config(EngineKind::Plain, isolates))?;
        let concurrent = Engine::new(&config(EngineKind::Concurrent, isolates))?;
        ticker::start([&plain, &concurrent])?;
        Ok(Self { plain, concurrent })
    }

    /// One of the two.
    #[must_use]
    pub fn engine(&self, kind: EngineKind) -> &Engine {
        match kind {
            EngineKind::Plain => &self.plain,
            EngineKind::Concurrent => &self.concurrent,
        }
    }

    /// What a component may use, by engine; decides which engine it needs.
    #[must_use]
    pub fn features(&self, kind: EngineKind) -> WasmFeatures {
        self.engine(kind).get_wasm_features()
    }

    /// Identifies compiled code: the full version of wasmtime, the target, every setting that matters, and our own part in it.
    #[must_use]
    pub fn compatibility(&self, kind: EngineKind) -> String {
        let mut hasher = Sha256Hasher(Sha256::new());
        self.engine(kind).precompile_compatibility_hash().hash(&mut hasher);
        // The hash above has only the major number, and a correction of the compiler is another patch.
        wasmtime_environ::VERSION.hash(&mut hasher);
        bulk::VERSION.hash(&mut hasher);
        format!("{:x}", hasher.0.finalize())
    }
}

fn config(kind: EngineKind, isolates: u32) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(isolates)
        .total_core_instances(isolates * CORE_INSTANCES)
        .total_memories(isolates * MEMORIES)
        .total_tables(isolates * CORE_INSTANCES)
        .total_stacks(isolates + isolates / 4)
        .max_core_instances_per_component(CORE_INSTANCES * 4)
        .max_memories_per_component(MEMORIES * 2)
        .max_tables_per_component(CORE_INSTANCES * 2)
        .max_unused_warm_slots(isolates)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_SMALL)
        .async_stack_keep_resident(KEEP_SMALL)
        .pagemap_scan(if swap_is_off() { Enabled::Auto } else { Enabled::No });
    let mut config = base_config(kind);
    // Else stacks stay as they are, and nothing of them is given back.
    config.async_stack_zeroing(true);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

pub(super) fn base_config(kind: EngineKind) -> Config {
    let concurrent = kind == EngineKind::Concurrent;
    let mut config = Config::new();
    config
        .epoch_interruption(held())
        .memory_init_cow(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(FIBER_STACK)
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

/// PAGEMAP_SCAN in wasmtime 48 overlooks a dirty page that was swapped out, and the next isolate would see it: it is used only
/// where this process cannot be swapped.
fn swap_is_off() -> bool {
    let no_device = std::fs::read_to_string("/proc/swaps").is_ok_and(|swaps| swaps.lines().count() <= 1);
    let forbidden = std::fs::read_to_string("/sys/fs/cgroup/memory.swap.max").is_ok_and(|max| max.trim() == "0");
    no_device || forbidden
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
