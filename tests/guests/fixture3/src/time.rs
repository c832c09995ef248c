//! Modes that wait.

use std::sync::atomic::{AtomicU32, Ordering};

use wasip3::clocks::monotonic_clock::wait_for;

use crate::Outcome;
use crate::http::{Exchange, text};

/// `sleep?ms=N`: waits N ms, then answers. It takes no CPU time meanwhile.
pub(crate) async fn sleep(exchange: Exchange) -> Outcome {
    let ms = exchange.query.number("ms", 100);
    wait_ms(ms).await;
    Ok(text(200, format!("slept {ms} ms\n")))
}

/// `together?ms=N`: waits N ms and answers the most requests that were in this isolate at once. It is 1 where isolates are fresh.
pub(crate) async fn together(exchange: Exchange) -> Outcome {
    static NOW: AtomicU32 = AtomicU32::new(0);
    static MOST: AtomicU32 = AtomicU32::new(0);
    let now = NOW.fetch_add(1, Ordering::Relaxed) + 1;
    MOST.fetch_max(now, Ordering::Relaxed);
    wait_ms(exchange.query.number("ms", 100)).await;
    NOW.fetch_sub(1, Ordering::Relaxed);
    Ok(text(200, format!("{}\n", MOST.load(Ordering::Relaxed))))
}

pub(crate) async fn wait_ms(ms: u64) {
    if ms > 0 {
        wait_for(ms * 1_000_000).await;
    }
}
