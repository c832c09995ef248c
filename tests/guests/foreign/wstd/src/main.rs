//! A handler made with wstd. Every guest of this folder answers with the same lines about what it saw.

use wstd::http::{Body, Error, Request, Response};

#[wstd::http_server]
async fn main(mut request: Request<Body>) -> Result<Response<Body>, Error> {
    let length = request.body_mut().contents().await?.len();
    let (method, uri) = (request.method(), request.uri());
    let scheme = uri.scheme_str().unwrap_or("none");
    let authority = uri.authority().map_or("none", |authority| authority.as_str());
    let path = uri.path_and_query().map_or("none", |path| path.as_str());
    let answer = format!(
        "toolchain: wstd\nmethod: {method}\nscheme: {scheme}\nauthority: {authority}\npath: {path}\nbody: {length} bytes\n"
    );
    Ok(Response::new(answer.into()))
}
