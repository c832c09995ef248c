//! What the tests of this room share: keys from `testdata/`, tokens of any form, a verifier and a clock that stands still.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use jsonwebtoken::{EncodingKey, crypto};
use serde_json::{Value, json};

use super::{Identity, Verifier};
use crate::config::{Algorithm, Auth, Key, Place, TokenSource};
use crate::failure::Failure;

/// The time of all tests, in seconds since 1970.
pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const SECRET: (Algorithm, &str) = (Algorithm::HS256, "secret.txt");
pub(super) const RSA: (Algorithm, &str) = (Algorithm::RS256, "rsa.pub.pem");
pub(super) const PSS: (Algorithm, &str) = (Algorithm::PS256, "rsa.pub.pem");
pub(super) const P256: (Algorithm, &str) = (Algorithm::ES256, "p256.pub.pem");
pub(super) const ED25519: (Algorithm, &str) = (Algorithm::EdDSA, "ed25519.pub.pem");
/// A key for each algorithm.
pub(super) const ALL: [(Algorithm, &str); 12] = [
    SECRET,
    (Algorithm::HS384, "secret-64.txt"),
    (Algorithm::HS512, "secret-64.txt"),
    RSA,
    (Algorithm::RS384, "rsa.pub.pem"),
    (Algorithm::RS512, "rsa.pub.pem"),
    PSS,
    (Algorithm::PS384, "rsa.pub.pem"),
    (Algorithm::PS512, "rsa.pub.pem"),
    P256,
    (Algorithm::ES384, "p384.pub.pem"),
    ED25519,
];

pub(super) fn testdata(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/auth/testdata")).join(name)
}

pub(super) fn key((algorithm, file): (Algorithm, &str), id: Option<&str>) -> Key {
    Key { algorithm, file: testdata(file), id: id.map(str::to_owned), place: Place::default() }
}

/// A way to authenticate that demands nothing but a good signature and a date.
pub(super) fn auth(keys: &[Key]) -> Auth {
    Auth {
        name: "test".into(),
        source: TokenSource::Header,
        keys: keys.to_vec(),
        issuers: vec![],
        audiences: vec![],
        leeway: Duration::ZERO,
        scopes: vec![],
        realm: "test".into(),
    }
}

pub(super) fn verifier(keys: &[(Algorithm, &str)]) -> Verifier {
    let keys: Vec<_> = keys.iter().map(|found| key(*found, None)).collect();
    Verifier::load(&auth(&keys)).unwrap()
}

pub(super) fn claims() -> Value {
    json!({ "sub": "ada", "exp": NOW + 60 })
}

pub(super) fn base64(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// Signs any header and payload, also ones that no library would make.
pub(super) fn signed(algorithm: Algorithm, header: &str, payload: &str) -> String {
    let pem = |name| std::fs::read(testdata(name)).unwrap();
    let key = match algorithm {
        Algorithm::HS256 => EncodingKey::from_secret(&pem("secret.txt")),
        Algorithm::HS384 | Algorithm::HS512 => EncodingKey::from_secret(&pem("secret-64.txt")),
        Algorithm::ES256 => EncodingKey::from_ec_pem(&pem("p256.key.pem")).unwrap(),
        Algorithm::ES384 => EncodingKey::from_ec_pem(&pem("p384.key.pem")).unwrap(),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(&pem("ed25519.key.pem")).unwrap(),
        _ => EncodingKey::from_rsa_pem(&pem("rsa.key.pem")).unwrap(),
    };
    let message = format!("{}.{}", base64(header), base64(payload));
    let signature = crypto::sign(message.as_bytes(), &key, algorithm).unwrap();
    format!("{message}.{signature}")
}

/// An HS256 token with these members added to its header, or replaced.
pub(super) fn with_header(members: &Value) -> String {
    let mut header = json!({ "alg": "HS256" });
    header.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    signed(Algorithm::HS256, &header.to_string(), &claims().to_string())
}

/// An HS256 token with these claims.
pub(super) fn with_claims(claims: &Value) -> String {
    signed(Algorithm::HS256, r#"{"alg":"HS256"}"#, &claims.to_string())
}

pub(super) fn bearer(token: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}")).unwrap())])
}

pub(super) fn verify(verifier: &Verifier, token: &str) -> Result<Identity, Failure> {
    verifier.verify_at(&bearer(token), Duration::from_secs(NOW))
}

/// The reason of a 401.
pub(super) fn reason(verifier: &Verifier, token: &str) -> &'static str {
    match verify(verifier, token) {
        Err(Failure::Unauthorized { reason, challenge }) => {
            assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
            assert!(challenge.contains(&format!("error_description=\"{reason}\"")), "{challenge}");
            reason
        }
        other => panic!("{token:.80}: {other:?}"),
    }
}
