//! Thousands of workers on a small node, and what a request costs whose worker is not in memory.
//!
//! `EYOT_FULL=1 cargo test --release --test density` has 10,000 workers and the bounds of the product's promise; without it there are
//! 1,000 of them, and bounds that a debug build on a busy machine holds. Compiled code is kept in `target/test-density` from run to run.

mod harness;

#[allow(dead_code, reason = "the tests of TLS use all of it")]
#[path = "tls/certificates.rs"]
mod certificates;
#[path = "density/crowd.rs"]
mod crowd;
#[path = "density/cold.rs"]
mod cold;
#[allow(dead_code, reason = "the tests of TLS use all of it")]
#[path = "tls/dial.rs"]
mod dial;
#[path = "density/prewarm.rs"]
mod prewarm;
#[path = "density/working_set.rs"]
mod working_set;
#[path = "density/workers.rs"]
mod workers;
