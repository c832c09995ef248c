//! What forgers try (RFC 8725 has most of it). Each test is a claim; the number in front groups the tricks of one kind.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, header};
use jsonwebtoken::{EncodingKey, crypto};
use serde_json::{Value, json};

use super::Verifier;
use super::fixtures::*;
use crate::config::{Algorithm, Auth, TokenSource};
use crate::failure::Failure;

const NOT_GOOD: &str = "the token's signature is not good";

#[test]
fn a_good_token_is_accepted_with_each_algorithm() {
    for found in ALL {
        let token = signed(found.0, &json!({ "alg": found.0 }).to_string(), &claims().to_string());
        assert!(verify(&verifier(&[found]), &token).is_ok(), "{found:?}");
        assert!(verify(&verifier(&ALL), &token).is_ok(), "{found:?} among all");
        for other in ALL.into_iter().filter(|other| other.0 != found.0) {
            assert_eq!(reason(&verifier(&[other]), &token), "there is no key for this token", "{found:?} by {other:?}");
        }
    }
}

#[test]
fn a01_a_token_that_names_no_algorithm_of_ours_is_refused() {
    let verifier = verifier(&[SECRET, RSA]);
    let claims = base64(claims().to_string());
    for name in
        ["none", "None", "NONE", "nOnE", "", "hs256", "HS256 ", "ES512", "HS224", "Ed448", "ed25519", "ES256K", "dir"]
    {
        let header = base64(json!({ "alg": name }).to_string());
        assert_eq!(reason(&verifier, &format!("{header}.{claims}.")), "the token is not signed", "{name}");
        let refused = "the token's algorithm is not accepted";
        assert_eq!(reason(&verifier, &format!("{header}.{claims}.AAAA")), refused, "{name}");
    }
    for alg in [json!(null), json!(0), json!(["HS256"]), json!({ "HS256": 1 }), json!(true)] {
        assert_eq!(reason(&verifier, &with_header(&json!({ "alg": alg }))), "the token names no algorithm");
    }
    for token in ["..", ".", "a", "a.b", "a.b.c.d", "a..b", "..a", ".a.b", "..."] {
        assert!(matches!(verify(&verifier, token), Err(Failure::Unauthorized { .. })), "{token}");
    }
}

