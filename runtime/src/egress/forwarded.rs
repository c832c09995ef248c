//! Who asked: `Forwarded`, the older names for the same, and `Via`.

use std::net::IpAddr;

use http::Version;
use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};
use http::uri::Scheme;

use super::Forward;
use crate::http::strip_prefix;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Says who asked, by RFC 7239 and by the older names. What stood there before is kept only if a trusted proxy wrote it.
pub(super) fn set(headers: &mut HeaderMap, forward: &Forward<'_>, host: Option<&HeaderValue>) {
    if forward.trusted_proxy.is_none() {
        headers.remove(header::FORWARDED);
        strip_prefix(headers, "forwarded");
        strip_prefix(headers, "x-forwarded-");
        strip_prefix(headers, "x-real-ip");
    }
    if !headers.get_all(header::FORWARDED).iter().all(|value| is_forwarded(value.as_bytes())) {
        // Readers that stop at what they cannot read would not come to our own element.
        headers.remove(header::FORWARDED);
    }
    let peer = forward.trusted_proxy.unwrap_or_else(|| forward.client.address.ip()).to_canonical();
    let scheme = forward.client.scheme();
    append(headers, header::FORWARDED, &element(peer, host, &scheme));
    append(headers, FORWARDED_FOR, &peer.to_string());
    if let Entry::Vacant(proto) = headers.entry(FORWARDED_PROTO) {
        proto.insert(HeaderValue::from_static(if scheme == Scheme::HTTPS { "https" } else { "http" }));
    }
    if let (Entry::Vacant(entry), Some(host)) = (headers.entry(FORWARDED_HOST), host) {
        entry.insert(host.clone());
    }
}

/// One `forwarded-element` (RFC 7239 §4). An IPv6 address stands in brackets and, as everything that is not a token, in quotes.
fn element(peer: IpAddr, host: Option<&HeaderValue>, scheme: &Scheme) -> String {
    let mut element = match peer {
        IpAddr::V4(address) => format!("for={address}"),
        IpAddr::V6(address) => format!("for=\"[{address}]\""),
    };
    if let Some(host) = host.and_then(|host| host.to_str().ok()) {
        let token = !host.is_empty() && host.bytes().all(is_token);
        element.push_str(";host=");
        if token {
            element.push_str(host);
        } else {
            element.push('"');
            element.push_str(&host.replace('\\', "\\\\").replace('"', "\\\""));
            element.push('"');
        }
    }
    element.push_str(";proto=");
    element.push_str(scheme.as_str());
    element
}

/// Whether a field is a list of `forwarded-element` (RFC 7239 §4): pairs with `;` between them, elements with `,`. Each may be empty.
fn is_forwarded(mut rest: &[u8]) -> bool {
    loop {
        rest = rest.trim_ascii_start();
        let name = token(&mut rest);
        if !name.is_empty() {
            let Some(value) = rest.strip_prefix(b"=") else { return false };
            rest = value;
            if !quoted(&mut rest) && token(&mut rest).is_empty() {
                return false;
            }
        }
        rest = rest.trim_ascii_start();
        match rest.split_first() {
            None => return true,
            Some((b';' | b',', after)) => rest = after,
            Some(_) => return false,
        }
    }
}

/// Takes a token from the front.
fn token<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = rest.iter().position(|byte| !is_token(*byte)).unwrap_or(rest.len());
    let (token, after) = rest.split_at(end);
    *rest = after;
    token
}

/// Takes a `quoted-string` (RFC 9110 §5.6.4) from the front, if there is a whole one.
fn quoted(rest: &mut &[u8]) -> bool {
    let Some(mut inner) = rest.strip_prefix(b"\"") else { return false };
    loop {
        inner = match inner {
            [b'"', after @ ..] => {
                *rest = after;
                return true;
            }
            [b'\\', _, after @ ..] | [_, after @ ..] => after,
            [] => return false,
        };
    }
}

/// `tchar` of RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Adds us to the list of those that a message passed (RFC 9110 §7.6.3), with the version in which we received it.
pub(super) fn append_via(headers: &mut HeaderMap, received: Version) {
    let version = match received {
        Version::HTTP_10 => "1.0 eyot",
        Version::HTTP_2 => "2 eyot",
        Version::HTTP_3 => "3 eyot",
        _ => "1.1 eyot",
    };
    append(headers, header::VIA, version);
}

/// Puts an element at the end of a list field, on one line: some readers look at the first line only, some at the last.
fn append(headers: &mut HeaderMap, name: HeaderName, element: &str) {
    let mut list = Vec::new();
    for value in headers.get_all(&name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(element.as_bytes());
    // Every part is a value already, or is ASCII.
    if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(list)) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::is_forwarded;

    #[test]
    fn a_forwarded_field_is_read_to_its_end() {
        for good in
            ["for=1.2.3.4", "for=\"[::1]:1\";proto=http , for=_x", "For=\"a\\\"b, c\";host=\"x\"", ", for=a;", ""]
        {
            assert!(is_forwarded(good.as_bytes()), "{good}");
        }
        for bad in ["for=\"1.2.3.4", "for", "for=", "for=a b", "for=[::1]", "for==a", "=a", "for=\"a\\", "for=\"a\"b"] {
            assert!(!is_forwarded(bad.as_bytes()), "{bad}");
        }
    }
}
