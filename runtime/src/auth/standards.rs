//! Tokens that others made: the vectors of RFC 7515 and RFC 8037, and those of PyJWT (`testdata/mint.py`).

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use super::Verifier;
use super::fixtures::*;
use crate::config::{Algorithm, Auth, Key, Place};
use crate::failure::Failure;

const RFC7515_PAYLOAD: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const RFC7515_EXP: u64 = 1_300_819_380;

fn accepts_until_it_expires(verifier: &Verifier, token: &str) {
    let at = |seconds| verifier.verify_at(&bearer(token), Duration::from_secs(seconds));
    let identity = at(RFC7515_EXP - 1).unwrap();
    assert_eq!(identity.issuer.as_deref(), Some("joe"));
    assert_eq!(&*identity.claims, "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}");
    assert_eq!(identity.header_value(), RFC7515_PAYLOAD);
    assert_eq!(identity.expires, UNIX_EPOCH + Duration::from_secs(RFC7515_EXP));
    assert!(at(RFC7515_EXP).is_err());
}

#[test]
fn rfc_7515_a_1_hs256_is_accepted() {
    let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&super::token::decode(secret).unwrap()).unwrap();
    let key = Key { algorithm: Algorithm::HS256, file: file.path().to_owned(), id: None, place: Place::default() };
    let verifier = Verifier::load(&auth(&[key])).unwrap();
    let token = format!(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{RFC7515_PAYLOAD}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
    accepts_until_it_expires(&verifier, &token);
}

#[test]
fn rfc_7515_a_2_rs256_is_accepted() {
    let token = format!(
        "eyJhbGciOiJSUzI1NiJ9.{RFC7515_PAYLOAD}.{}",
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1\
         dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzD\
         wusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    );
    accepts_until_it_expires(&verifier(&[(Algorithm::RS256, "rfc7515-a2.pub.pem")]), &token);
}

#[test]
fn rfc_7515_a_3_es256_is_accepted() {
    let token = format!(
        "eyJhbGciOiJFUzI1NiJ9.{RFC7515_PAYLOAD}.\
         DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    );
    accepts_until_it_expires(&verifier(&[(Algorithm::ES256, "rfc7515-a3.pub.pem")]), &token);
}

#[test]
fn rfc_7515_a_5_unsecured_is_refused() {
    let token = format!("eyJhbGciOiJub25lIn0.{RFC7515_PAYLOAD}.");
    assert_eq!(reason(&verifier(&[SECRET]), &token), "the token is not signed");
}

/// Its payload is a sentence, not claims, so it is refused; but behind its signature, and with a changed one before.
#[test]
fn rfc_8037_a_4_eddsa_has_a_good_signature() {
    let verifier = verifier(&[(Algorithm::EdDSA, "rfc8037-a2.pub.pem")]);
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
                 hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(reason(&verifier, token), "the token's payload is not a JSON object of unique names");
    let changed = token.replace(".hgyY", ".hgyZ");
    assert_eq!(reason(&verifier, &changed), "the token's signature is not good");
}

#[test]
fn tokens_of_another_library_are_accepted_with_each_algorithm() {
    let tokens: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&std::fs::read(testdata("tokens.json")).unwrap()).unwrap();
    assert_eq!(tokens.len(), ALL.len());
    for found in ALL {
        let strict = Auth {
            issuers: vec!["https://issuer.example".into()],
            audiences: vec!["web".into()],
            scopes: vec!["write".into()],
            ..auth(&[key(found, Some("one"))])
        };
        let verifier = Verifier::load(&strict).unwrap();
        let token = tokens[&format!("{:?}", found.0)].as_str().unwrap();
        let identity = verify(&verifier, token).unwrap();
        assert_eq!(identity.subject.as_deref(), Some("Zo\u{eb}"));
        assert_eq!(identity.scopes, ["read", "write"]);
        assert_eq!(&*identity.auth, "test");
        let forged = format!("{}{}", &token[..token.len() - 2], if token.ends_with("AA") { "QQ" } else { "AA" });
        assert!(matches!(verify(&verifier, &forged), Err(Failure::Unauthorized { .. })), "{:?}", found.0);
    }
}

#[test]
fn the_name_that_rfc_9864_gives_eddsa_is_accepted_too() {
    let token = signed(Algorithm::EdDSA, r#"{"alg":"Ed25519"}"#, &claims().to_string());
    assert!(verify(&verifier(&[ED25519]), &token).is_ok());
}
