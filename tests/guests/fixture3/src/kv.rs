//! Keys and values, by the same package as a component of WASI 0.2.

use wasip3::http::types::{ErrorCode, Response};

use crate::http::{Exchange, text};

mod bindings {
    wit_bindgen::generate!({ path: "../../../guest-sdk/wit", world: "eyot:worker/imports", generate_all });
}

use bindings::eyot::worker::kv::Namespace;

/// `kv-increment?ns=N&key=K&by=B`: what the number is then.
pub(crate) async fn increment(exchange: Exchange) -> Result<Response, ErrorCode> {
    let (namespace, key) =
        (exchange.query.text("ns").unwrap_or_default(), exchange.query.text("key").unwrap_or_default());
    let by = i64::try_from(exchange.query.number("by", 1)).unwrap_or(i64::MAX);
    let sum = Namespace::open(namespace).and_then(|open| open.increment(key, by));
    Ok(match sum {
        Ok(sum) => text(200, sum.to_string()),
        Err(error) => text(500, format!("{error:?}")),
    })
}
