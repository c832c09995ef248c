//! How large the pools are that isolates are made of: what of it follows from the node's budget, and what they take of the address
//! space and of the kernel's mappings.

use wasmtime::{Enabled, PoolingAllocationConfig};

/// Toolchains in use need up to eight core instances and tables for a component (Go: five), nearly always one memory.
const CORE_INSTANCES: u32 = 8;
/// Some adapters bring a memory of their own.
const MEMORIES: u32 = 2;
/// So much of a memory is kept mapped and cleared by memset or by the kernel's list of dirty pages, in place of being given back for
/// each request.
const KEEP_RESIDENT: u64 = 64 << 10;
/// The same of a table and of a stack. There are many of both, and in nobody's budget: what a deep recursion has touched would
/// otherwise be the process's for ever.
const KEEP_SMALL: usize = 16 << 10;
/// What all memories of both pools keep for the next request is this part of the node's memory.
const KEPT: u64 = 8;
/// The stack of a guest; host calls run on what the fiber has beyond it.
pub(super) const WASM_STACK: usize = 512 << 10;
pub(super) const FIBER_STACK: u64 = 1 << 20;

/// What is reserved for a memory, so that code needs no bounds checks, and what stands behind it: wasmtime's defaults, on which
/// compiled code relies.
pub(super) const RESERVATION: u64 = 4 << 30;
pub(super) const GUARD: u64 = 32 << 20;
/// wasmtime's default: elements of a table.
const TABLE_ELEMENTS: u64 = 20_000;
const PAGE: u64 = 4 << 10;

/// A memory that has been used: what a guest can reach before its image, the image, and what is behind it, up to the reservation.
const MAPPINGS_OF_MEMORY: u64 = 4;
/// A stack and the page below it that nobody can reach.
const MAPPINGS_OF_STACK: u64 = 2;

/// There is one pool for each engine.
const POOLS: u64 = 2;

/// The size of one of the two pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    pub(super) isolates: u32,
    warm: u32,
}

impl Pool {
    /// With room for so many isolates at once, for so many on each core that wait for a request (one more is being cleared), and for
    /// memories of so many bytes together: limits `node_concurrency`, `waiting_isolates` and `node_memory`. Each engine may have all
    /// of them.
    #[must_use]
    pub fn new(isolates: u64, waiting: u64, memory: u64) -> Self {
        // More than the address space has room for is told of by `reserves`, and no reason for an overflow here.
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let isolates = isolates.saturating_add(waiting.saturating_add(1).saturating_mul(cores));
        let isolates = u32::try_from(isolates).unwrap_or(u32::MAX).min(u32::MAX / CORE_INSTANCES / 2);
        let warm = u32::try_from(memory / KEPT / POOLS / KEEP_RESIDENT).unwrap_or(u32::MAX);
        Self { isolates, warm: warm.clamp(1, isolates.max(1)) }
    }

    /// The address space that both pools reserve, in bytes. Hardly any of it is ever memory.
    #[must_use]
    pub fn reserves(self) -> u64 {
        let isolates = u64::from(self.isolates);
        let memories = u64::from(MEMORIES) * (RESERVATION + GUARD);
        let tables = u64::from(CORE_INSTANCES) * TABLE_ELEMENTS * size_of::<u64>() as u64;
        POOLS * (isolates * (memories + tables) + self.stacks() * (FIBER_STACK + PAGE) + GUARD)
    }

    /// The mappings that both pools have when each of their places has been used, as the kernel counts them (`vm.max_map_count`).
    #[must_use]
    pub fn mappings(self) -> u64 {
        let memories = u64::from(self.isolates) * u64::from(MEMORIES);
        POOLS * (memories * MAPPINGS_OF_MEMORY + self.stacks() * MAPPINGS_OF_STACK)
    }

    /// A quarter more than isolates, so that none waits for a stack that is still being cleared.
    fn stacks(self) -> u64 {
        u64::from(self.isolates) + u64::from(self.isolates) / 4
    }

    pub(super) fn config(self) -> PoolingAllocationConfig {
        let isolates = self.isolates;
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(isolates)
            .total_core_instances(isolates * CORE_INSTANCES)
            .total_memories(isolates * MEMORIES)
            .total_tables(isolates * CORE_INSTANCES)
            .total_stacks(u32::try_from(self.stacks()).unwrap_or(u32::MAX))
            .max_core_instances_per_component(CORE_INSTANCES * 4)
            .max_memories_per_component(MEMORIES * 2)
            .max_tables_per_component(CORE_INSTANCES * 2)
            .table_elements(TABLE_ELEMENTS as usize)
            .max_unused_warm_slots(self.warm)
            .linear_memory_keep_resident(KEEP_RESIDENT as usize)
            .table_keep_resident(KEEP_SMALL)
            .async_stack_keep_resident(KEEP_SMALL)
            .pagemap_scan(if swap_is_off() { Enabled::Auto } else { Enabled::No });
        pool
    }
}

/// PAGEMAP_SCAN in wasmtime 48 overlooks a dirty page that was swapped out, and the next isolate would see it: it is used only
/// where this process cannot be swapped.
fn swap_is_off() -> bool {
    let no_device = std::fs::read_to_string("/proc/swaps").is_ok_and(|swaps| swaps.lines().count() <= 1);
    let forbidden = std::fs::read_to_string("/sys/fs/cgroup/memory.swap.max").is_ok_and(|max| max.trim() == "0");
    no_device || forbidden
}
