//! Routes that lead to another place.

use http::{Request, Response, StatusCode};

use crate::config::Location;
use crate::failure::Failure;
use crate::http::Body;

/// The response that sends a client to a location, filled in for its request.
///
/// # Errors
/// When that is no value of a header.
pub(super) fn to<B>(status: StatusCode, location: &Location, request: &Request<B>) -> Result<Response<Body>, Failure> {
    let uri = request.uri();
    let location = location.fill(uri.path(), uri.query().unwrap_or_default());
    let location = location.parse().map_err(|_| Failure::BadRequest("the redirect's location would not be valid"))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::LOCATION, location);
    Ok(response)
}
