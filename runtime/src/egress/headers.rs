//! Header fields between two connections: what ends here, what is added, what must be true of the framing.

use std::net::IpAddr;

use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};
use http::uri::Scheme;
use http::{Method, Version};

use super::Forward;
use crate::http::tokens;

pub(super) use crate::http::strip_hop_by_hop;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// The same for a request. `TE: trailers` is put back, as a promise of our own, because gRPC asks for it. The connection option
/// that RFC 9110 §10.1.4 wants beside it is left out: over HTTP/2 hyper would take the field away with it.
pub(super) fn strip_request(headers: &mut HeaderMap) {
    let trailers = tokens(headers, &header::TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    strip_hop_by_hop(headers);
    strip_ours(headers);
    if trailers {
        headers.insert(header::TE, TRAILERS);
    }
    // The one expectation that there is (RFC 9110 §10.1.1); others are for whoever reads us to refuse.
    if headers.get(header::EXPECT).is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        headers.remove(header::EXPECT);
    }
}

/// Takes away every `eyot-` field: the names are ours. `eyot_` too, because servers in the manner of CGI (RFC 3875 §4.1.18)
/// cannot tell the two apart.
pub(super) fn strip_ours(headers: &mut HeaderMap) {
    strip_prefix(headers, "eyot-");
}

/// The trailer section gets no other treatment than the header section (RFC 9110 §6.5.1).
pub(super) fn clean_trailers(trailers: &mut HeaderMap) {
    strip_hop_by_hop(trailers);
    strip_ours(trailers);
    for name in [header::CONTENT_LENGTH, header::HOST, header::TRAILER] {
        trailers.remove(name);
    }
}

fn strip_prefix(headers: &mut HeaderMap, prefix: &str) {
    let same = |(a, b): (u8, u8)| a == b || (a == b'_' && b == b'-');
    let matches =
        |name: &HeaderName| name.as_str().len() >= prefix.len() && name.as_str().bytes().zip(prefix.bytes()).all(same);
    while let Some(name) = headers.keys().find(|name| matches(name)).cloned() {
        headers.remove(name);
    }
}

/// Says who asked, by RFC 7239 and by the older names. What stood there before is kept only if a trusted proxy wrote it.
pub(super) fn set_forwarded(headers: &mut HeaderMap, forward: &Forward<'_>, host: Option<&HeaderValue>) {
    if forward.trusted_proxy.is_none() {
        headers.remove(header::FORWARDED);
        strip_prefix(headers, "forwarded");
        strip_prefix(headers, "x-forwarded-");
        strip_prefix(headers, "x-real-ip");
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

/// Makes the framing fields true to the body (RFC 9112 §6). A `Content-Length` that the body does not keep would let the rest of
/// one request be read as the next one, on a connection that others use. `length` is the body's, where it is known.
pub(super) fn set_framing(headers: &mut HeaderMap, method: &Method, length: Option<u64>) {
    headers.remove(header::TRANSFER_ENCODING);
    let Some(length) = length else {
        // Not known: one good number is kept, and hyper holds the body to it.
        let mut declared = headers.get_all(header::CONTENT_LENGTH).iter();
        let good = match (declared.next(), declared.next()) {
            (Some(value), None) => decimal(value),
            _ => false,
        };
        if !good {
            headers.remove(header::CONTENT_LENGTH);
            // Without this, hyper would leave the body of these out.
            if *method == Method::GET || *method == Method::HEAD {
                headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
        }
        return;
    };
    let expected = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    if length > 0 || expected {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    } else {
        headers.remove(header::CONTENT_LENGTH);
    }
}

fn decimal(value: &HeaderValue) -> bool {
    value.to_str().is_ok_and(|text| text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u64>().is_ok())
}

/// Why the framing of a response cannot be believed, if so. hyper reads past these; two readers may not agree on them (RFC 9112
/// §6.3, §11.2), and a coding that is not `chunked` is lost with the field that names it.
pub(super) fn bad_framing(headers: &HeaderMap) -> Option<&'static str> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        if headers.contains_key(header::CONTENT_LENGTH) {
            return Some("both Transfer-Encoding and Content-Length");
        }
        let mut codings = tokens(headers, &header::TRANSFER_ENCODING);
        let chunked = codings.next().is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        if !chunked || codings.next().is_some() {
            return Some("a transfer coding that was not asked for");
        }
    } else if headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        return Some("more than one Content-Length");
    }
    None
}
