//! The path of a route, parsed once: literal segments, `{name}` for one segment, `*` at the end for all below.

use std::fmt;

use super::form::is_identifier;
use super::reader::Wrong;
use crate::failure::Failure;
use crate::http::path;

/// A path pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: Box<str>,
    segments: Vec<Segment>,
    is_prefix: bool,
}

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this, as a match key ([`path::match_key`]).
    Literal(Box<str>),
    /// Any one segment that is not empty, under this name.
    Parameter(Box<str>),
}

impl PathPattern {
    /// `/*`: every path.
    #[must_use]
    pub fn everything() -> Self {
        Self { text: "/*".into(), segments: Vec::new(), is_prefix: true }
    }

    /// Reads a pattern. Whatever a request's path may be can be written, and nothing else: what could never match is refused.
    pub(crate) fn parse(text: &str) -> Result<Self, Wrong> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(Wrong::new("it does not start with `/`", format!("write \"/{text}\"")));
        };
        let (rest, is_prefix) = match rest.strip_suffix('*') {
            Some("") => return Ok(Self::everything()),
            Some(base) if base.ends_with('/') => (&base[..base.len() - 1], true),
            _ => (rest, false),
        };
        let mut pattern = Self { text: text.into(), segments: Vec::new(), is_prefix };
        let last = rest.split('/').count() - 1;
        for (index, segment) in rest.split('/').enumerate() {
            if segment.is_empty() && (index < last || is_prefix) {
                return Err(Wrong::new("it has an empty segment", "write one `/` between segments"));
            }
            let segment = match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(name) => pattern.parameter(name)?,
                None => literal(segment)?,
            };
            pattern.segments.push(segment);
        }
        Ok(pattern)
    }

    /// Whether it ends in `/*`, which is no segment of [`Self::segments`].
    #[must_use]
    pub fn is_prefix(&self) -> bool {
        self.is_prefix
    }

    /// What stands between its slashes.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The parameters' names, and which segment each is, from 0.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, usize)> {
        self.segments.iter().enumerate().filter_map(|(index, segment)| match segment {
            Segment::Parameter(name) => Some((&**name, index)),
            Segment::Literal(_) => None,
        })
    }

    fn parameter(&self, name: &str) -> Result<Segment, Wrong> {
        if !is_identifier(name) {
            let help = "write `{id}`: a lower-case letter, then letters, digits, `_`; for all below, `*`";
            return Err(Wrong::new(format!("`{{{name}}}` is not a parameter"), help));
        }
        if matches!(name, "path" | "query") {
            let why = format!("`{{{name}}}` means the whole {name} in redirects");
            return Err(Wrong::new(why, "choose another name"));
        }
        if self.parameters().any(|(other, _)| other == name) {
            return Err(Wrong::new(format!("`{{{name}}}` is used twice"), "give each parameter its own name"));
        }
        Ok(Segment::Parameter(name.into()))
    }
}

/// As it was written.
impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn literal(segment: &str) -> Result<Segment, Wrong> {
    if segment == "*" {
        return Err(Wrong::new("`*` may only be the last segment", "write `{name}` for one segment"));
    }
    if segment.contains(['{', '}', '*']) {
        return Err(Wrong::new(
            format!("`{segment}`: `{{name}}` and `*` must be a whole segment"),
            "write \"/users/{id}\" or \"/files/*\"; the characters themselves are %7B, %7D and %2A",
        ));
    }
    if segment.contains(['?', '#']) {
        return Err(Wrong::new("a route matches the path only", "leave the query out"));
    }
    if segment.contains(';') || segment.to_ascii_uppercase().contains("%3B") {
        let why = format!("`{segment}` has path parameters, which are not compared");
        return Err(Wrong::new(why, "leave out what begins with `;`"));
    }
    let slashed = format!("/{segment}");
    let canonical = path::canonical(&slashed).map_err(|failure| {
        let reason = match failure {
            Failure::BadRequest(reason) => reason.to_owned(),
            failure => failure.to_string(),
        };
        let escaped = percent_encoding::utf8_percent_encode(segment, percent_encoding::NON_ALPHANUMERIC);
        let help = match segment.chars().all(|c| c.is_ascii_graphic()) {
            true => "write the path as a request can have it".to_owned(),
            false => format!("write the segment escaped, as it comes over the wire: \"{escaped}\""),
        };
        Wrong::new(format!("a request for `{segment}` is refused: {reason}"), help)
    })?;
    Ok(Segment::Literal(path::match_key(&canonical)[1..].into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (Vec<String>, bool) {
        let pattern = PathPattern::parse(text).unwrap();
        assert_eq!(pattern.to_string(), text);
        let show = |segment: &Segment| match segment {
            Segment::Literal(key) => key.to_string(),
            Segment::Parameter(name) => format!("{{{name}}}"),
        };
        (pattern.segments().iter().map(show).collect(), pattern.is_prefix())
    }

    fn expect(text: &str, segments: &[&str], is_prefix: bool) {
        assert_eq!(parts(text), (segments.iter().map(ToString::to_string).collect(), is_prefix), "{text}");
    }

    #[test]
    fn a_pattern_is_its_segments() {
        expect("/", &[""], false);
        expect("/a/b", &["a", "b"], false);
        expect("/a/", &["a", ""], false);
        expect("/*", &[], true);
        expect("/files/*", &["files"], true);
        expect("/users/{id}/posts/{post_2}/*", &["users", "{id}", "posts", "{post_2}"], true);
        let pattern = PathPattern::parse("/u/{id}").unwrap();
        assert_eq!(pattern.parameters().collect::<Vec<_>>(), [("id", 1)]);
    }

    #[test]
    fn a_literal_is_what_a_request_for_it_is_compared_as() {
        expect("/%7ba%7d%2A/%61|", &["{a}*", "a|"], false);
        expect("/a%2Fb/a%2fb", &["a%2Fb", "a%2Fb"], false);
        expect("/a%20b/%c3%a9/%40", &["a%20b", "%C3%A9", "@"], false);
    }

    #[test]
    fn what_no_request_could_match_is_refused() {
        for wrong in [
            "", "a", "*", "//", "/a//b", "//*", "/a//*", "/*/a", "/a*", "/a/b*", "/{}", "/{Id}", "/{a", "/a}", "/x{a}",
            "/{a}{b}", "/{a b}", "/{a}/{a}", "/{path}", "/{*rest}", "/..", "/a/./b", "/%2e%2E", "/a%2F..", "/%00",
            "/%01", "/%C0%AE", "/%", "/%2", "/%zz", "/a\\b", "/é", "/a b", "/a?b", "/a#b", "/a;b", "/a%3bb",
        ] {
            let wrong = PathPattern::parse(wrong).expect_err(wrong);
            assert!(!wrong.why.is_empty() && !wrong.help.is_empty());
        }
        assert!(PathPattern::parse("/é").unwrap_err().help.contains("\"%C3%A9\""));
    }
}
