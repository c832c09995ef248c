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

/// `error-code?bytes=N`: returns an error in place of a response, with N bytes of text and a line end in it.
pub(crate) async fn error_code(exchange: Exchange) -> Outcome {
    let text = format!("this fixture was\nasked to fail{}", "!".repeat(exchange.query.size("bytes", 0)));
    Err(ErrorCode::InternalError(Some(text)))
}

/// `answer-then?end=exit-0|exit-1|trap|spin&bytes=N&delay=MS`: sends a whole response of N bytes, waits, and ends in that way.
pub(crate) async fn answer_then(exchange: Exchange) -> Outcome {
    let end = exchange.query.text("end").unwrap_or_default().to_owned();
    let (bytes, delay) = (exchange.query.size("bytes", 10), exchange.query.number("delay", 0));
    let (response, mut body) = start(200, "text/plain");
    spawn_local(async move {
        let _ = body.write_all(vec![b'x'; bytes]).await;
        drop(body);
        wait_ms(delay).await;
        modes::end(&end);
    });
    Ok(response)
}

/// `leave-body?delay=MS`: sends a head and some bytes, waits, and returns without having ended the body.
pub(crate) async fn leave_body(exchange: Exchange) -> Outcome {
    let delay = exchange.query.number("delay", 0);
    let (response, mut body) = start(200, "text/plain");
    spawn_local(async move {
        let _ = body.write_all(b"a beginning\n".to_vec()).await;
        wait_ms(delay).await;
        std::mem::forget(body);
    });
    Ok(response)
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