#[test]
fn a02_a_public_key_is_never_taken_for_a_secret() {
    let verifier = verifier(&[RSA]);
    let public = std::fs::read(testdata("rsa.pub.pem")).unwrap();
    let message = format!("{}.{}", base64(r#"{"alg":"HS256"}"#), base64(claims().to_string()));
    let signature = crypto::sign(message.as_bytes(), &EncodingKey::from_secret(&public), Algorithm::HS256).unwrap();
    assert_eq!(reason(&verifier, &format!("{message}.{signature}")), "there is no key for this token");
    // The same signature under the name of the key's own algorithm.
    let message = format!("{}.{}", base64(r#"{"alg":"RS256"}"#), base64(claims().to_string()));
    assert_eq!(reason(&verifier, &format!("{message}.{signature}")), NOT_GOOD);
}

#[test]
fn a02_rs256_and_ps256_are_not_taken_for_each_other() {
    let claims = claims().to_string();
    assert_eq!(reason(&verifier(&[PSS]), &signed(Algorithm::RS256, r#"{"alg":"PS256"}"#, &claims)), NOT_GOOD);
    assert_eq!(reason(&verifier(&[RSA]), &signed(Algorithm::PS256, r#"{"alg":"RS256"}"#, &claims)), NOT_GOOD);
    assert_eq!(
        reason(&verifier(&[PSS]), &signed(Algorithm::RS256, r#"{"alg":"RS256"}"#, &claims)),
        "there is no key for this token"
    );
}

#[test]
fn a03_dates_that_are_no_dates_are_refused() {
    let verifier = verifier(&[SECRET]);
    let absurd = [
        "\"1900000000\"",
        "-1",
        "1e20",
        "1900000000000",
        "null",
        "true",
        "[]",
        "{}",
        "1e400",
        "-1e400",
        "99999999999999999999999",
    ];
    for name in ["exp", "nbf", "iat"] {
        for value in absurd {
            let rest = if name == "exp" { String::new() } else { format!(",\"exp\":{}", NOW + 60) };
            let token = signed(Algorithm::HS256, r#"{"alg":"HS256"}"#, &format!("{{\"{name}\":{value}{rest}}}"));
            let reason = reason(&verifier, &token);
            let unreadable = "the token's payload is not a JSON object of unique names";
            assert!(
                reason == format!("the token's {name} is not a date") || reason == unreadable,
                "{name}: {value}: {reason}"
            );
        }
    }
    assert_eq!(reason(&verifier, &with_claims(&json!({ "sub": "ada" }))), "the token has no exp");
    let fraction = json!({ "exp": NOW as f64 + 0.5 });
    assert!(verify(&verifier, &with_claims(&fraction)).is_ok(), "RFC 7519 §2 allows fractions");
}

#[test]
fn a03_a15_the_leeway_moves_each_bound_by_exactly_itself() {
    for leeway in [0, 1, 60] {
        let auth = Auth { leeway: Duration::from_secs(leeway), ..auth(&[key(SECRET, None)]) };
        let verifier = Verifier::load(&auth).unwrap();
        let exp = |exp| with_claims(&json!({ "exp": exp }));
        assert!(verify(&verifier, &exp(NOW - leeway + 1)).is_ok());
        assert_eq!(reason(&verifier, &exp(NOW - leeway)), "the token has expired");
        let nbf = |nbf| with_claims(&json!({ "exp": NOW + 600, "nbf": nbf }));
        assert!(verify(&verifier, &nbf(NOW + leeway)).is_ok());
        assert_eq!(reason(&verifier, &nbf(NOW + leeway + 1)), "the token is not valid yet");
        let iat = |iat| with_claims(&json!({ "exp": NOW + 600, "iat": iat }));
        assert!(verify(&verifier, &iat(NOW + leeway)).is_ok());
        assert_eq!(reason(&verifier, &iat(NOW + leeway + 1)), "the token was issued in the future");
    }
}

fn strict() -> Verifier {
    Verifier::load(&Auth {
        issuers: vec!["https://a.example".into(), "https://b.example".into()],
        audiences: vec!["shop".into(), "web".into()],
        ..auth(&[key(SECRET, None)])
    })
    .unwrap()
}

fn issued(issuer: Value, audience: Value) -> String {
    with_claims(&json!({ "exp": NOW + 60, "iss": issuer, "aud": audience }))
}

#[test]
fn a04_a_token_of_another_issuer_is_refused() {
    assert!(verify(&strict(), &issued(json!("https://b.example"), json!("shop"))).is_ok());
    for issuer in ["https://c.example", "https://a.example/", "https://A.example", ""] {
        assert_eq!(
            reason(&strict(), &issued(json!(issuer), json!("shop"))),
            "the token is of another issuer",
            "{issuer}"
        );
    }
    for issuer in [json!(null), json!(["https://a.example"]), json!(1)] {
        assert_eq!(reason(&strict(), &issued(issuer, json!("shop"))), "the token's iss is not a string");
    }
    let none = with_claims(&json!({ "exp": NOW + 60, "aud": "shop" }));
    assert_eq!(reason(&strict(), &none), "the token has no iss");
}

#[test]
fn a04_a_token_for_another_audience_is_refused() {
    let to = |audience| issued(json!("https://a.example"), audience);
    for good in [json!("shop"), json!(["shop"]), json!(["x", "web", "y"])] {
        assert!(verify(&strict(), &to(good)).is_ok());
    }
    for other in [json!("shops"), json!("Shop"), json!([]), json!(["x"]), json!("shop web"), json!("")] {
        assert_eq!(reason(&strict(), &to(other)), "the token is for another audience");
    }
    for wrong in [json!(null), json!(1), json!([1, "shop"]), json!({ "shop": 1 })] {
        assert_eq!(reason(&strict(), &to(wrong)), "the token's aud is neither a string nor a list of strings");
    }
    let none = with_claims(&json!({ "exp": NOW + 60, "iss": "https://a.example" }));
    assert_eq!(reason(&strict(), &none), "the token has no aud");
    for any in [json!("shop"), json!(["shop"]), json!([])] {
        let token = issued(json!("anyone"), any);
        assert_eq!(reason(&verifier(&[SECRET]), &token), "the token is for another audience", "we name none");
    }
}

#[test]
fn a04_a_token_of_another_type_is_refused() {
    let verifier = verifier(&[SECRET]);
    for good in ["JWT", "jwt", "at+jwt", "application/at+jwt", "Application/JWT"] {
        assert!(verify(&verifier, &with_header(&json!({ "typ": good }))).is_ok(), "{good}");
    }
    for other in ["dpop+jwt", "logout+jwt", "secevent+jwt", "JOSE", "JOSE+JSON", "application/", ""] {
        assert_eq!(
            reason(&verifier, &with_header(&json!({ "typ": other }))),
            "the token is of another type",
            "{other}"
        );
    }
    assert_eq!(reason(&verifier, &with_header(&json!({ "typ": 1 }))), "the token's typ is not a string");
}

#[test]
fn a05_kid_is_compared_and_nothing_else() {
    let ids = [key(SECRET, Some("one")), key(RSA, Some("two"))];
    let named = Verifier::load(&auth(&ids)).unwrap();
    let nameless = verifier(&[SECRET]);
    assert!(verify(&named, &with_header(&json!({ "kid": "one" }))).is_ok());
    assert!(verify(&named, &with_header(&json!({}))).is_ok(), "without kid each key of the algorithm is tried");
    let path = testdata("secret.txt").to_string_lossy().into_owned();
    let long = "k".repeat(5_000);
    let injections = [
        &*path,
        "/dev/null",
        "../../../../etc/passwd",
        "one' OR '1'='1",
        "http://127.0.0.1:1/",
        "two",
        "ONE",
        "",
        "one\0",
        &*long,
    ];
    for kid in injections {
        assert_eq!(reason(&named, &with_header(&json!({ "kid": kid }))), "there is no key for this token", "{kid:.40}");
        assert!(
            verify(&nameless, &with_header(&json!({ "kid": kid }))).is_ok(),
            "nothing to compare it with: {kid:.40}"
        );
    }
    let larger = with_header(&json!({ "kid": "k".repeat(10_000) }));
    assert_eq!(reason(&named, &larger), "the token is larger than 8 KiB");
    for kid in [json!(1), json!(null), json!(["one"])] {
        assert_eq!(reason(&named, &with_header(&json!({ "kid": kid }))), "the token's kid is not a string");
    }
}

#[test]
fn a05_among_keys_without_id_a_key_is_not_found_by_an_unknown_kid() {
    let verifier = Verifier::load(&auth(&[key(SECRET, None), key(P256, Some("two"))])).unwrap();
    assert_eq!(reason(&verifier, &with_header(&json!({ "kid": "x" }))), "there is no key for this token");
    assert!(verify(&verifier, &with_header(&json!({}))).is_ok());
}

#[test]
fn a05_each_key_of_the_algorithm_is_tried_in_turn() {
    let keys = [key((Algorithm::RS256, "rfc7515-a2.pub.pem"), Some("old")), key(RSA, Some("new"))];
    let verifier = Verifier::load(&auth(&keys)).unwrap();
    let token = |header: Value| signed(Algorithm::RS256, &header.to_string(), &claims().to_string());
    assert!(verify(&verifier, &token(json!({ "alg": "RS256" }))).is_ok());
    assert!(verify(&verifier, &token(json!({ "alg": "RS256", "kid": "new" }))).is_ok());
    assert_eq!(reason(&verifier, &token(json!({ "alg": "RS256", "kid": "old" }))), NOT_GOOD);
}

#[test]
fn a06_keys_that_a_token_brings_along_are_ignored() {
    let verifier = verifier(&[RSA]);
    let forger = EncodingKey::from_rsa_pem(&std::fs::read(testdata("rsa-other.key.pem")).unwrap()).unwrap();
    let certificate = "MIIB".repeat(50);
    let brought = [
        json!({ "jku": "http://127.0.0.1:1/keys" }),
        json!({ "x5u": "file:///etc/passwd" }),
        json!({ "jwk": { "kty": "RSA", "n": "AQAB", "e": "AQAB" } }),
        json!({ "x5c": [certificate], "x5t": "x", "x5t#S256": 1 }),
    ];
    for mut header in brought {
        header["alg"] = json!("RS256");
        let header = header.to_string();
        assert!(verify(&verifier, &signed(Algorithm::RS256, &header, &claims().to_string())).is_ok(), "{header}");
        let message = format!("{}.{}", base64(&header), base64(claims().to_string()));
        let signature = crypto::sign(message.as_bytes(), &forger, Algorithm::RS256).unwrap();
        assert_eq!(reason(&verifier, &format!("{message}.{signature}")), NOT_GOOD, "{header}");
    }
}

#[test]
fn a09_a_changed_character_anywhere_is_refused() {
    for found in [SECRET, P256, ED25519] {
        let jws = found.0;
        let verifier = verifier(&[found]);
        let token = signed(jws, &json!({ "alg": jws }).to_string(), &claims().to_string());
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(matches!(verify(&verifier, &changed), Err(Failure::Unauthorized { .. })), "{jws:?} at {at}");
            assert!(verify(&verifier, &token[..at]).is_err(), "{jws:?} cut at {at}");
        }
    }
}

#[test]
fn a09_a_header_or_payload_that_is_not_one_strict_object_is_refused() {
    let verifier = verifier(&[SECRET]);
    let good = claims().to_string();
    let not_strict = "the token's header is not a JSON object of unique names";
    for header in
        [r#"{"alg":"none","alg":"HS256"}"#, r#"{"alg":"HS256","\u0061lg":"none"}"#, "[]", "null", "HS256", "{} {}"]
    {
        assert_eq!(reason(&verifier, &signed(Algorithm::HS256, header, &good)), not_strict, "{header}");
    }
    let duplicate = format!(r#"{{"exp":{0},"sub":"ada","exp":{0}}}"#, NOW + 60);
    for payload in [&*duplicate, "[]", "\"text\"", "null", "", "{\"exp\":01}"] {
        let token = signed(Algorithm::HS256, r#"{"alg":"HS256"}"#, payload);
        assert!(matches!(verify(&verifier, &token), Err(Failure::Unauthorized { .. })), "{payload}");
    }
    for wrong in [json!({ "sub": 1 }), json!({ "sub": null }), json!({ "scope": ["a"] }), json!({ "scope": 1 })] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        assert!(reason(&verifier, &with_claims(&claims)).ends_with("is not a string"), "{claims}");
    }
}

#[test]
fn a10_a_psychic_signature_is_refused() {
    let verifier = verifier(&[P256]);
    let message = format!("{}.{}", base64(r#"{"alg":"ES256"}"#), base64(claims().to_string()));
    let order = super::token::decode("_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE").unwrap();
    for signature in [vec![0; 64], vec![0xff; 64], [&order[..], &order].concat(), vec![0; 63], vec![0; 65], vec![1]] {
        assert_eq!(reason(&verifier, &format!("{message}.{}", base64(signature))), NOT_GOOD);
    }
}

#[test]
fn a10_base64_has_one_spelling() {
    let verifier = verifier(&[SECRET]);
    let token = with_claims(&claims());
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!() };
    // 32 bytes leave two bits behind the last one; only zeroes are canonical.
    let last = signature.chars().last().unwrap();
    let next = char::from_u32(last as u32 + 1).unwrap();
    let loose = format!("{header}.{payload}.{}{next}", &signature[..signature.len() - 1]);
    for spelling in [format!("{token}="), format!("{header}=.{payload}.{signature}"), loose, format!("{token}\u{20}")] {
        assert!(matches!(verify(&verifier, &spelling), Err(Failure::Unauthorized { .. })), "{spelling}");
    }
    for bad in ["+", "/", "~", "\"", "%2E", "\t"] {
        assert_eq!(reason(&verifier, &format!("{token}{bad}")), "the token has characters that no token has", "{bad}");
    }
}

#[test]
fn a10_a_token_is_bounded_at_8_kib() {
    let verifier = verifier(&[SECRET]);
    // Base64 has no token of each length, so the payload grows until the token is as long as it may be.
    let sized = |fill: usize| with_claims(&json!({ "exp": NOW + 60, "fill": "x".repeat(fill) }));
    let fill = (5_000..7_000).rev().find(|fill| sized(*fill).len() <= super::token::LARGEST).unwrap();
    assert!(verify(&verifier, &sized(fill)).is_ok());
    assert_eq!(reason(&verifier, &sized(fill + 3)), "the token is larger than 8 KiB");
}

#[test]
fn a11_two_tokens_are_a_bad_request_and_no_token_is_unauthorized() {
    let verifier = verifier(&[SECRET]);
    let good = HeaderValue::try_from(format!("Bearer {}", with_claims(&claims()))).unwrap();
    let now = Duration::from_secs(NOW);
    let mut headers = HeaderMap::new();
    assert_eq!(verifier.verify_at(&headers, now).unwrap_err().status(), 401);
    headers.append(header::AUTHORIZATION, good.clone());
    assert!(verifier.verify_at(&headers, now).is_ok());
    headers.append(header::AUTHORIZATION, good);
    assert_eq!(verifier.verify_at(&headers, now).unwrap_err().status(), 400);
}

#[test]
fn a12_a_cookie_is_only_looked_at_when_it_is_the_source() {
    let cookie = Auth { source: TokenSource::Cookie("session".into()), ..auth(&[key(SECRET, None)]) };
    let token = with_claims(&claims());
    let value = HeaderValue::try_from(format!("a=b; session={token}")).unwrap();
    let cookies = HeaderMap::from_iter([(header::COOKIE, value)]);
    let now = Duration::from_secs(NOW);
    assert!(Verifier::load(&cookie).unwrap().verify_at(&cookies, now).is_ok());
    assert!(Verifier::load(&cookie).unwrap().verify_at(&bearer(&token), now).is_err());
    assert!(verifier(&[SECRET]).verify_at(&cookies, now).is_err());
}

#[test]
fn a12_no_message_repeats_the_token() {
    let token = with_claims(&json!({ "exp": 1 }));
    let failure = verify(&verifier(&[SECRET]), &token).unwrap_err();
    let shown = format!("{failure} {failure:?}");
    assert!(token.split('.').all(|part| !shown.contains(part)), "{shown}");
    let identity = verify(&verifier(&[SECRET]), &with_claims(&claims())).unwrap();
    assert!(!format!("{identity:?}").contains("ada"));
}

#[test]
fn a17_what_changes_the_meaning_of_a_token_is_refused() {
    let verifier = verifier(&[SECRET]);
    let changes = [
        json!({ "crit": ["exp"], "exp": 1 }),
        json!({ "crit": [] }),
        json!({ "crit": null }),
        json!({ "b64": false, "crit": ["b64"] }),
        json!({ "b64": false }),
        json!({ "b64": true }),
        json!({ "zip": "DEF" }),
        json!({ "enc": "A128GCM" }),
    ];
    for header in changes {
        assert!(matches!(verify(&verifier, &with_header(&header)), Err(Failure::Unauthorized { .. })), "{header}");
    }
    let token = with_header(&json!({}));
    assert_eq!(reason(&verifier, &format!("{token}.AAAA.AAAA")), "encrypted tokens are not accepted");
    let nested = signed(Algorithm::HS256, r#"{"alg":"HS256","cty":"JWT"}"#, &token);
    assert_eq!(reason(&verifier, &nested), "the token's payload is not a JSON object of unique names");
}

#[test]
fn a_token_without_a_needed_scope_is_forbidden_and_told_which() {
    let scopes = vec!["read".to_owned(), "write".to_owned()];
    let verifier = Verifier::load(&Auth { scopes, ..auth(&[key(SECRET, None)]) }).unwrap();
    let with = |scope: &str| verify(&verifier, &with_claims(&json!({ "exp": NOW + 60, "scope": scope })));
    assert_eq!(with("write x read").unwrap().scopes, ["write", "x", "read"]);
    for scope in ["", "read", "reads write", "read,write", "READ WRITE", "readwrite"] {
        let Err(Failure::InsufficientScope { challenge }) = with(scope) else { panic!("{scope}") };
        assert!(challenge.contains("error=\"insufficient_scope\"") && challenge.contains("scope=\"read write\""));
    }
    assert!(matches!(verify(&verifier, &with_claims(&claims())), Err(Failure::InsufficientScope { .. })));
    let expired = json!({ "exp": NOW - 1, "scope": "" });
    assert_eq!(reason(&verifier, &with_claims(&expired)), "the token has expired", "before its scopes are looked at");
}

#[test]
fn nothing_that_is_sent_makes_it_panic() {
    let verifier = verifier(&[SECRET, RSA, PSS, P256, ED25519]);
    let token = with_claims(&claims());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..20_000 {
        let mut bytes = token.clone().into_bytes();
        for _ in 0..next() % 4 {
            let at = next() as usize % bytes.len();
            match next() % 3 {
                0 => bytes[at] = b"ABCxyz019-_.=,"[next() as usize % 14],
                1 => bytes.truncate(at + 1),
                _ => bytes.insert(at, next() as u8 | 0x20),
            }
        }
        let Ok(value) = HeaderValue::from_bytes(&[b"Bearer ", &bytes[..]].concat()) else { continue };
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
        if verifier.verify_at(&headers, Duration::from_secs(NOW)).is_ok() {
            assert_eq!(bytes, token.as_bytes());
        }
    }
}

/// Prints what a rejection costs: `cargo test --release --lib auth:: -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn the_cost_of_a_decision() {
    let verifier = verifier(&[SECRET, RSA, P256, ED25519]);
    let claims = claims().to_string();
    let cases = [
        ("no token", HeaderMap::new()),
        ("alg none", bearer(&format!("{}.{}.AAAA", base64(r#"{"alg":"none"}"#), base64(&claims)))),
        ("forged HS256", bearer(&format!("{}.{}.AAAA", base64(r#"{"alg":"HS256"}"#), base64(&claims)))),
        ("expired HS256", bearer(&with_claims(&json!({ "exp": 1 })))),
        ("good HS256", bearer(&signed(Algorithm::HS256, r#"{"alg":"HS256"}"#, &claims))),
        ("good RS256", bearer(&signed(Algorithm::RS256, r#"{"alg":"RS256"}"#, &claims))),
        ("good ES256", bearer(&signed(Algorithm::ES256, r#"{"alg":"ES256"}"#, &claims))),
        ("good EdDSA", bearer(&signed(Algorithm::EdDSA, r#"{"alg":"EdDSA"}"#, &claims))),
    ];
    for (name, headers) in cases {
        let start = Instant::now();
        for _ in 0..10_000 {
            let _ = std::hint::black_box(verifier.verify_at(&headers, Duration::from_secs(NOW)));
        }
        println!("{name}: {:?}", start.elapsed() / 10_000);
    }
}
