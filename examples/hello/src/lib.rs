//! The smallest worker.

use eyot_sdk::prelude::*;

async fn handle() -> &'static str {
    "hello\n"
}
serve!(handle);
