//! One spelling for each host.

use std::net::Ipv6Addr;

use crate::failure::Failure;

const NO_HOST: Failure = Failure::BadRequest("the request names no host");
const BAD_HOST: Failure = Failure::BadRequest("the request's host is not a host name");

/// The canonical form of `Host` or `:authority`: without port and final dot, in lower case; an IPv6 address in its shortest form
/// (RFC 5952), in brackets.
///
/// Names are letters, digits, hyphens and underscores: what DNS names on the web are made of (RFC 2181 §11 allows more, and services
/// inside a company do use underscores). Other alphabets come as `xn--` (RFC 5891 §4.4). An empty port (`example.com:`) is legal
/// (RFC 3986 §3.2.3).
///
/// # Errors
/// [`Failure::BadRequest`] for an empty host, user information, escapes, spaces, empty or too long labels, a zone identifier, and an
/// invalid port.
pub fn canonical(authority: &str) -> Result<String, Failure> {
    if authority.is_empty() {
        return Err(NO_HOST);
    }
    if authority.contains('@') {
        return Err(Failure::BadRequest("the request's host has user information"));
    }
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(BAD_HOST)?;
        check_port(port)?;
        let address: Ipv6Addr = address.parse().map_err(|_| BAD_HOST)?;
        return Ok(format!("[{address}]"));
    }
    let (name, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
    check_port(port)?;
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return Err(NO_HOST);
    }
    // 253 characters and 63 for each label (RFC 1035 §2.3.4).
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(BAD_HOST);
    }
    Ok(name.to_ascii_lowercase())
}

fn is_label(label: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=63).contains(&label.len()) && label.bytes().all(good)
}

/// Nothing, or a colon and digits.
fn check_port(port: &str) -> Result<(), Failure> {
    const BAD_PORT: Failure = Failure::BadRequest("the request's host has an invalid port");
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(()),
        Some("") => Ok(()),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => match digits.parse::<u16>() {
            Ok(1..) => Ok(()),
            _ => Err(BAD_PORT),
        },
        _ => Err(BAD_PORT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c22_one_host_has_one_spelling() {
        for (authority, host) in [
            ("example.com", "example.com"),
            ("EXAMPLE.Com", "example.com"),
            ("example.com.", "example.com"),
            ("example.com:8080", "example.com"),
            ("example.com.:443", "example.com"),
            ("example.com:", "example.com"),
            ("my_app.internal", "my_app.internal"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[0:0:0:0:0:0:0:1]:8080", "[::1]"),
            ("[2001:DB8::00]", "[2001:db8::]"),
        ] {
            assert_eq!(canonical(authority).as_deref(), Ok(host), "{authority}");
            assert_eq!(canonical(host).as_deref(), Ok(host));
        }
    }

    #[test]
    fn c22_what_is_no_host_is_a_bad_request() {
        let long_label = "a".repeat(64);
        let long_name = ["a"; 127].join(".") + ".a";
        for authority in [
            "",
            ".",
            "..",
            ":80",
            ".:80",
            "a..b",
            ".a",
            "a..",
            "user@a",
            "a@b:80",
            "@",
            "a b",
            "a%2eb",
            "a/b",
            "a\\b",
            "a?b",
            "a,b",
            "a\0",
            "b\u{fc}cher.example",
            "*.example.com",
            "*",
            "a:b",
            "a:80:80",
            "a:+80",
            "a:0",
            "a:65536",
            "a:99999999999",
            "a:-1",
            "a: 80",
            "::1",
            "[::1",
            "[::1]80",
            "[::1]:x",
            "[::1%25eth0]",
            "[::1%eth0]",
            "[v1.a]",
            "[]",
            "[127.0.0.1]",
            "a]",
            "http://a",
            "a;b",
            "a'b",
            &*long_label,
            &*long_name,
        ] {
            assert!(matches!(canonical(authority), Err(Failure::BadRequest(_))), "{authority}");
        }
    }
}
