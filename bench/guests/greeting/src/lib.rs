//! What `jwt` does in every subject that is written in Rust: verify an HS256 token, choose a language, answer JSON.
//!
//! `bench/javascript/greeting.mjs` does the same, to the byte.

use std::sync::LazyLock;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};

/// The type of all answers.
pub const MEDIA_TYPE: &str = "application/json";

/// What `bench/workloads.py` signs with: a key for this benchmark, and no secret.
const KEY: &[u8] = b"this key signs the tokens of a benchmark, nothing else";

/// The languages that there is a greeting in; the first where none of them is asked for.
const GREETINGS: [(&str, &str); 8] = [
    ("en", "Welcome"),
    ("ar", "أهلا وسهلا"),
    ("de", "Willkommen"),
    ("es", "Bienvenido"),
    ("fr", "Bienvenue"),
    ("hi", "स्वागत है"),
    ("ja", "ようこそ"),
    ("pt", "Bem-vindo"),
];

/// A server that lives on makes these once, a fresh isolate for its one request: that is part of what it costs to be fresh.
static VERIFIER: LazyLock<(DecodingKey, Validation)> =
    LazyLock::new(|| (DecodingKey::from_secret(KEY), Validation::new(Algorithm::HS256)));

/// What to send back.
pub struct Answer {
    /// 200, or 401 where the token is not good.
    pub status: u16,
    /// JSON.
    pub body: Vec<u8>,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

#[derive(Serialize)]
struct Greeting<'a> {
    user: &'a str,
    language: &'static str,
    greeting: &'static str,
}

/// The answer to a request with these values of `Authorization` and `Accept-Language`.
pub fn answer(authorization: Option<&str>, accept_language: Option<&str>) -> Answer {
    let Some(claims) = authorization.and_then(verified) else {
        return Answer { status: 401, body: br#"{"error":"the token is not good"}"#.to_vec() };
    };
    let (language, greeting) = negotiated(accept_language.unwrap_or(""));
    let greeting = Greeting { user: &claims.sub, language, greeting };
    Answer { status: 200, body: serde_json::to_vec(&greeting).expect("three strings are JSON") }
}

fn verified(authorization: &str) -> Option<Claims> {
    let (key, rules) = &*VERIFIER;
    let token = authorization.strip_prefix("Bearer ")?;
    Some(jsonwebtoken::decode(token, key, rules).ok()?.claims)
}

/// Our language that weighs most in a list such as `de-CH, fr;q=0.7`, by its first subtag; the earlier one of two that weigh the same.
fn negotiated(accept_language: &str) -> (&'static str, &'static str) {
    let mut chosen = (GREETINGS[0], 0.0);
    for range in accept_language.split(',') {
        let (tag, weight) = match range.split_once(";q=") {
            Some((tag, weight)) => (tag, weight.trim().parse().unwrap_or(0.0)),
            None => (range, 1.0),
        };
        let (language, _) = tag.split_once('-').unwrap_or((tag, ""));
        let ours = GREETINGS.iter().find(|(ours, _)| ours.eq_ignore_ascii_case(language.trim()));
        if let Some(&ours) = ours
            && weight > chosen.1
        {
            chosen = (ours, weight);
        }
    }
    chosen.0
}
