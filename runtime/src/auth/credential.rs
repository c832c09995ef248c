//! Where a token stands in a request. One rule for doubt: a request with two tokens in the place where we look has no single
//! meaning, and is refused with 400 (RFC 6750 §3.1, `invalid_request`).

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};

use super::challenge::Rejection;
use crate::config::TokenSource;

const TWO_TOKENS: &str = "the request has more than one token";

/// The token, its characters not yet looked at. Nowhere else is looked: no query, no body (RFC 6750 §2.2 and §2.3 are not for us).
pub(super) fn find<'h>(source: &TokenSource, headers: &'h HeaderMap) -> Result<&'h [u8], Rejection> {
    match source {
        TokenSource::Header => in_authorization(headers),
        TokenSource::Cookie(name) => in_cookie(name, headers),
    }
}

fn in_authorization(headers: &HeaderMap) -> Result<&[u8], Rejection> {
    let mut fields = headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
    let Some(field) = fields.next() else { return Err(Rejection::Missing) };
    if fields.next().is_some() {
        return Err(Rejection::Several("the request has more than one Authorization header"));
    }
    // auth-scheme [ 1*SP token68 ] (RFC 9110 §11.4).
    let end = field.iter().position(|byte| *byte == b' ').unwrap_or(field.len());
    let (scheme, rest) = field.split_at(end);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(Rejection::Missing);
    }
    let start = rest.iter().position(|byte| *byte != b' ').unwrap_or(rest.len());
    let token = &rest[start..];
    // Something on the way may have joined two fields by a comma (RFC 9110 §5.3).
    if token.contains(&b',') {
        return Err(Rejection::Several(TWO_TOKENS));
    }
    Ok(token)
}

/// The value of the one cookie of this name; none where there are several.
#[must_use]
pub fn cookie<'h>(name: &str, headers: &'h HeaderMap) -> Option<&'h [u8]> {
    in_cookie(name, headers).ok()
}

/// RFC 6265 §4.2.1. Not the `cookie` crate: a cookie of another name may hold bytes that are not UTF-8, and must not shut us out.
fn in_cookie<'h>(name: &str, headers: &'h HeaderMap) -> Result<&'h [u8], Rejection> {
    let mut found = None;
    // HTTP/2 may split cookies over several fields (RFC 9113 §8.2.3), so several fields are no fault.
    for field in headers.get_all(COOKIE) {
        for pair in field.as_bytes().split(|byte| *byte == b';') {
            let Some(equals) = pair.iter().position(|byte| *byte == b'=') else { continue };
            if pair[..equals].trim_ascii() != name.as_bytes() {
                continue;
            }
            if found.replace(pair[equals + 1..].trim_ascii()).is_some() {
                return Err(Rejection::Several(TWO_TOKENS));
            }
        }
    }
    found.ok_or(Rejection::Missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &[u8])]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap()))
            .collect()
    }

    fn bearer(value: &str) -> Result<Vec<u8>, Rejection> {
        find(&TokenSource::Header, &headers(&[("authorization", value.as_bytes())])).map(<[u8]>::to_vec)
    }

    fn cookie(fields: &[&[u8]]) -> Result<Vec<u8>, Rejection> {
        let fields: Vec<_> = fields.iter().map(|value| ("cookie", *value)).collect();
        find(&TokenSource::Cookie("session".into()), &headers(&fields)).map(<[u8]>::to_vec)
    }

    #[test]
    fn the_scheme_is_bearer_in_any_case_and_nothing_else() {
        for value in ["Bearer t", "bearer t", "BEARER t", "bEaReR    t"] {
            assert_eq!(bearer(value), Ok(b"t".to_vec()), "{value}");
        }
        for value in ["Basic dXNlcjpwYXNz", "Bearer\tt", "Bearert", "t", "Digest a=b, c=d", "\"Bearer\" t", ""] {
            assert_eq!(bearer(value), Err(Rejection::Missing), "{value}");
        }
        assert_eq!(bearer("Bearer"), Ok(vec![]), "an empty token, refused when it is read");
    }

    #[test]
    fn two_tokens_are_refused_whichever_way_they_come() {
        let two = [("authorization", &b"Bearer a"[..]), ("authorization", &b"Bearer a"[..])];
        assert!(matches!(find(&TokenSource::Header, &headers(&two)), Err(Rejection::Several(_))));
        let mixed = [("authorization", &b"Basic a"[..]), ("authorization", &b"Bearer a"[..])];
        assert!(matches!(find(&TokenSource::Header, &headers(&mixed)), Err(Rejection::Several(_))));
        assert!(matches!(bearer("Bearer a, Bearer b"), Err(Rejection::Several(_))));
        assert!(matches!(bearer("Bearer a,b"), Err(Rejection::Several(_))));
        assert!(matches!(cookie(&[b"session=a; session=a"]), Err(Rejection::Several(_))));
        assert!(matches!(cookie(&[b"session=a", b"session=b"]), Err(Rejection::Several(_))));
    }

    #[test]
    fn a_cookie_is_found_by_its_exact_name_among_others() {
        assert_eq!(cookie(&[b"a=b; session=t; c=d"]), Ok(b"t".to_vec()));
        assert_eq!(cookie(&[b"a=b", b"session=t"]), Ok(b"t".to_vec()), "as HTTP/2 splits them");
        assert_eq!(cookie(&[b"other=\xff\xfe; session=t"]), Ok(b"t".to_vec()));
        for fields in [&b"Session=t"[..], b"xsession=t", b"session_=t", b"session", b"=session=t", b"a=session=t", b""]
        {
            assert_eq!(cookie(&[fields]), Err(Rejection::Missing), "{fields:?}");
        }
    }

    #[test]
    fn a_source_is_not_looked_for_elsewhere() {
        let both = headers(&[("authorization", b"Bearer a"), ("cookie", b"session=b")]);
        assert_eq!(find(&TokenSource::Header, &both), Ok(&b"a"[..]));
        assert_eq!(find(&TokenSource::Cookie("session".into()), &both), Ok(&b"b"[..]));
        assert_eq!(find(&TokenSource::Cookie("token".into()), &both), Err(Rejection::Missing));
    }
}
