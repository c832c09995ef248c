//! Where routes lead. What node.toml writes out, redirects and fixed answers, is read into what is sent.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use toml::Spanned;
use url::Url;

use super::pattern::PathPattern;
use super::phrase::quoted;
use super::reader::{Key, Table, Wrong, key};

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To a worker, by name.
    Worker(String),
    /// To an origin, by name.
    Origin(String),
    /// To another place.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: StatusCode,
        /// The other place.
        location: Location,
    },
    /// To a fixed answer.
    Respond {
        /// 200 to 599.
        status: StatusCode,
        /// Header fields.
        headers: Vec<(HeaderName, HeaderValue)>,
        /// The body.
        body: Bytes,
    },
}

/// An absolute URL or an absolute path, with places for parts of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    /// `{path}`
    Path,
    /// `{query}`
    Query,
    /// `{name}`, by the place of that parameter in the route's pattern, from 0.
    Segment(usize),
}

const STATUS: Key = key("status", "a status code", "308");
const LOCATION: Key = key("location", "a URL or a path", "\"https://example.com{path}\"");
const BODY: Key = key("body", "a string", "\"not here\"");

pub(super) fn read_redirect(table: &Table<'_>, path: Option<&PathPattern>) -> Option<Target> {
    let status = table.required::<u16>(STATUS);
    if let Some(status) = &status
        && !matches!(status.get_ref(), 301 | 302 | 303 | 307 | 308)
    {
        let message = format!("{} is not a redirect", status.get_ref());
        table.source.fault(
            status.span(),
            message,
            "use 301 or 308 for a permanent redirect, 302, 303 or 307 for a temporary one",
        );
    }
    // Without a path, which is a fault of its own, nobody can say which parameters there are.
    let location = match path {
        Some(path) => table.required_with(LOCATION, |text| Location::parse(text, path)),
        None => table.required_with(LOCATION, |_| Ok(Location(Vec::new()))),
    };
    let status = StatusCode::from_u16(status?.into_inner()).ok()?;
    Some(Target::Redirect { status, location: location?.into_inner() })
}

impl Location {
    /// Placeholders must name what every request of the route has, and may not choose the host, since that would let any
    /// client send others anywhere in our name.
    pub(crate) fn parse(text: &str, path: &PathPattern) -> Result<Self, Wrong> {
        let help = "write a URL such as \"https://example.com{path}\", or a path such as \"/new/{id}\"";
        let mut parts = Vec::new();
        // The location as some request would fill it in.
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                return Err(Wrong::new("a `{` is never closed", help));
            };
            let part = part(name, path)?;
            filled.push_str(before);
            // The path always begins with a slash, so it may follow a host directly; another value could lengthen its name.
            // It may not come first, nor right after a slash: a path that begins with two would then be read as a host.
            let after_host =
                filled.split_once("://").map_or(filled.starts_with('/'), |(_, rest)| rest.contains(['/', '?', '#']));
            if !after_host && (part != Part::Path || !filled.contains("://") || filled.ends_with("://")) {
                return Err(Wrong::new(format!("`{{{name}}}` would choose the host"), help));
            }
            // What a client writes behind its `?` may begin with a slash, and `//evil.example` is a host.
            if filled == "/" && part == Part::Query {
                return Err(Wrong::new("`{query}` would choose the host", help));
            }
            filled.push_str(if part == Part::Path { "/x" } else { "x" });
            parts.extend([Part::Text(before.into()), part]);
            rest = after;
        }
        filled.push_str(rest);
        parts.push(Part::Text(rest.into()));
        if filled.contains('}') {
            return Err(Wrong::new("a `}` is never opened", help));
        }
        let url = match filled.strip_prefix('/') {
            Some(rest) if !rest.starts_with(['/', '\\']) => format!("http://host{filled}"),
            _ => filled,
        };
        let good = Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
        if !good || !text.chars().all(|c| c.is_ascii_graphic()) || text.contains('\\') {
            return Err(Wrong::new("this is neither an http or https URL nor an absolute path, in ASCII", help));
        }
        Ok(Self(parts))
    }

    /// The location for one request, by its canonical path and its query. What stands in a value is no placeholder.
    #[must_use]
    pub fn fill(&self, path: &str, query: &str) -> String {
        let mut filled = String::new();
        for part in &self.0 {
            filled.push_str(match part {
                Part::Text(text) => text,
                Part::Path => path,
                Part::Query => query,
                // The path begins with a slash, so its first piece is empty.
                Part::Segment(index) => path.split('/').nth(index + 1).unwrap_or_default(),
            });
        }
        filled
    }
}

