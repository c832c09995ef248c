//! Which language to answer in: RFC 4647 lookup over a cookie and `Accept-Language`.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum_extra::extract::CookieJar;
use http::header::{ACCEPT_LANGUAGE, HeaderMap};
use http::request::Parts;

/// The cookie that holds a visitor's own choice, unless the worker names another.
pub const LANGUAGE_COOKIE: &str = "lang";

/// How many languages a request may name. Browsers send fewer than ten; a request with more is not looked at, because sorting
/// and matching whatever a client sends is work that somebody else could order.
const MAX_LANGUAGES: usize = 32;

/// The longest language range that is read, in bytes (RFC 5646 §4.4.1 says 35 are enough for any).
const MAX_RANGE: usize = 35;

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
pub struct Languages {
    choice: Option<Range>,
    /// By falling weight, equal ones in the order sent.
    accepted: Vec<Range>,
    /// With weight 0.
    refused: Vec<Range>,
}

/// A language range (RFC 4647 §2), or a tag: its subtags in lower case, joined by hyphens.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Range(String);

impl Languages {
    /// Reads the headers of a request, with the choice in the named cookie.
    #[must_use]
    pub fn of(headers: &HeaderMap, cookie: &str) -> Self {
        let jar = CookieJar::from_headers(headers);
        // The quotes about a value are no part of it (RFC 6265 §4.1.1).
        let choice = jar.get(cookie).and_then(|choice| Range::parse(choice.value_trimmed()));
        // Fields of one name are one list (RFC 9110 §5.3). A range that is not text is one range less, not a list less.
        let fields = headers.get_all(ACCEPT_LANGUAGE).iter();
        let ranges: Vec<&[u8]> =
            fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b',')).take(MAX_LANGUAGES + 1).collect();
        if ranges.len() > MAX_LANGUAGES {
            return Self { choice, ..Self::default() };
        }
        let wishes = ranges.into_iter().filter_map(|range| wish(std::str::from_utf8(range).ok()?));
        let (refused, mut accepted): (Vec<_>, Vec<_>) = wishes.partition(|(weight, _)| *weight == 0);
        accepted.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        let ranges = |wishes: Vec<(u16, Range)>| wishes.into_iter().map(|(_, range)| range).collect();
        Self { choice, accepted: ranges(accepted), refused: ranges(refused) }
    }

    /// The one of `supported` that suits best, or `default` if none does.
    ///
    /// This is lookup (RFC 4647 §3.4): each wish in turn, shortened from its end until it is one of `supported`, so that `de-AT`
    /// finds `de`. It does not work the other way round: `pt` does not find `pt-BR`; where it should, support `pt` as well.
    ///
    /// What the request refuses (`q=0`) is not taken, unless it is the visitor's own choice or there is nothing else.
    ///
    /// Each of `supported` is a language tag such as `de` or `pt-BR`; one that is not (`pt_BR`) can never be chosen, and is told in the
    /// log as an error.
    #[must_use]
    pub fn negotiate<'a>(&self, supported: &[&'a str], default: &'a str) -> &'a str {
        let known: Vec<(Range, &'a str)> = supported.iter().filter_map(|text| Some((tag(text)?, *text))).collect();
        if let Some(chosen) = self.choice.as_ref().and_then(|choice| lookup(choice, &known, |_| true)) {
            return chosen;
        }
        let allowed = |tag: &Range| !self.refuses(tag);
        if let Some(wanted) = self.accepted.iter().find_map(|range| lookup(range, &known, allowed)) {
            return wanted;
        }
        if Range::parse(default).is_none_or(|tag| allowed(&tag)) {
            return default;
        }
        known.iter().find(|(tag, _)| allowed(tag)).map_or(default, |(_, text)| *text)
    }

    /// Whether the most specific range that matches this language is a refused one (RFC 4647 §3.3.1, RFC 9110 §12.5.4).
    fn refuses(&self, tag: &Range) -> bool {
        let closest = |ranges: &[Range]| ranges.iter().filter_map(|range| range.closeness(tag)).max();
        closest(&self.refused).is_some_and(|refused| closest(&self.accepted).is_none_or(|accepted| accepted < refused))
    }
}

impl<S: Sync> FromRequestParts<S> for Languages {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers, LANGUAGE_COOKIE))
    }
}

/// One of the worker's own tags.
fn tag(text: &str) -> Option<Range> {
    let tag = Range::parse(text).filter(|tag| tag.0 != "*");
    #[cfg(feature = "log")]
    if tag.is_none() {
        log::error!("the supported language {text:?} is no language tag, and is never chosen");
    }
    tag
}

/// RFC 4647 §3.4. `*` alone stands for the default, which is taken when nothing else is found.
fn lookup<'a>(range: &Range, known: &[(Range, &'a str)], allowed: impl Fn(&Range) -> bool) -> Option<&'a str> {
    let mut rest = Some(range.0.as_str()).filter(|range| *range != "*");
    while let Some(range) = rest {
        if let Some((_, text)) = known.iter().find(|(tag, _)| tag.0 == range && allowed(tag)) {
            return Some(text);
        }
        rest = shorter(range);
    }
    None
}

/// Without its last subtag, and without a single letter or digit that would then be the last: it only introduced what is gone.
fn shorter(range: &str) -> Option<&str> {
    let (rest, _) = range.rsplit_once('-')?;
    match rest.rsplit_once('-') {
        Some((shorter, single)) if single.len() == 1 => Some(shorter),
        None if rest.len() == 1 => None,
        _ => Some(rest),
    }
}

impl Range {
    /// Subtags of one to eight letters and digits, the first of letters. A `*` in the middle changes nothing in a lookup (RFC 4647
    /// §3.4), so it is left out; a `*` in front names no language, unless it stands alone.
    fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_RANGE {
            return None;
        }
        let is_subtag = |subtag: &str| {
            subtag == "*" || (1..=8).contains(&subtag.len()) && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        let (first, rest) = text.split_once('-').map_or((text, None), |(first, rest)| (first, Some(rest)));
        let is_language = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_alphabetic());
        if !(is_language || text == "*") || !text.split('-').all(is_subtag) {
            return None;
        }
        let rest = rest.into_iter().flat_map(|rest| rest.split('-')).filter(|subtag| *subtag != "*");
        let subtags: Vec<&str> = [first].into_iter().chain(rest).collect();
        Some(Self(subtags.join("-").to_ascii_lowercase()))
    }

    /// How closely this range matches a tag, if it does: as a whole number of its subtags, `*` least of all.
    fn closeness(&self, tag: &Self) -> Option<usize> {
        if self.0 == "*" {
            return Some(0);
        }
        let rest = tag.0.strip_prefix(&self.0)?;
        (rest.is_empty() || rest.starts_with('-')).then_some(self.0.len())
    }
}

/// One range with its weight in thousandths. `None`: it is no range, or its weight is none.
fn wish(range: &str) -> Option<(u16, Range)> {
    let (text, weight) = match range.split_once(';') {
        Some((text, weight)) => (text, weight_of(weight)?),
        None => (range, 1000),
    };
    Some((weight, Range::parse(text.trim())?))
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

#[cfg(test)]
mod tests;
