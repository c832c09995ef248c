//! Header fields between two connections: what ends here, and what must be true of the framing.

use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::http::{strip_hop_by_hop, strip_names, strip_ours, strip_prefix, tokens};

const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// Framing, in a spelling that is no framing to us, but may be to a server in the manner of CGI (RFC 3875 §4.1.18).
const DISGUISED: [HeaderName; 2] =
    [HeaderName::from_static("content_length"), HeaderName::from_static("transfer_encoding")];

/// What has a meaning in the header section only (RFC 9110 §6.5.1): framing, routing, authentication, caching, how the content is
/// to be read, and everything that this node sets or takes away there.
const NOT_IN_TRAILERS: &[&str] = &[
    "age",
    "authorization",
    "cache-control",
    "cdn-loop",
    "cookie",
    "date",
    "expect",
    "expires",
    "host",
    "location",
    "max-forwards",
    "pragma",
    "range",
    "retry-after",
    "set-cookie",
    "traceparent",
    "tracestate",
    "trailer",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-real-ip",
    "x-request-id",
];

/// Takes from a request what is meant for one connection only, and what is ours. `TE: trailers` is put back, as a promise of our own,
/// because gRPC asks for it.
pub(super) fn strip_request(headers: &mut HeaderMap) {
    let trailers = tokens(headers, &header::TE).any(|token| token.eq_ignore_ascii_case(b"trailers"));
    strip_hop_by_hop(headers);
    strip_ours(headers);
    for name in DISGUISED {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, TRAILERS);
    }
    // The one expectation that there is (RFC 9110 §10.1.1); others are for whoever reads us to refuse.
    if headers.get(header::EXPECT).is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        headers.remove(header::EXPECT);
    }
}

/// Over HTTP/1.1, `TE` is meant for one connection, and must say so (RFC 9110 §10.1.4). Over HTTP/2 there is no such field.
pub(super) fn name_te(headers: &mut HeaderMap) {
    if headers.contains_key(header::TE) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("TE"));
    }
}

/// Takes from a trailer section what does not belong there: a reader who merges it into the header section would be told what the
/// header section was kept from saying.
pub(super) fn clean_trailers(trailers: &mut HeaderMap) {
    strip_hop_by_hop(trailers);
    strip_ours(trailers);
    for prefix in ["content-", "forwarded", "if-", "proxy-", "transfer-encoding", "x-forwarded-"] {
        strip_prefix(trailers, prefix);
    }
    strip_names(trailers, NOT_IN_TRAILERS);
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
        let chunked = codings.next().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
        if !chunked || codings.next().is_some() {
            return Some("a transfer coding that was not asked for");
        }
    } else if headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        return Some("more than one Content-Length");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_say_nothing_that_only_the_header_section_may_say() {
        let mut trailers = HeaderMap::new();
        for name in [
            "grpc-status",
            "x-checksum",
            "digest",
            "eyot-claims",
            "host",
            "forwarded",
            "x-forwarded-for",
            "x_forwarded_proto",
            "x-real-ip",
            "x-request-id",
            "traceparent",
            "tracestate",
            "authorization",
            "cookie",
            "set-cookie",
            "via",
            "cdn-loop",
            "content-type",
            "content-length",
            "content_encoding",
            "transfer_encoding",
            "cache-control",
            "if-match",
            "te",
            "trailer",
        ] {
            trailers.insert(name, HeaderValue::from_static("x"));
        }
        clean_trailers(&mut trailers);
        let mut left: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["digest", "grpc-status", "x-checksum"]);
    }
}
