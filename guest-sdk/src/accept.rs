//! Which media type to answer with: `Accept` (RFC 9110 §12.5.1).

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::header::{ACCEPT, HeaderMap};
use http::request::Parts;
use mediatype::MediaType;

/// The longest `Accept` that is read, in bytes: browsers send fewer than 200.
const MAX_LENGTH: usize = 1024;

/// The media types that a request accepts.
///
/// ```no_run
/// use eyot_sdk::prelude::*;
///
/// async fn show(accept: Accept) -> Response {
///     match accept.negotiate(&["application/json", "text/html"]) {
///         Some("text/html") => Html("<p>hello").into_response(),
///         Some(_) => Json("hello").into_response(),
///         None => StatusCode::NOT_ACCEPTABLE.into_response(),
///     }
/// }
/// # fn main() {}
/// ```
///
/// A response that depends on it says so: `Vary: Accept`.
#[derive(Debug, Default)]
pub struct Accept(Option<headers_accept::Accept>);

impl Accept {
    /// Reads the headers of a request. What cannot be read counts as not sent.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        // Fields of one name are one list (RFC 9110 §5.3).
        let fields: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|field| field.to_str().ok()).collect();
        let list = fields.join(",");
        Self(if list.trim().is_empty() || list.len() > MAX_LENGTH { None } else { list.parse().ok() })
    }

    /// The one of `offered` that suits best, or `None` if the request accepts none of them. Where it does not matter to the request, it
    /// is the first.
    #[must_use]
    pub fn negotiate<'a>(&self, offered: &[&'a str]) -> Option<&'a str> {
        let Some(accept) = &self.0 else { return offered.first().copied() };
        let known: Vec<(MediaType<'a>, &'a str)> =
            offered.iter().filter_map(|text| Some((MediaType::parse(text).ok()?, *text))).collect();
        let best = accept.negotiate(known.iter().map(|(media, _)| media))?;
        known.iter().find(|(media, _)| media == best).map(|(_, text)| *text)
    }
}

impl<S: Sync> FromRequestParts<S> for Accept {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, HeaderMap, HeaderValue};

    use super::Accept;

    fn negotiated(accept: &[&'static str]) -> Option<&'static str> {
        let headers = accept.iter().map(|accept| (ACCEPT, HeaderValue::from_static(accept)));
        Accept::of(&HeaderMap::from_iter(headers)).negotiate(&["application/json", "text/html"])
    }

    #[test]
    fn the_most_specific_range_decides_and_the_highest_weight_wins() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        assert_eq!(negotiated(&[browser]), Some("text/html"));
        assert_eq!(negotiated(&["text/html;q=0, application/json"]), Some("application/json"));
        assert_eq!(negotiated(&["text/html;q=0, */*"]), Some("application/json"));
        assert_eq!(negotiated(&["application/json;q=0.1, text/*;q=0.2"]), Some("text/html"));
        assert_eq!(negotiated(&["application/json;q=0.1", "text/html"]), Some("text/html"));
        assert_eq!(negotiated(&["image/png"]), None);
    }

    #[test]
    fn who_does_not_say_gets_the_first() {
        for accept in [&[][..], &["*/*"], &[""], &["nonsense"], &["text/html;q=x;;;="]] {
            assert_eq!(negotiated(accept), Some("application/json"), "{accept:?}");
        }
    }
}