fn part(name: &str, path: &PathPattern) -> Result<Part, Wrong> {
    match name {
        "path" => return Ok(Part::Path),
        "query" => return Ok(Part::Query),
        _ => {}
    }
    match path.parameters().find(|(known, _)| *known == name) {
        Some((_, index)) => Ok(Part::Segment(index)),
        None => {
            let known: Vec<&str> = path.parameters().map(|(known, _)| known).chain(["path", "query"]).collect();
            let help = format!("it has {{{}}}", known.join("}, {"));
            Err(Wrong::new(format!("the route has no parameter `{{{name}}}`"), help))
        }
    }
}

pub(super) fn read_respond(table: &Table<'_>) -> Option<Target> {
    let status = match table.value(STATUS.name) {
        None => Some(Spanned::new(table.span(), 200)),
        Some(_) => table.optional::<u16>(STATUS),
    };
    let body = table.optional::<String>(BODY);
    if let Some(status) = &status {
        if !(200..=599).contains(status.get_ref()) {
            let message = format!("{} is not a status of an answer", status.get_ref());
            table.source.fault(status.span(), message, "use 200 to 599");
        }
        // RFC 9110 §15.3.5, §15.3.6, §15.4.5: these end with their header section.
        if matches!(status.get_ref(), 204 | 205 | 304)
            && let Some(body) = body.as_ref().filter(|body| !body.get_ref().is_empty())
        {
            let message = format!("an answer with status {} has no body", status.get_ref());
            table.source.fault(body.span(), message, "leave the body out, or use status 200");
        }
    }
    let mut headers = Vec::new();
    for (name, value) in table.strings("headers", "{ content-type = \"text/plain\" }") {
        match field(&name, value.get_ref()) {
            Ok(field) => headers.push(field),
            Err(wrong) => table.source.wrong(value.span(), "headers", &name, wrong),
        }
    }
    let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.into_inner()));
    Some(Target::Respond { status: StatusCode::from_u16(status?.into_inner()).ok()?, headers, body })
}

fn field(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Wrong> {
    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
        return Err(Wrong::new("this is not the name of a header field", "write, for example, content-type"));
    };
    let Ok(value) = HeaderValue::from_str(value) else {
        let why = format!("its value {} holds control characters", quoted(value));
        return Err(Wrong::new(why, "write it on one line, without control characters"));
    };
    // RFC 9110 §7.6.1 and §8.6: the connection's own business, which a fixed field could only get wrong.
    if ["connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"]
        .contains(&name.as_str())
    {
        return Err(Wrong::new("the node sets this field itself", "leave it out"));
    }
    if name.as_str().starts_with("eyot-") {
        return Err(Wrong::new("names that begin with `eyot-` are the node's", "choose another name"));
    }
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(text: &str) -> Result<Location, Wrong> {
        Location::parse(text, &PathPattern::parse("/users/{id}").unwrap())
    }

    #[test]
    fn a_location_uses_only_what_the_route_has_and_never_lets_it_choose_the_host() {
        for good in [
            "/new",
            "/new/{id}",
            "/{id}",
            "/old{path}?{query}",
            "https://example.com",
            "https://example.com{path}",
            "http://example.com/{id}?{query}",
            "https://example.com?x={id}",
        ] {
            assert!(location(good).is_ok(), "{good}");
        }
        for wrong in [
            "",
            "new",
            "//evil.example",
            "/\\evil.example",
            "https://{id}/",
            "https://example.com{id}",
            "https://{path}",
            "/{other}",
            "/{id",
            "/id}",
            "ftp://a/",
            "javascript:alert(1)",
            "{id}",
            "{query}",
            "{path}",
            "/{path}",
            "/{query}",
            "/a b",
            "/é",
            "/a\r\nb",
        ] {
            assert!(location(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_stands_in_a_value_is_no_placeholder() {
        let location = location("https://a{path}?{query}&id={id}").unwrap();
        let filled = location.fill("/users/%7Bquery%7D", "a={id}");
        assert_eq!(filled, "https://a/users/%7Bquery%7D?a={id}&id=%7Bquery%7D");
    }

    #[test]
    fn a_fixed_answer_cannot_set_what_frames_it() {
        let (name, value) = field("Content-Type", "text/plain").unwrap();
        assert_eq!((name.as_str(), value.as_bytes()), ("content-type", &b"text/plain"[..]));
        for (name, value) in [
            ("content-length", "1"),
            ("Transfer-Encoding", "x"),
            ("eyot-error", "x"),
            ("a b", "x"),
            ("", "x"),
            ("x", "a\nb"),
        ] {
            assert!(field(name, value).is_err(), "{name}");
        }
    }
}
