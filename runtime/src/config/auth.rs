//! `[[auth]]` of node.toml: the named ways to authenticate.

use std::path::PathBuf;
use std::time::Duration;

/// The signature algorithms that we verify (RFC 7518 §3.1, RFC 8037 §3.1).
pub use jsonwebtoken::Algorithm;
use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::Place;
use super::form;
use super::origin::{NAME, existing_file};
use super::reader::{Key as Field, Table, Wrong, key};
use super::units;

/// A named way to authenticate: which tokens are good.
#[derive(Clone, Debug)]
pub struct Auth {
    /// The name that routes and workers use.
    pub name: String,
    /// Where the token stands in a request.
    pub source: TokenSource,
    /// The keys; a token's `kid`, if it has one, must name one of them.
    pub keys: Vec<Key>,
    /// `iss` must be one of these. Empty: not looked at.
    pub issuers: Vec<String>,
    /// `aud` must hold one of these. Empty: a token that has an audience is refused (RFC 7519 §4.1.3).
    pub audiences: Vec<String>,
    /// Allowed difference of clocks for `exp` and `nbf`.
    pub leeway: Duration,
    /// Scopes (`scope`, RFC 8693 §4.2) that must all be there; otherwise 403.
    pub scopes: Vec<String>,
    /// The realm of the challenge.
    pub realm: String,
}

/// Where a token stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// `Authorization: Bearer …` (RFC 6750 §2.1).
    Header,
    /// A cookie of this name.
    Cookie(String),
}

/// A verification key, bound to one algorithm: the token never chooses (RFC 8725 §3.1).
#[derive(Clone, Debug)]
pub struct Key {
    /// What the key verifies.
    pub algorithm: Algorithm,
    /// A public key in PEM, the raw secret of HS256, HS384 or HS512, a JWK, or a set of JWKs (RFC 7517), of which those are taken
    /// that are for the algorithm.
    pub file: PathBuf,
    /// The key's id, matched against `kid`. A JWK brings its own.
    pub id: Option<String>,
    /// Where the file was named, for messages.
    pub place: Place,
}

/// The algorithm of this name, if we verify it. Names are case-sensitive (RFC 7515 §4.1.1), and `none` is not among them.
#[must_use]
pub fn algorithm_named(name: &str) -> Option<Algorithm> {
    match name {
        // RFC 9864 §2.2 gives the one curve of EdDSA that we verify a name of its own.
        "Ed25519" => Some(Algorithm::EdDSA),
        name => name.parse().ok(),
    }
}

const SOURCE: Field = key("source", "\"header\" or { cookie = NAME }", "\"header\"");
const COOKIE: Field = key("cookie", "the name of a cookie", "\"session\"");
const ISSUERS: Field = key("issuers", "a list of strings", "[\"https://id.example.com\"]");
const AUDIENCES: Field = key("audiences", "a list of strings", "[\"shop\"]");
const LEEWAY: Field = key("leeway", "a time", "\"60s\"");
const SCOPES: Field = key("scopes", "a list of strings", "[\"orders:read\"]");
const REALM: Field = key("realm", "a string", "\"shop\"");
const ALGORITHM: Field = key("algorithm", "the name of a signature algorithm", "\"ES256\"");
const FILE: Field = key("file", "the path of a key file", "\"key.pem\"");
const ID: Field = key("id", "a string", "\"2026-01\"");
/// Clocks of servers differ by seconds; more would let tokens live on long after their end.
const LONGEST_LEEWAY: Duration = Duration::from_secs(5 * 60);

pub(super) fn read_auth(table: &Table<'_>) -> (Option<Spanned<String>>, Option<Auth>) {
    let name = table.required_with(NAME, form::name);
    let source = read_source(table);
    let list = |key, parse: fn(&str) -> Result<String, Wrong>| -> Vec<String> {
        table.list_with(key, parse).unwrap_or_default().into_iter().map(Spanned::into_inner).collect()
    };
    let (issuers, audiences, scopes) = (list(ISSUERS, filled), list(AUDIENCES, filled), list(SCOPES, scope));
    let leeway = table.optional_with(LEEWAY, leeway).map_or(Duration::from_secs(60), Spanned::into_inner);
    let realm = table.optional_with(REALM, realm).map(Spanned::into_inner);
    let keys = read_keys(table);
    let auth = name.clone().zip(source).zip(keys).map(|((name, source), keys)| {
        let name = name.into_inner();
        Auth { realm: realm.unwrap_or_else(|| name.clone()), name, source, keys, issuers, audiences, leeway, scopes }
    });
    (name, auth)
}

