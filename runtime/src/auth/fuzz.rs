//! Any `Authorization`: nothing is accepted that our key did not sign, and what it did sign is accepted only if its claims hold.

use std::sync::LazyLock;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use serde_json::Value;

use super::Verifier;
use super::fixtures::{ED25519, NOW, P256, RSA, SECRET, signed, verifier};
use crate::config::Algorithm;
use crate::failure::Failure;

/// Keys of every kind: a token that one of them verifies must not be good by another.
static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| verifier(&[SECRET, RSA, P256, ED25519]));

/// The value of `Authorization`; or, where it begins with a brace, the JSON of a token's header, and behind its line the payload: these
/// are signed by our secret, to come by the signature.
///
/// # Panics
/// When a token is accepted that should not be, or a refusal cannot be sent.
pub fn token(input: &[u8]) {
    if input.starts_with(b"{") {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let (head, payload) = text.split_once('\n').unwrap_or((text, ""));
        let token = signed(Algorithm::HS256, head, payload);
        if verified(format!("Bearer {token}").as_bytes()) {
            check_claims(head, payload);
        }
    } else if verified(input) {
        let token = input.split(|byte| *byte == b' ').next_back().unwrap_or_default();
        let text = std::str::from_utf8(token).expect("a token is ASCII");
        let (message, signature) = text.rsplit_once('.').expect("a token has a signature");
        let secret = std::fs::read(super::fixtures::testdata("secret.txt")).expect("the secret");
        let key = jsonwebtoken::EncodingKey::from_secret(&secret);
        let own = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("a signature");
        assert_eq!(own, signature, "somebody else signed {text}");
    }
}

/// Whether a request with this field is somebody's.
fn verified(field: &[u8]) -> bool {
    let Ok(value) = HeaderValue::from_bytes(field) else { return false };
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
    let challenge = match VERIFIER.verify_at(&headers, Duration::from_secs(NOW)) {
        Ok(_) => return true,
        Err(
            Failure::Unauthorized { challenge, .. }
            | Failure::InsufficientScope { challenge }
            | Failure::AmbiguousToken { challenge, .. },
        ) => challenge,
        Err(other) => panic!("{other:?}"),
    };
    HeaderValue::try_from(&challenge).unwrap_or_else(|_| panic!("{challenge:?} is no field"));
    false
}

/// What a token must say to be good here, read in another way (RFC 7519 §4.1, RFC 7515 §4.1).
fn check_claims(head: &str, payload: &str) {
    let head: Value = serde_json::from_str(head).expect("the header is JSON");
    assert_eq!(head["alg"], "HS256");
    assert!(head.get("crit").is_none() && head.get("b64").is_none(), "{head}");
    let claims: Value = serde_json::from_str(payload).expect("the payload is JSON");
    let time = |name: &str| claims.get(name).map(|time| time.as_f64().expect("a time is a number"));
    assert!(time("exp").expect("it ends") > NOW as f64, "{payload}");
    assert!(time("nbf").is_none_or(|begins| begins <= NOW as f64), "{payload}");
    // We have no name, so no token can be meant for us that names somebody.
    assert!(claims.get("aud").is_none(), "{payload}");
}
