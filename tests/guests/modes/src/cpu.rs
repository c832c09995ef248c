//! Modes that take CPU time.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::Query;

/// `spin`: loops for ever.
pub(crate) fn spin(_query: &Query) -> String {
    loop {
        black_box(mix(1_000_000));
    }
}

/// `spin-ms?ms=N`: burns CPU until N ms have passed. Where others share the core it takes less than N ms of CPU time.
pub(crate) fn spin_ms(query: &Query) -> String {
    let ms = query.number("ms", 10);
    burn_ms(ms);
    format!("spun {ms} ms\n")
}

/// `work?millions=N`: the same amount of work whatever the clock says, to compare what the node says it took.
pub(crate) fn work(query: &Query) -> String {
    let millions = query.number("millions", 1);
    let sum = (0..millions).fold(0u64, |sum, _| sum.wrapping_add(black_box(mix(1_000_000))));
    format!("worked {millions} million rounds: {sum:x}\n")
}

/// Burns CPU until `ms` have passed. The clock is a host call, so it is asked only every 10 µs or so.
pub fn burn_ms(ms: u64) {
    let end = Instant::now() + Duration::from_millis(ms);
    while Instant::now() < end {
        black_box(mix(10_000));
    }
}

/// Arithmetic whose rounds depend on each other, so that the compiler cannot shorten it (xorshift).
fn mix(rounds: u32) -> u64 {
    (0..rounds).fold(0x9e37_79b9_7f4a_7c15, |mut x: u64, _| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^ (x << 17)
    })
}
