//! Modes that end without a proper response.

use wasip3::http::types::ErrorCode;
use wasip3::spawn_local;

use crate::Outcome;
use crate::http::{Exchange, start};
use crate::time::wait_ms;

/// `never`: waits for what never comes, without a timer: nothing is left that could wake it.
pub(crate) async fn never(_exchange: Exchange) -> Outcome {
    std::future::pending().await
}

/// `error-code`: returns an error in place of a response.
pub(crate) async fn error_code(_exchange: Exchange) -> Outcome {
    Err(ErrorCode::InternalError(Some("this fixture was asked to fail".to_owned())))
}

/// `trap-after-head?delay=MS`: sends the head and one chunk, waits so that they are on their way, then traps.
pub(crate) async fn trap_after_head(exchange: Exchange) -> Outcome {
    let delay = exchange.query.number("delay", 50);
    let (response, mut body) = start(200, "text/plain");
    spawn_local(async move {
        let _ = body.write_all(b"the first chunk\n".to_vec()).await;
        wait_ms(delay).await;
        std::arch::wasm32::unreachable()
    });
    Ok(response)
}
