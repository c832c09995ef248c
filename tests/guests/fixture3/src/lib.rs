//! The fixture as a WASI 0.3 component, with fewer modes. A request names its mode by the last segment of its path or by
//! `?mode=`; `/` lists them.

mod body;
mod ends;
mod fetch;
mod http;
#[cfg(feature = "eyot")]
mod kv;
mod time;

use std::pin::Pin;

use http::{Exchange, text};
use wasip3::http::types::{ErrorCode, Request, Response};

wasip3::http::service::export!(Fixture);

struct Fixture;

/// What a mode comes to.
type Outcome = Result<Response, ErrorCode>;
type Mode = fn(Exchange) -> Pin<Box<dyn Future<Output = Outcome>>>;

/// The modes that use WASI's interfaces themselves; `modes::PLAIN` has the others.
const MODES: &[(&str, Mode)] = &[
    ("echo", |exchange| Box::pin(body::echo(exchange))),
    ("read-body", |exchange| Box::pin(body::read_body(exchange))),
    ("unread", |exchange| Box::pin(body::unread(exchange))),
    ("stream", |exchange| Box::pin(body::stream(exchange))),
    ("stream-forever", |exchange| Box::pin(body::stream_forever(exchange))),
    ("background", |exchange| Box::pin(body::background(exchange))),
    ("never", |exchange| Box::pin(ends::never(exchange))),
    ("error-code", |exchange| Box::pin(ends::error_code(exchange))),
    ("trap-after-head", |exchange| Box::pin(ends::trap_after_head(exchange))),
    ("answer-then", |exchange| Box::pin(ends::answer_then(exchange))),
    ("leave-body", |exchange| Box::pin(ends::leave_body(exchange))),
    ("hold", |exchange| Box::pin(body::hold(exchange))),
    ("sleep", |exchange| Box::pin(time::sleep(exchange))),
    ("together", |exchange| Box::pin(time::together(exchange))),
    ("fetch", |exchange| Box::pin(fetch::fetch(exchange))),
    #[cfg(feature = "eyot")]
    ("kv-increment", |exchange| Box::pin(kv::increment(exchange))),
];

impl wasip3::exports::http::handler::Guest for Fixture {
    async fn handle(request: Request) -> Outcome {
        let exchange = Exchange::new(request);
        let name = exchange.query.mode();
        if let Some(mode) = modes::find(MODES, name) {
            mode(exchange).await
        } else if let Some(plain) = modes::find(modes::PLAIN, name) {
            Ok(text(200, plain(&exchange.query)))
        } else {
            let status = if name.is_empty() { 200 } else { 404 };
            Ok(text(status, modes::names(MODES) + &modes::names(modes::PLAIN)))
        }
    }
}