fn read_source(table: &Table<'_>) -> Option<TokenSource> {
    let Some(value) = table.value(SOURCE.name) else { return Some(TokenSource::Header) };
    match value.get_ref() {
        DeValue::String(text) if text == "header" => Some(TokenSource::Header),
        DeValue::Table(_) => {
            let inner = table.table(SOURCE.name, "{ cookie = \"session\" }")?;
            let name = inner.required_with(COOKIE, |text| match form::is_token(text) {
                true => Ok(text.to_owned()),
                false => Err(Wrong::new(
                    "this is not the name of a cookie (RFC 6265 §4.1.1)",
                    "write, for example, \"session\"",
                )),
            });
            name.map(|name| TokenSource::Cookie(name.into_inner()))
        }
        _ => {
            table.mistyped(SOURCE, value, None);
            None
        }
    }
}

fn read_keys(table: &Table<'_>) -> Option<Vec<Key>> {
    let inner = table.tables("key");
    if table.has_none("key") {
        table.fault("there is no key, so every token would be refused", "add [[auth.key]] with algorithm and file");
        return None;
    }
    let mut keys: Vec<Key> = Vec::new();
    let mut whole = true;
    for table in inner {
        let algorithm = table.required_with(ALGORITHM, algorithm);
        let file = table.required::<String>(FILE);
        let id = table.optional_with(ID, filled);
        if let Some(id) = &id
            && keys.iter().any(|key| key.id.as_ref() == Some(id.get_ref()))
        {
            let message = format!("two keys have the id `{}`", id.get_ref());
            table.source.fault(id.span(), message, "a token's `kid` must lead to one key: give each its own id");
        }
        let place = table.source.place(file.as_ref().map_or(table.span(), Spanned::span).start);
        let file = file.map(|file| existing_file(table.source, FILE.name, &file));
        match (algorithm, file) {
            (Some(algorithm), Some(file)) => {
                keys.push(Key { algorithm: algorithm.into_inner(), file, id: id.map(Spanned::into_inner), place });
            }
            _ => whole = false,
        }
    }
    whole.then_some(keys)
}

fn algorithm(name: &str) -> Result<Algorithm, Wrong> {
    algorithm_named(name).ok_or_else(|| {
        Wrong::new(
            "this is not an algorithm that is verified",
            "use HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA",
        )
    })
}

fn leeway(text: &str) -> Result<Duration, Wrong> {
    match units::time(text)? {
        time if time > LONGEST_LEEWAY => {
            Err(Wrong::new("clocks do not differ by more than 5m", "write at most \"5m\""))
        }
        time => Ok(time),
    }
}

fn filled(text: &str) -> Result<String, Wrong> {
    match text {
        "" => Err(Wrong::new("it is empty", "write the value, or leave the entry out")),
        text => Ok(text.to_owned()),
    }
}

/// One scope-token of RFC 6749 §3.3.
fn scope(text: &str) -> Result<String, Wrong> {
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_graphic() && c != '"' && c != '\\') {
        return Err(Wrong::new(
            "this is not one scope (RFC 6749 §3.3)",
            "write one scope in each string, without spaces",
        ));
    }
    Ok(text.to_owned())
}

/// The realm goes into a quoted string of a header field as it is.
fn realm(text: &str) -> Result<String, Wrong> {
    if text.is_empty() || !text.chars().all(|c| (c.is_ascii_graphic() || c == ' ') && c != '"' && c != '\\') {
        return Err(Wrong::new(
            "a realm is printable ASCII without quotes and backslashes",
            "write, for example, \"shop\"",
        ));
    }
    Ok(text.to_owned())
}
