//! The path of a route, read once: literal segments, `{name}` for one segment, `*` at the end for all below.

use super::path;
use crate::failure::Failure;

/// A path pattern in the forms that the table needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// Whether it ends in `/*`, which is not part of `shape`.
    pub(super) is_prefix: bool,
    /// The pattern for `matchit`, its parameters renamed by position: two patterns of one shape match the same paths. Literals are
    /// match keys ([`path::match_key`]). Empty for `/*`.
    pub(super) shape: String,
    /// How many segments `shape` has.
    pub(super) depth: usize,
    /// The parameters' names, and which segment each is, from 0.
    pub(super) parameters: Vec<(Box<str>, usize)>,
}

/// What is wrong, what to do.
pub(super) type Wrong = (String, &'static str);

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err((format!("the path `{text}` does not begin with a slash"), "write `/` in front"));
        };
        let (rest, is_prefix) = match rest.strip_suffix('*') {
            Some("") => return Ok(Self { is_prefix: true, shape: String::new(), depth: 0, parameters: Vec::new() }),
            Some(base) if base.ends_with('/') => (&base[..base.len() - 1], true),
            _ => (rest, false),
        };
        let mut pattern = Self { is_prefix, shape: String::new(), depth: 0, parameters: Vec::new() };
        let last = rest.split('/').count() - 1;
        for (index, segment) in rest.split('/').enumerate() {
            if segment.is_empty() && (index < last || is_prefix) {
                return Err((format!("the path `{text}` has an empty segment"), "write one slash between segments"));
            }
            pattern.push(segment, index).map_err(|(message, help)| (format!("the path `{text}`: {message}"), help))?;
        }
        Ok(pattern)
    }

    fn push(&mut self, segment: &str, index: usize) -> Result<(), Wrong> {
        self.depth += 1;
        self.shape.push('/');
        if let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return Err((
                    format!("`{segment}` is not a parameter"),
                    "write a name of letters, digits and `_`: `{id}`",
                ));
            }
            if self.parameters.iter().any(|(other, _)| **other == *name) {
                return Err((format!("`{segment}` stands there twice"), "give each parameter a name of its own"));
            }
            self.parameters.push((name.into(), index));
            self.shape.push_str(&format!("{{p{index}}}"));
            return Ok(());
        }
        if segment.contains(['{', '}', '*']) {
            return Err((
                format!("`{segment}` mixes text with a parameter or `*`"),
                "a parameter is a whole segment, and `*` is the whole last one; write the characters themselves as %7B, %7D, %2A",
            ));
        }
        if segment.contains(';') || segment.to_ascii_uppercase().contains("%3B") {
            let message = format!("`{segment}` has path parameters, and they are not compared");
            return Err((message, "leave out what begins with `;`"));
        }
        let literal = format!("/{segment}");
        let canonical = path::canonical(&literal).map_err(|failure| {
            let Failure::BadRequest(reason) = failure else { return (failure.to_string(), "") };
            (format!("a request for `{segment}` is refused: {reason}"), "write it as it comes over the wire")
        })?;
        // Braces have a meaning in matchit, and are doubled to lose it.
        let key = path::match_key(&canonical);
        self.shape.push_str(&key[1..].replace('{', "{{").replace('}', "}}"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> (String, bool, usize) {
        let pattern = Pattern::parse(text).unwrap();
        (pattern.shape, pattern.is_prefix, pattern.depth)
    }

    #[test]
    fn patterns_have_a_shape() {
        assert_eq!(shape("/"), ("/".into(), false, 1));
        assert_eq!(shape("/a/b"), ("/a/b".into(), false, 2));
        assert_eq!(shape("/a/"), ("/a/".into(), false, 2));
        assert_eq!(shape("/*"), (String::new(), true, 0));
        assert_eq!(shape("/files/*"), ("/files".into(), true, 1));
        assert_eq!(shape("/u/{id}/x/{n}/*"), ("/u/{p1}/x/{p3}".into(), true, 4));
        assert_eq!(shape("/%7ba%7d%2A/%61|"), ("/{{a}}*/a|".into(), false, 2));
        assert_eq!(Pattern::parse("/u/{id}").unwrap().parameters, [("id".into(), 1)]);
    }

    #[test]
    fn what_no_request_could_match_is_refused() {
        let bad = [
            "",
            "a",
            "*",
            "//",
            "/a//b",
            "//*",
            "/a//*",
            "/*/a",
            "/a*",
            "/a/b*",
            "/{}",
            "/{a",
            "/a}",
            "/x{a}",
            "/{a}{b}",
            "/{a b}",
            "/{a}/{a}",
            "/..",
            "/a/./b",
            "/a%2F..",
            "/%00",
            "/%zz",
            "/a\\b",
            "/caf\u{e9}",
            "/a b",
            "/a?b",
            "/{*rest}",
            "/a;b",
            "/a%3bb",
        ];
        for text in bad {
            let (message, help) = Pattern::parse(text).expect_err(text);
            assert!(!message.is_empty() && !help.is_empty());
        }
    }
}
