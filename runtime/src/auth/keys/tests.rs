//! Which files are keys, and what is said of those that are not.

use std::io::Write;

use serde_json::{Value, json};

use super::super::fixtures::{auth, claims, key, signed, testdata, verify};
use super::*;
use crate::auth::Verifier;
use crate::config::{Key, Place};

fn entry(algorithm: Algorithm, bytes: &[u8]) -> (Key, tempfile::NamedTempFile) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let place = Place { file: "node.toml".into(), line: 7, column: 8 };
    (Key { algorithm, file: file.path().to_owned(), id: None, place }, file)
}

/// What is wrong with it, and what to do.
fn refusal(algorithm: Algorithm, bytes: &[u8]) -> String {
    let (key, file) = entry(algorithm, bytes);
    let faults = load(&auth(&[key])).unwrap_err();
    assert_eq!(faults.0.len(), 1, "{faults}");
    assert_eq!(faults.0[0].place.line, 7, "the place is where the file is named");
    assert!(faults.0[0].message.contains(&*file.path().to_string_lossy()), "{faults}");
    format!("{} | {}", faults.0[0].message, faults.0[0].help.as_deref().unwrap())
}

fn accepted(algorithm: Algorithm, bytes: &[u8]) -> Vec<LoadedKey> {
    let (key, _file) = entry(algorithm, bytes);
    load(&auth(&[key])).unwrap_or_else(|faults| panic!("{algorithm:?}: {faults}"))
}

fn content(name: &str) -> Vec<u8> {
    std::fs::read(testdata(name)).unwrap()
}

#[track_caller]
fn refused(algorithm: Algorithm, name: &str, why: &str) {
    let message = refusal(algorithm, &content(name));
    assert!(message.contains(why), "{message}");
}

/// The bytes inside a PEM file.
fn der(pem: &str) -> Vec<u8> {
    use base64::Engine;
    let inside: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    base64::engine::general_purpose::STANDARD.decode(inside).unwrap()
}

