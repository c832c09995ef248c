//! Modes that make subrequests.

use serde_json::{Value, json};
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use wasip3::wit_future;

use crate::Outcome;
use crate::http::{Exchange, drain, name_of, text};

/// `fetch?url=U&n=N`: makes N requests, one after the other, and reports of each the status and the length of the body, or the
/// error.
pub(crate) async fn fetch(exchange: Exchange) -> Outcome {
    let url = exchange.query.text("url").expect("url= is there");
    let mut reports = Vec::new();
    for _ in 0..exchange.query.number("n", 1) {
        reports.push(match one(url).await {
            Ok(report) => report,
            Err(error) => json!({ "error": name_of(&error), "detail": format!("{error:?}") }),
        });
    }
    Ok(text(200, format!("{}\n", Value::from(reports))))
}

async fn one(url: &str) -> Result<Value, ErrorCode> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };

    let (_, trailers) = wit_future::new(|| Ok(None));
    let (request, _sent) = Request::new(Fields::new(), None, trailers, None);
    request.set_scheme(Some(&scheme)).map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    request.set_authority(Some(authority)).map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    request.set_path_with_query(Some(path)).map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    let response = client::send(request).await?;

    let status = response.get_status_code();
    let (_, received) = wit_future::new(|| Ok(()));
    let (mut contents, trailers) = Response::consume_body(response, received);
    let bytes = drain(&mut contents).await;
    drop(contents);
    let error = trailers.await.err().map(|code| name_of(&code));
    Ok(json!({ "status": status, "bytes": bytes, "error": error }))
}
