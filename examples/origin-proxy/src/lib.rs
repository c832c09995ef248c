//! A proxy before one origin: rewrites paths, changes headers, streams both ways.

use eyot_sdk::prelude::*;

/// What visitors call, and what the origin calls it.
const PUBLIC: &str = "/api/v1/";
const ORIGIN: &str = "/v1/";

async fn proxy(mut request: Request) -> Result {
    rewrite_path(&mut request)?;
    change_request(request.headers_mut());
    // Neither body is read here: each is passed on as it comes, whatever its size.
    let mut response = Origin::named("api").fetch(request).await?;
    change_response(response.headers_mut());
    Ok(response)
}
serve!(proxy);

/// `/api/v1/users?page=2` becomes `/v1/users?page=2`; other paths stay.
fn rewrite_path(request: &mut Request) -> Result<()> {
    let Some(path) = request.uri().path_and_query() else { return Ok(()) };
    if let Some(rest) = path.as_str().strip_prefix(PUBLIC) {
        let path = format!("{ORIGIN}{rest}");
        *request.uri_mut() = path.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    }
    Ok(())
}

/// The origin learns which edge asked, and nothing that is only for the edge.
fn change_request(headers: &mut HeaderMap) {
    headers.insert("x-edge", HeaderValue::from_static("eyot"));
    headers.remove(header::COOKIE);
    headers.remove("x-debug");
}

/// Visitors get what protects them, and nothing that tells what the origin runs.
fn change_response(headers: &mut HeaderMap) {
    headers.remove(header::SERVER);
    headers.remove("x-powered-by");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin"));
}
