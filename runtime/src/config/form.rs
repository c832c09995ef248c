//! The forms of small strings: names, methods, address blocks, URLs, destinations. Hosts and paths have files of their own.

use ipnet::IpNet;
use url::Url;

use super::host::HostPattern;
use super::reader::Wrong;
use super::worker::AllowedHost;

/// The name of a worker, an origin, a way to authenticate or a namespace of keys and values: a DNS label (RFC 1035 §2.3.1), for it becomes
/// part of host names.
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

/// The name of a secret. It stands in paths of the admin API and in names of variables.
pub(super) fn secret(text: &str) -> Result<String, Wrong> {
    match is_secret_name(text) {
        true => Ok(text.to_owned()),
        false => Err(Wrong::new(
            "the name of a secret is 1 to 128 letters, digits, `_`, `-` and `.`",
            "write, for example, \"API_KEY\"",
        )),
    }
}

/// Whether a secret can have this name.
#[must_use]
pub fn is_secret_name(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

/// Whether a worker can have this name.
#[must_use]
pub fn is_worker_name(text: &str) -> bool {
    name(text).is_ok()
}

pub(super) fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// A share of all, 0 to less than 1.
pub(super) fn share(text: &str) -> Result<f64, Wrong> {
    let help = "write, for example, \"5%\"";
    let number = text.strip_suffix('%').ok_or_else(|| Wrong::new("a share of all is in percent", help))?;
    match number.trim().parse::<f64>() {
        Ok(percent) if (0.0..100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(Wrong::new("this is not a share from 0% to less than 100%", help)),
    }
}

/// Whether isolates are asked again.
pub(super) fn is_reused(text: &str) -> Result<bool, Wrong> {
    match text {
        "fresh" => Ok(false),
        "reuse" => Ok(true),
        _ => Err(Wrong::new("an isolate is either fresh or reused", "write \"fresh\" or \"reuse\"")),
    }
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
pub(super) fn egress(text: &str) -> Result<AllowedHost, Wrong> {
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
    let host = HostPattern::parse(host)?;
    let name = host.to_string();
    let literal = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    if literal.is_ok_and(|address| !crate::http::is_public(address)) {
        let help = "name it in node.toml as an [[origin]], and list that name in `origins`";
        return Err(Wrong::new("this address is not public, so no worker may ask it by itself", help));
    }
    if matches!(&*name, "*.internal" | "origin.internal") || name.ends_with(".origin.internal") {
        return Err(Wrong::new("origins are asked by name", "list it in `origins` instead: origins = [\"NAME\"]"));
    }
    Ok(AllowedHost { scheme, host, port })
}

/// A token (RFC 9110 §5.6.2), which names of cookies and header fields are.
pub(super) fn is_token(text: &str) -> bool {
    http::HeaderName::from_bytes(text.as_bytes()).is_ok()
}
