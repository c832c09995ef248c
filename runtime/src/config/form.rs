//! The forms of small strings: names, hosts, path patterns, methods, address blocks, URLs, destinations.

use ipnet::IpNet;
use url::{Host, Url};

use super::reader::Wrong;
use super::worker::Egress;

/// The name of a worker, an origin or a way to authenticate: a DNS label (RFC 1035 §2.3.1), for it becomes part of host names.
pub(super) fn name(text: &str) -> Result<String, Wrong> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=63).contains(&text.len()) && text.chars().all(good) && !text.starts_with('-') && !text.ends_with('-') {
        return Ok(text.to_owned());
    }
    let near: String = text.to_lowercase().chars().map(|c| if good(c) { c } else { '-' }).take(63).collect();
    let near = match near.trim_matches('-') {
        "" => "api",
        near => near,
    };
    Err(Wrong::new(
        "a name is 1 to 63 lower-case letters, digits and inner hyphens",
        format!("write, for example, \"{near}\""),
    ))
}

/// An exact host, in the ASCII form in which it comes over the wire (IDNA): lower case, no port, no final dot.
pub(super) fn host(text: &str) -> Result<String, Wrong> {
    let help = "write a host such as \"example.com\"";
    if text.ends_with('.') {
        return Err(Wrong::new("it ends in a dot", "leave the final dot out: both spellings are matched"));
    }
    // The URL parser would decode these or read them as something else than they look like.
    if text.contains(['%', '*', '/', '@', '?', '#', '\\']) {
        return Err(Wrong::new("this is not a host", help));
    }
    if text.contains(':') && !text.starts_with('[') {
        return Err(Wrong::new("it has a port, or is an IPv6 address without brackets", help));
    }
    let ascii = match Host::parse(text).map_err(|error| Wrong::new(error.to_string(), help))? {
        Host::Domain(domain) => domain,
        Host::Ipv4(address) if address.to_string() != text => {
            return Err(Wrong::new(format!("it would be read as the address {address}"), help));
        }
        address => return Ok(address.to_string()),
    };
    if ascii.len() > 253 || ascii.split('.').any(|label| label.is_empty() || label.len() > 63) {
        return Err(Wrong::new("a host has at most 253 characters, its labels 1 to 63", help));
    }
    Ok(ascii)
}

/// A host of a route or of a destination: exact, or `*.` in front for all hosts below one.
pub(super) fn host_pattern(text: &str) -> Result<String, Wrong> {
    match text.strip_prefix("*.") {
        Some(parent) => {
            let parent = host(parent)?;
            if parent.parse::<std::net::Ipv4Addr>().is_ok() || parent.starts_with('[') {
                return Err(Wrong::new("an address has no hosts below it", "write \"*.example.com\""));
            }
            Ok(format!("*.{parent}"))
        }
        None if text.contains('*') => Err(Wrong::new(
            "`*` may only be the whole first label",
            "write \"*.example.com\"; for any host, leave it out",
        )),
        None => host(text),
    }
}

/// A path pattern: exact segments, `{name}` for one whole segment, `*` as the last segment for all below.
pub(super) fn path_pattern(text: &str) -> Result<String, Wrong> {
    let Some(rest) = text.strip_prefix('/') else {
        return Err(Wrong::new("it does not start with `/`", format!("write \"/{text}\"")));
    };
    if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#' | '\\' | '"' | '<' | '>')) {
        let escaped = percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
            .to_string()
            .replace("%2F", "/")
            .replace("%2E", ".")
            .replace("%2D", "-")
            .replace("%5F", "_");
        let help = match c {
            '?' | '#' => "a route matches the path only: leave the query out".to_owned(),
            _ => format!("write it escaped, as it comes over the wire: \"{escaped}\""),
        };
        return Err(Wrong::new(format!("{c:?} cannot stand in a path"), help));
    }
    let mut names: Vec<&str> = Vec::new();
    let segments: Vec<&str> = rest.split('/').collect();
    for (index, segment) in segments.iter().enumerate() {
        let last = index + 1 == segments.len();
        match *segment {
            "" if last => {}
            "" => return Err(Wrong::new("it has an empty segment", "write one `/` between segments")),
            "*" if last => {}
            "*" => return Err(Wrong::new("`*` may only be the last segment", "write `{name}` for one segment")),
            segment => named_segment(segment, &mut names)?,
        }
    }
    Ok(text.to_owned())
}

fn named_segment<'s>(segment: &'s str, names: &mut Vec<&'s str>) -> Result<(), Wrong> {
    let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return plain_segment(segment);
    };
    if !is_identifier(name) {
        let help = "write `{id}`: a lower-case letter, then letters, digits, `_`; for all below, `*`";
        return Err(Wrong::new(format!("`{{{name}}}` is not a parameter"), help));
    }
    if matches!(name, "path" | "query") {
        return Err(Wrong::new(format!("`{{{name}}}` means the whole {name} in redirects"), "choose another name"));
    }
    if names.contains(&name) {
        return Err(Wrong::new(format!("`{{{name}}}` stands there twice"), "give each parameter its own name"));
    }
    names.push(name);
    Ok(())
}

