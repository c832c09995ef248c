//! Which language to answer in: RFC 4647 lookup over a cookie and `Accept-Language`.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum_extra::extract::CookieJar;
use fluent_langneg::{NegotiationStrategy, negotiate_languages};
use http::header::{ACCEPT_LANGUAGE, HeaderMap};
use http::request::Parts;
use unic_langid::LanguageIdentifier;

/// The cookie that holds a visitor's own choice, unless the worker names another.
pub const LANGUAGE_COOKIE: &str = "lang";

/// How many languages a request may name. Browsers send fewer than ten; a request with more is not looked at, because sorting
/// and matching whatever a client sends is work that somebody else could order.
const MAX_LANGUAGES: usize = 32;

/// The longest language tag that is read, in bytes (RFC 5646 §4.4.1 says 35 are enough for any).
const MAX_TAG: usize = 35;

/// The languages that a request would like, the best first: the visitor's own choice from a cookie, then `Accept-Language`.
///
/// ```no_run
/// use eyot_sdk::prelude::*;
///
/// async fn greet(languages: Languages) -> &'static str {
///     match languages.negotiate(&["en", "de"], "en") {
///         "de" => "Guten Tag\n",
///         _ => "Hello\n",
///     }
/// }
/// # fn main() {}
/// ```
///
/// A response that depends on it says so: `Vary: Accept-Language, Cookie`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Languages(Vec<LanguageIdentifier>);

impl Languages {
    /// Reads the headers of a request, with the choice in the named cookie.
    #[must_use]
    pub fn of(headers: &HeaderMap, cookie: &str) -> Self {
        let jar = CookieJar::from_headers(headers);
        let chosen = jar.get(cookie).and_then(|choice| tag(choice.value()));
        // Fields of one name are one list (RFC 9110 §5.3).
        let fields: Vec<_> = headers.get_all(ACCEPT_LANGUAGE).iter().filter_map(|field| field.to_str().ok()).collect();
        Self(chosen.into_iter().chain(accepted(&fields)).collect())
    }

    /// The one of `supported` that suits best, or `default` if none does.
    ///
    /// This is lookup (RFC 4647 §3.4): each wish in turn, `de-AT` also finding `de`. Ties are no question: there is one answer.
    #[must_use]
    pub fn negotiate<'a>(&self, supported: &[&'a str], default: &'a str) -> &'a str {
        let known: Vec<(LanguageIdentifier, &'a str)> =
            supported.iter().filter_map(|text| Some((text.parse().ok()?, *text))).collect();
        let available: Vec<&LanguageIdentifier> = known.iter().map(|(language, _)| language).collect();
        let found = negotiate_languages(&self.0, &available, None, NegotiationStrategy::Lookup);
        let Some(best) = found.first() else { return default };
        known.iter().find(|(language, _)| language == **best).map_or(default, |(_, text)| *text)
    }
}

impl<S: Sync> FromRequestParts<S> for Languages {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers, LANGUAGE_COOKIE))
    }
}

/// The ranges of `Accept-Language` (RFC 9110 §12.5.4) by falling weight, equal ones in the order sent.
fn accepted(fields: &[&str]) -> Vec<LanguageIdentifier> {
    let mut wishes: Vec<(u16, LanguageIdentifier)> = Vec::new();
    for (index, range) in fields.iter().flat_map(|field| field.split(',')).enumerate() {
        if index >= MAX_LANGUAGES {
            return Vec::new();
        }
        wishes.extend(wish(range));
    }
    wishes.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    wishes.into_iter().map(|(_, language)| language).collect()
}

/// One range with its weight in thousandths. `None`: it is no range, its weight is none, it is refused by `q=0`, or it is `*`,
/// which in a lookup means the default (RFC 4647 §3.4).
fn wish(range: &str) -> Option<(u16, LanguageIdentifier)> {
    let (text, weight) = match range.split_once(';') {
        Some((text, weight)) => (text, weight_of(weight)?),
        None => (range, 1000),
    };
    if weight == 0 { None } else { Some((weight, tag(text.trim())?)) }
}

