//! Modes about linear memory: how much there is, and whether it was ever another request's.

use std::arch::wasm32::{memory_grow, memory_size};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::Query;

const PAGE: usize = 64 * 1024;
const MIB: usize = 1024 * 1024;
/// What `memory.grow` returns when it is denied.
const DENIED: usize = usize::MAX;

/// `count`: how many requests this isolate has served. It must always be 1 where isolates are fresh.
pub(crate) fn count(_query: &Query) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{}\n", COUNT.fetch_add(1, Ordering::Relaxed) + 1)
}

/// `grow?mib=N&sleep=MS`: allocates N MiB, touches each page, and keeps them for so long. When that is denied, it ends as Rust
/// programs do: by a trap.
#[allow(clippy::disallowed_methods, reason = "a guest that sleeps waits in the host, which goes on")]
pub(crate) fn grow(query: &Query) -> String {
    let mib = query.size("mib", 1);
    let mut block = Vec::<u8>::with_capacity(mib * MIB);
    block.resize(mib * MIB, 1);
    black_box(&block);
    std::thread::sleep(Duration::from_millis(query.number("sleep", 0)));
    format!("grew {mib} MiB\n")
}

/// `grow-checked`: grows memory until it is denied, by a MiB and at the end by a page, and answers how far it got.
pub(crate) fn grow_checked(_query: &Query) -> String {
    // What the answer needs is put aside before, since there is nothing to be had afterwards.
    let reserve = black_box(Vec::<u8>::with_capacity(4 * PAGE));
    let before = memory_size(0) * PAGE;
    for step in [MIB / PAGE, 1] {
        while memory_grow(0, step) != DENIED {}
    }
    let after = memory_size(0) * PAGE;
    drop(reserve);
    format!("{}\n", json!({ "before": before, "after": after, "got": after - before }))
}

/// `plant?kib=N&byte=B`: fills N KiB of fresh memory with runs of the byte, for a later `scan` to look for.
pub(crate) fn plant(query: &Query) -> String {
    let kib = query.size("kib", 1024);
    let block = vec![planted_byte(query); kib * 1024];
    black_box(&block);
    // The block is leaked, not freed: a dropped isolate leaves its memory as it was.
    std::mem::forget(block);
    format!("planted {kib} KiB\n")
}

/// `scan?byte=B&grow=MIB`: grows memory, then counts the 64-byte runs of the byte in all of it. Another request's `plant`
/// must not be found: what the host hands out is zero or the component's own image. With `plant=1` it plants first, which
/// shows that it does find what is there.
pub(crate) fn scan(query: &Query) -> String {
    const RUN: usize = 64;
    let byte = planted_byte(query);
    if query.flag("plant") {
        plant(query);
    }
    memory_grow(0, query.size("grow", 0) * MIB / PAGE);
    let end = memory_size(0) * PAGE;
    let (mut runs, mut length) = (0u32, 0usize);
    // Address 0 is left out: it is a null pointer to Rust.
    for address in 1..end {
        // SAFETY: the address lies inside the linear memory, all of which may be read; nothing else runs meanwhile.
        let seen = unsafe { std::ptr::read_volatile(address as *const u8) };
        length = if seen == byte { length + 1 } else { 0 };
        if length == RUN {
            runs += 1;
            length = 0;
        }
    }
    format!("{}\n", json!({ "scanned": end, "runs": runs }))
}

fn planted_byte(query: &Query) -> u8 {
    u8::try_from(query.number("byte", 0xa5)).expect("byte= is below 256")
}