fn plain_segment(segment: &str) -> Result<(), Wrong> {
    if segment.contains(['{', '}', '*']) {
        return Err(Wrong::new(
            format!("`{segment}`: `{{name}}` and `*` must be a whole segment"),
            "write \"/users/{id}\" or \"/files/*\"",
        ));
    }
    let bytes = segment.as_bytes();
    let broken = bytes.iter().enumerate().any(|(at, byte)| {
        *byte == b'%' && !bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    });
    if broken {
        return Err(Wrong::new("`%` without two hexadecimal digits", "write \"%25\" for a percent sign"));
    }
    // What a request may not hold, no route can match: dot segments, and slashes and NUL in disguise (ARCHITECTURE.md).
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(segment).collect();
    if matches!(&decoded[..], b"." | b"..") || decoded.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0)) {
        return Err(Wrong::new(
            format!("`{segment}` could never match: such requests are refused"),
            "write the path without dot segments and without escaped slashes",
        ));
    }
    Ok(())
}

pub(super) fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// A method that a route may name: a token in upper case (methods are case-sensitive, RFC 9110 §9.1).
pub(super) fn method(text: &str) -> Result<http::Method, Wrong> {
    let upper = text.to_ascii_uppercase();
    let method = http::Method::from_bytes(text.as_bytes())
        .map_err(|_| Wrong::new("this is not a method", "write, for example, \"GET\""))?;
    if upper != text {
        return Err(Wrong::new("methods are written in upper case", format!("write \"{upper}\"")));
    }
    if matches!(method, http::Method::CONNECT | http::Method::TRACE) {
        return Err(Wrong::new("CONNECT and TRACE are never routed", "leave it out"));
    }
    Ok(method)
}

/// A block of addresses, or one address.
pub(super) fn addresses(text: &str) -> Result<IpNet, Wrong> {
    let help = "write a block such as \"10.0.0.0/8\" or \"2001:db8::/32\", or one address";
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let block: IpNet = text.parse().map_err(|_| Wrong::new("this is not a block of addresses", help))?;
    if block != block.trunc() {
        return Err(Wrong::new(
            format!("the address has bits beyond the first {}", block.prefix_len()),
            format!("write \"{}\" for the block, or \"{}\" for the one address", block.trunc(), block.addr()),
        ));
    }
    Ok(block)
}

/// An `http` or `https` URL that other paths and queries are put behind.
pub(super) fn base_url(text: &str) -> Result<Url, Wrong> {
    let help = "write, for example, \"http://127.0.0.1:3000\"";
    let url = Url::parse(text).map_err(|error| Wrong::new(format!("not a URL: {error}"), help))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Wrong::new("its scheme is neither `http` nor `https`", help));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Wrong::new("it holds a user name or a password", "send credentials in a header field instead"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Wrong::new("it has a query or a fragment", "only scheme, host, port and path can stand here"));
    }
    if url.port() == Some(0) {
        return Err(Wrong::new("nothing listens on port 0", help));
    }
    Ok(url)
}

/// A destination that a worker may ask: `[scheme://]host[:port]`.
pub(super) fn egress(text: &str) -> Result<Egress, Wrong> {
    let help = "write \"https://api.example.com\", \"*.example.com:8443\" or \"http://example.test:8080\"";
    let (scheme, authority) = match text.split_once("://") {
        None => (None, text),
        Some(("https", rest)) => (Some(http::uri::Scheme::HTTPS), rest),
        Some(("http", rest)) => (Some(http::uri::Scheme::HTTP), rest),
        Some(_) => return Err(Wrong::new("its scheme is neither `http` nor `https`", help)),
    };
    if authority.contains(['/', '?', '#', '@']) {
        return Err(Wrong::new("a destination is a host, without a path, a query or a user", help));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => match port.parse::<u16>() {
            Ok(number) if number > 0 && number.to_string() == port => (host, Some(number)),
            _ => return Err(Wrong::new("its port is not a number from 1 to 65535", help)),
        },
        _ => (authority, None),
    };
    let host = host_pattern(host)?;
    let literal = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    if literal.is_ok_and(|address| !crate::http::is_public(address)) {
        let help = "name it in node.toml as an [[origin]], and list that name in `origins`";
        return Err(Wrong::new("this address is not public, so no worker may ask it by itself", help));
    }
    if matches!(&*host, "*.internal" | "origin.internal") || host.ends_with(".origin.internal") {
        return Err(Wrong::new("origins are asked by name", "list it in `origins` instead: origins = [\"NAME\"]"));
    }
    Ok(Egress { scheme, host, port })
}

/// A token (RFC 9110 §5.6.2), which names of cookies and header fields are.
pub(super) fn is_token(text: &str) -> bool {
    http::HeaderName::from_bytes(text.as_bytes()).is_ok()
}