/// One of the keys in the set, by its `kid`.
fn jwk(kid: &str) -> Value {
    let set: Value = serde_json::from_slice(&content("keys.jwks.json")).unwrap();
    set["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid).unwrap().clone()
}

#[test]
fn a_key_of_another_kind_is_refused_and_its_own_algorithm_named() {
    refused(Algorithm::RS256, "p256.pub.pem", "this is an elliptic curve key on P-256, and RS256 needs an RSA key");
    refused(Algorithm::RS256, "p256.pub.pem", "signs with this key (ES256)");
    refused(Algorithm::PS256, "ed25519.pub.pem", "this is an Ed25519 key, and PS256 needs an RSA key");
    refused(Algorithm::ES256, "rsa.pub.pem", "this is an RSA key");
    refused(Algorithm::EdDSA, "rsa.pkcs1.pem", "this is an RSA key");
    refused(Algorithm::EdDSA, "ed448.pub.pem", "not a public key that we can read");
    refused(
        Algorithm::ES256,
        "p384.pub.pem",
        "signs with this key (ES384), or make the other: openssl genpkey -algorithm EC",
    );
    refused(Algorithm::ES384, "p256.pub.pem", "ec_paramgen_curve:P-384");
    refused(Algorithm::ES256, "secp256k1.pub.pem", "on neither P-256 nor P-384");
    refused(Algorithm::ES256, "secp256k1.pub.pem", "ec_paramgen_curve:P-256");
    refused(Algorithm::RS256, "secret.txt", "needs a public key");
}

#[test]
fn a10_weak_and_damaged_keys_are_refused() {
    refused(Algorithm::RS256, "rsa-1024.pub.pem", "has 1024 bits");
    refused(Algorithm::PS512, "rsa-2047.pub.pem", "has 2047 bits");
    refused(Algorithm::ES256, "p256-off-curve.pub.pem", "damaged");
    let pem = String::from_utf8(content("rsa.pub.pem")).unwrap();
    assert!(refusal(Algorithm::RS256, &pem.as_bytes()[..200]).contains("not a public key"));
    assert!(refusal(Algorithm::RS256, format!("{pem}{pem}").as_bytes()).contains("more than one PEM block"));
    assert!(refusal(Algorithm::RS256, &vec![b'x'; 70_000]).contains("larger than any key"));
}

#[test]
fn private_keys_and_certificates_are_refused_with_the_command_that_helps() {
    refused(Algorithm::RS256, "rsa.key.pem", "a private key");
    refused(Algorithm::ES256, "p256.key.pem", "openssl pkey -in FILE -pubout");
    refused(Algorithm::RS256, "certificate.pem", "openssl x509");
}

#[test]
fn public_keys_are_read_as_spki_and_as_pkcs1() {
    for name in ["rsa.pub.pem", "rsa.pkcs1.pem"] {
        assert!(load(&auth(&[key((Algorithm::RS384, name), None)])).is_ok(), "{name}");
    }
}

#[test]
fn a_secret_is_as_long_as_the_hash_without_the_line_break_of_editors() {
    let parsed = |bytes: &[u8]| {
        secret::read(Algorithm::HS256, bytes).map(|key| key.try_get_as_bytes().unwrap().to_vec()).unwrap()
    };
    for (algorithm, least) in [(Algorithm::HS256, 32), (Algorithm::HS384, 48), (Algorithm::HS512, 64)] {
        let short = refusal(algorithm, &vec![b'x'; least - 1]);
        assert!(short.contains(&format!("has {} bytes; {algorithm:?} needs at least {least}", least - 1)), "{short}");
        accepted(algorithm, &vec![b'x'; least]);
    }
    assert!(refusal(Algorithm::HS256, b"").contains("has 0 bytes"));
    let line = [&[b'x'; 32][..], b"\n"].concat();
    assert_eq!(parsed(&line), [b'x'; 32]);
    assert!(refusal(Algorithm::HS256, &line[1..]).contains("has 31 bytes"));
    let binary = [&[0xff; 31][..], b"\n"].concat();
    assert_eq!(parsed(&binary), binary, "bytes that are no text are taken as they are");
}

#[test]
fn a02_a_published_key_in_any_form_is_no_secret() {
    let pem = String::from_utf8(content("rsa.pub.pem")).unwrap();
    let inside = pem.lines().filter(|line| !line.starts_with('-')).collect::<Vec<_>>().join("\n");
    let ssh = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGmHpPxKkTqZ1Nd3pQ7q2m3kFqvU8P1jT3P0m2vKc1eW me@home";
    for (bytes, what) in [
        (pem.as_bytes(), "a PEM file"),
        (format!("\n\n{pem}").as_bytes(), "a PEM file"),
        (format!("\u{feff}{pem}").as_bytes(), "a PEM file"),
        (format!("Bag Attributes\n    friendlyName: x\n{pem}").as_bytes(), "a PEM file"),
        (&content("certificate.pem"), "a PEM file"),
        (&der(&pem), "in DER"),
        (&der(&String::from_utf8(content("rsa.pkcs1.pem")).unwrap()), "in DER"),
        (&der(&String::from_utf8(content("p256.pub.pem")).unwrap()), "in DER"),
        (&der(&String::from_utf8(content("ed25519.pub.pem")).unwrap()), "in DER"),
        (&[der(&pem), b"\n".to_vec()].concat(), "in DER"),
        (inside.as_bytes(), "in DER"),
        (ssh.as_bytes(), "an SSH key"),
        (format!("\u{feff} {ssh}").as_bytes(), "an SSH key"),
        (b"ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY=", "an SSH key"),
        (b"---- BEGIN SSH2 PUBLIC KEY ----\nAAAAB3NzaC1yc2E=\n", "an SSH key"),
        (jwk("rsa").to_string().as_bytes(), "an RSA key, and HS256 needs a secret"),
        (format!("\u{feff}{}", jwk("p256")).as_bytes(), "on P-256, and HS256 needs a secret"),
        (&content("keys.jwks.json"), "none of the 7 keys in this set is for HS256"),
        (format!("{},", jwk("rsa")).as_bytes(), "a JWK that cannot be read"),
    ] {
        let message = refusal(Algorithm::HS256, bytes);
        assert!(message.contains(what), "{what}: {message}");
    }
    for good in ["sk-live-0123456789012345678901234567890123", "0 a secret { \"with\": everything } in it"] {
        accepted(Algorithm::HS256, good.as_bytes());
    }
}

#[test]
fn a_set_gives_the_keys_that_are_for_the_algorithm_with_their_ids() {
    let set = content("keys.jwks.json");
    for (algorithm, kid) in [
        (Algorithm::RS256, "rsa"),
        (Algorithm::PS512, "rsa"),
        (Algorithm::ES256, "p256"),
        (Algorithm::ES384, "p384"),
        (Algorithm::EdDSA, "ed25519"),
    ] {
        let keys = accepted(algorithm, &set);
        assert_eq!(keys.iter().map(|key| key.id.as_deref()).collect::<Vec<_>>(), [Some(kid)], "{algorithm:?}");
        let (entry, _file) = entry(algorithm, &set);
        let token =
            |kid| signed(algorithm, &json!({ "alg": algorithm, "kid": kid }).to_string(), &claims().to_string());
        let verifier = Verifier::load(&auth(&[entry])).unwrap();
        assert!(verify(&verifier, &token(kid)).is_ok(), "{algorithm:?}");
        assert!(verify(&verifier, &token("other")).is_err());
    }
}

#[test]
fn one_jwk_is_a_key_and_so_is_a_secret_in_one() {
    assert_eq!(accepted(Algorithm::ES256, jwk("p256").to_string().as_bytes())[0].id.as_deref(), Some("p256"));
    let secret = json!({ "kty": "oct", "k": super::super::fixtures::base64([7; 48]), "key_ops": ["sign", "verify"] });
    assert_eq!(accepted(Algorithm::HS384, secret.to_string().as_bytes())[0].key.try_get_as_bytes().unwrap(), [7; 48]);
    let short = refusal(Algorithm::HS512, secret.to_string().as_bytes());
    assert!(short.contains("has 48 bytes; HS512 needs at least 64"), "{short}");
}

#[test]
fn a_jwk_for_another_purpose_or_with_a_fault_is_refused() {
    let with = |kid: &str, name: &str, value: Value| {
        let mut key = jwk(kid);
        key[name] = value;
        key.to_string()
    };
    let weak = super::super::fixtures::base64([0xff; 128]);
    for (algorithm, key, why) in [
        (Algorithm::RS256, jwk("p256").to_string(), "an elliptic curve key on P-256"),
        (Algorithm::RS256, with("rsa", "use", json!("enc")), "its `use` is `enc`"),
        (Algorithm::RS256, with("rsa", "key_ops", json!(["encrypt"])), "do not hold `verify`"),
        (Algorithm::RS256, with("rsa", "alg", json!("RS512")), "its `alg` is RS512, not RS256"),
        (Algorithm::RS256, with("rsa", "alg", json!("RSA-OAEP")), "its `alg` is RSA-OAEP"),
        (Algorithm::RS256, with("rsa", "d", json!("AQAB")), "the key `rsa`: this is a private key"),
        (Algorithm::RS256, with("rsa", "n", json!(weak)), "has 1024 bits"),
        (Algorithm::RS256, with("rsa", "n", json!("not base64!")), "`n` is not there, or not base64url"),
        (Algorithm::RS256, with("rsa", "e", json!(null)), "`e` is not there"),
        (Algorithm::ES256, with("p256", "x", json!("AQAB")), "damaged"),
        (Algorithm::ES256, with("p256", "crv", json!("P-521")), "a key of kind EC on P-521"),
        (Algorithm::ES256, with("p256", "kty", json!(1)), "this is not a JWK"),
        (Algorithm::EdDSA, with("ed25519", "crv", json!("X25519")), "a key of kind OKP on X25519"),
        (Algorithm::ES256, json!({ "keys": [] }).to_string(), "none of the 0 keys"),
        (Algorithm::RS256, format!("{},", jwk("rsa")), "not valid JSON"),
    ] {
        let message = refusal(algorithm, key.as_bytes());
        assert!(message.contains(why), "{why}: {message}");
    }
}

#[test]
fn a_jwk_keeps_its_own_id() {
    let (entry, _file) = entry(Algorithm::ES256, jwk("p256").to_string().as_bytes());
    let faults = load(&auth(&[Key { id: Some("other".into()), ..entry.clone() }])).unwrap_err();
    assert!(faults.0[0].message.contains("the kid `p256`, and `id` says `other`"), "{faults}");
    assert!(load(&auth(&[Key { id: Some("p256".into()), ..entry.clone() }])).is_ok());
    let faults = load(&auth(&[entry.clone(), entry])).unwrap_err();
    assert!(faults.0[0].message.contains("two keys for ES256 have the id `p256`"), "{faults}");
}

#[test]
fn all_faults_are_told_together() {
    let faults = load(&auth(&[
        key((Algorithm::RS256, "missing.pem"), Some("a")),
        key((Algorithm::ES256, "rsa.pub.pem"), Some("b")),
        key((Algorithm::HS256, "secret.txt"), Some("c")),
        key((Algorithm::HS256, "secret.txt"), Some("c")),
    ]))
    .unwrap_err();
    assert_eq!(faults.0.len(), 3, "{faults}");
    assert!(faults.0.iter().all(|fault| fault.message.starts_with("auth `test`: ")));
}
