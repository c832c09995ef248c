//! A token before it is believed: JWS compact serialization (RFC 7515 §7.1) and its header, read strictly.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::json::Object;
use crate::config::{self, Algorithm};

/// Ours, not a limit of the standard: what browsers allow two cookies to hold, far above what issuers make (1 to 2 KiB). It bounds
/// the work that a token can cause before its signature is checked.
pub(super) const LARGEST: usize = 8 * 1024;

/// A token in its parts. Nothing in it has been verified.
#[derive(Debug)]
pub(super) struct Token<'t> {
    /// Header and payload with the dot between them, as they were signed.
    pub(super) signed: &'t str,
    /// Base64url.
    pub(super) payload: &'t str,
    /// Base64url.
    pub(super) signature: &'t str,
    /// What the token says that it was signed with. It must agree with a key; it chooses none.
    pub(super) algorithm: Algorithm,
    /// The key's id, compared with those of the configuration and used for nothing else.
    pub(super) key_id: Option<String>,
}

impl<'t> Token<'t> {
    pub(super) fn parse(bytes: &'t [u8]) -> Result<Self, &'static str> {
        if bytes.len() > LARGEST {
            return Err("the token is larger than 8 KiB");
        }
        if bytes.is_empty() {
            return Err("the token is empty");
        }
        // token68 (RFC 9110 §11.2); base64url without padding and the dot are all that a JWS has of it.
        let text = std::str::from_utf8(bytes).map_err(|_| "the token has characters that no token has")?;
        if !bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')) {
            return Err("the token has characters that no token has");
        }
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), extra) =
            (parts.next(), parts.next(), parts.next(), parts.count())
        else {
            return Err("the token is not a signed JWT");
        };
        match extra {
            0 => {}
            2 => return Err("encrypted tokens are not accepted"),
            _ => return Err("the token is not a signed JWT"),
        }
        if header.is_empty() || payload.is_empty() {
            return Err("the token is not a signed JWT");
        }
        if signature.is_empty() {
            return Err("the token is not signed");
        }
        let (algorithm, key_id) = read_header(header)?;
        let signed = &text[..header.len() + 1 + payload.len()];
        Ok(Self { signed, payload, signature, algorithm, key_id })
    }
}

/// Strict base64url: no padding, no bits behind the last byte, so that each byte string has one spelling.
pub(super) fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

fn read_header(part: &str) -> Result<(Algorithm, Option<String>), &'static str> {
    let bytes = decode(part).ok_or("the token's header is not base64url")?;
    let header = Object::parse(&bytes).ok_or("the token's header is not a JSON object of unique names")?;
    // What changes the meaning of a token and is not understood (RFC 7515 §4.1.11, RFC 7797 §3, RFC 7516 §4.1).
    // `jku`, `jwk`, `x5u`, `x5c`, `x5t` bring keys along; ours come from the configuration, so they are not even read.
    for (name, reason) in [
        ("crit", "the token needs extensions that are not understood"),
        ("b64", "the token's payload is not base64url"),
        ("zip", "compressed tokens are not accepted"),
        ("enc", "encrypted tokens are not accepted"),
    ] {
        if header.has(name) {
            return Err(reason);
        }
    }
    let kind = header.string("typ").map_err(|_| "the token's typ is not a string")?;
    if !kind.is_none_or(|kind| is_access_token(&kind)) {
        return Err("the token is of another type");
    }
    let algorithm = match header.string("alg") {
        Ok(Some(name)) => config::algorithm_named(&name).ok_or("the token's algorithm is not accepted")?,
        _ => return Err("the token names no algorithm"),
    };
    let key_id = header.string("kid").map_err(|_| "the token's kid is not a string")?;
    Ok((algorithm, key_id.map(Cow::into_owned)))
}

/// Tokens made for another purpose, by the same issuer and key, are not for us (RFC 8725 §3.11, RFC 9068 §2.1).
fn is_access_token(kind: &str) -> bool {
    let kind = match kind.split_at_checked("application/".len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
        _ => kind,
    };
    kind.eq_ignore_ascii_case("jwt") || kind.eq_ignore_ascii_case("at+jwt")
}
