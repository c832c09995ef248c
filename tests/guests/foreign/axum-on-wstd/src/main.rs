//! A handler made with axum's router on wstd. Every guest of this folder answers with the same lines about what it saw.

use axum::Router;
use axum::body::Bytes;
use axum::http::{Method, Uri};

#[wstd_axum::http_server]
fn main() -> Router {
    Router::new().fallback(answer)
}

async fn answer(method: Method, uri: Uri, body: Bytes) -> String {
    let scheme = uri.scheme_str().unwrap_or("none");
    let authority = uri.authority().map_or("none", |authority| authority.as_str());
    let path = uri.path_and_query().map_or("none", |path| path.as_str());
    let length = body.len();
    format!(
        "toolchain: axum-on-wstd\nmethod: {method}\nscheme: {scheme}\nauthority: {authority}\npath: {path}\nbody: {length} bytes\n"
    )
}
