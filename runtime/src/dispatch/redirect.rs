//! Routes that lead to another place.

use http::{Request, Response, StatusCode};

use crate::deploy::Match;
use crate::failure::Failure;
use crate::http::Body;

/// The response that sends a client to a location, with `{path}`, `{query}` and the route's parameters filled in.
///
/// # Errors
/// When that is no value of a header.
pub(super) fn to<B>(
    status: StatusCode,
    location: &str,
    found: &Match<'_>,
    request: &Request<B>,
) -> Result<Response<Body>, Failure> {
    let value = |name: &str| match name {
        "path" => Some(request.uri().path()),
        "query" => Some(request.uri().query().unwrap_or_default()),
        _ => found.parameters().find(|(known, _)| *known == name).map(|(_, value)| value),
    };
    let location =
        fill(location, value).parse().map_err(|_| Failure::BadRequest("the redirect's location would not be valid"))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::LOCATION, location);
    Ok(response)
}

/// Puts values for `{name}`, once from left to right: what stands in a value is no name.
fn fill<'a>(template: &'a str, value: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut filled = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let (before, from) = rest.split_at(open);
        filled.push_str(before);
        let end = from.find('}').map_or(from.len(), |close| close + 1);
        let (name, after) = from.split_at(end);
        filled.push_str(value(name.trim_matches(['{', '}'])).unwrap_or(name));
        rest = after;
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_value_is_no_name() {
        let value = |name: &str| match name {
            "path" => Some("/{query}"),
            "query" => Some("a={id}"),
            "id" => Some("7"),
            _ => None,
        };
        assert_eq!(fill("https://a{path}?{query}", value), "https://a/{query}?a={id}");
        assert_eq!(fill("/{id}/{other}/{", value), "/7/{other}/{");
    }
}
