//! A handler made with Spin's SDK, a WASI 0.3 component. Every guest of this folder answers with the same lines about what it saw.

use http_body_util::BodyExt;
use spin_sdk::http::{IntoResponse, Request, Result};
use spin_sdk::http_service;

#[http_service]
async fn answer(request: Request) -> Result<impl IntoResponse> {
    let (head, body) = request.into_parts();
    let length = body.collect().await?.to_bytes().len();
    let (method, uri) = (head.method, head.uri);
    let scheme = uri.scheme_str().unwrap_or("none");
    let authority = uri.authority().map_or("none", |authority| authority.as_str());
    let path = uri.path_and_query().map_or("none", |path| path.as_str());
    Ok(format!(
        "toolchain: spin-sdk\nmethod: {method}\nscheme: {scheme}\nauthority: {authority}\npath: {path}\nbody: {length} bytes\n"
    ))
}