/// `q=0.5` as 500 (RFC 9110 §12.4.2): at most three decimals and at most 1. Anything else is no weight.
fn weight_of(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.trim().split_once('=')?;
    if !name.eq_ignore_ascii_case("q") {
        return None;
    }
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{decimals:0<3}").parse::<u16>().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

fn tag(text: &str) -> Option<LanguageIdentifier> {
    if text.is_empty() || text.len() > MAX_TAG {
        return None;
    }
    // `und` and `*` name no language, and matching them would find any.
    text.parse().ok().filter(|language: &LanguageIdentifier| !language.language.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::{ACCEPT_LANGUAGE, COOKIE, HeaderMap};

    use super::Languages;

    const SUPPORTED: [&str; 4] = ["en", "de", "fr", "ja"];

    fn negotiated(cookie: Option<&str>, accept: &[&str]) -> &'static str {
        let mut headers = HeaderMap::new();
        if let Some(cookie) = cookie {
            headers.append(COOKIE, HeaderValue::from_str(cookie).unwrap());
        }
        for accept in accept {
            headers.append(ACCEPT_LANGUAGE, HeaderValue::from_str(accept).unwrap());
        }
        Languages::of(&headers, "lang").negotiate(&SUPPORTED, "en")
    }

    #[test]
    fn the_highest_weight_wins_and_equal_weights_keep_their_order() {
        assert_eq!(negotiated(None, &["fr;q=0.5, de;q=0.9, en;q=0.1"]), "de");
        assert_eq!(negotiated(None, &["ja, de"]), "ja");
        assert_eq!(negotiated(None, &["fr;q=0.5", "de"]), "de");
        assert_eq!(negotiated(None, &["de ; q=0.001 , fr;Q=1.000"]), "fr");
    }

    #[test]
    fn a_range_with_a_region_or_a_script_finds_its_language() {
        assert_eq!(negotiated(None, &["de-AT"]), "de");
        assert_eq!(negotiated(None, &["ja-Jpan-JP"]), "ja");
        assert_eq!(negotiated(None, &["DE-ch"]), "de");
        assert_eq!(Languages::default().negotiate(&["pt-BR"], "pt-BR"), "pt-BR");
    }

    #[test]
    fn a_language_finds_the_region_that_is_there() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_static("pt"));
        assert_eq!(Languages::of(&headers, "lang").negotiate(&["en", "pt-BR"], "en"), "pt-BR");
    }

    #[test]
    fn the_cookie_comes_before_the_header() {
        assert_eq!(negotiated(Some("theme=dark; lang=ja"), &["de"]), "ja");
        assert_eq!(negotiated(Some("lang=fr"), &[]), "fr");
    }

    #[test]
    fn a_cookie_that_is_no_supported_language_leaves_it_to_the_header() {
        assert_eq!(negotiated(Some("lang=tlh"), &["de"]), "de");
        assert_eq!(negotiated(Some("lang=%00%ff"), &["de"]), "de");
        assert_eq!(negotiated(Some("lang=../../etc"), &["de"]), "de");
        assert_eq!(negotiated(Some("lang=und"), &["de"]), "de");
        assert_eq!(negotiated(Some("lang=*"), &["de"]), "de");
    }

    #[test]
    fn a_refused_language_is_not_taken() {
        assert_eq!(negotiated(None, &["de;q=0, fr;q=0.1"]), "fr");
        assert_eq!(negotiated(None, &["de;q=0.000"]), "en");
    }

    #[test]
    fn weights_that_are_none_drop_their_range() {
        for weight in ["1e9", "2", "1.001", "-1", "0.0001", "", "abc", "NaN", "0,5", "+1"] {
            assert_eq!(negotiated(None, &[&format!("de;q={weight}")]), "en", "q={weight}");
        }
        assert_eq!(negotiated(None, &["de;level=1, fr;q=0.1"]), "fr");
    }

    #[test]
    fn garbage_is_answered_in_the_default_language() {
        for garbage in ["", ",", ";", "*", "*;q=0.5", "xx-\u{1}-", "x", ";;;q=1", "-", "en--", "und", "12345", "=,=;="]
        {
            let Ok(value) = HeaderValue::from_bytes(garbage.as_bytes()) else { continue };
            let headers = HeaderMap::from_iter([(ACCEPT_LANGUAGE, value)]);
            assert_eq!(Languages::of(&headers, "lang").negotiate(&SUPPORTED, "en"), "en", "{garbage:?}");
        }
    }

    #[test]
    fn ten_thousand_entries_are_not_read() {
        let many = vec!["de"; 10_000].join(",");
        assert_eq!(negotiated(None, &[&many]), "en");
        assert_eq!(negotiated(None, &[&format!("{}de", "a".repeat(100_000))]), "en");
    }

    #[test]
    fn thirty_two_languages_are_read_and_one_more_is_not() {
        let mut wishes = vec!["xx"; 31];
        wishes.push("de");
        assert_eq!(negotiated(None, &[&wishes.join(",")]), "de");
        wishes.insert(0, "xx");
        assert_eq!(negotiated(None, &[&wishes.join(",")]), "en");
    }
}
