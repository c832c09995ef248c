//! Keys in JSON (RFC 7517): one key, or a set, of which those are taken that are for the algorithm.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::RsaPublicKeyComponents;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{Kind, Wrong, fits, secret, usable};
use crate::auth::token;
use crate::config::{self, Algorithm};

/// One key. What says nothing about whether and how it verifies is not read (RFC 7517 §4).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
    /// Only private keys have it (RFC 7518 §6.2.2, §6.3.2; RFC 8037 §2).
    d: Option<IgnoredAny>,
}

/// A key and its `kid`.
type Found = (Option<String>, DecodingKey);

/// The keys in a JWK or a set of JWKs; `None` when the file is neither.
pub(super) fn read(algorithm: Algorithm, bytes: &[u8]) -> Result<Option<Vec<Found>>, Wrong> {
    let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let Ok(file) = serde_json::from_slice::<Value>(text) else { return Ok(None) };
    match (file.get("keys"), file.get("kty")) {
        (Some(Value::Array(keys)), _) => of_set(algorithm, keys).map(Some),
        (_, Some(_)) => {
            let key = parse(&file)?;
            key.is_for(algorithm)?;
            Ok(Some(vec![key.load(algorithm)?]))
        }
        _ => Ok(None),
    }
}

/// A set also has keys for other purposes, and of kinds that we do not know: they are ignored (RFC 7517 §5).
fn of_set(algorithm: Algorithm, keys: &[Value]) -> Result<Vec<Found>, Wrong> {
    let mut found = Vec::new();
    let mut ignored = None;
    for key in keys {
        match parse(key).and_then(|key| key.is_for(algorithm).map(|()| key)) {
            Ok(key) => found.push(key.load(algorithm)?),
            Err(wrong) => drop(ignored.get_or_insert(wrong)),
        }
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let why = ignored.map(|wrong: Wrong| format!(": {}", wrong.message)).unwrap_or_default();
    let message = format!("none of the {} keys in this set is for {algorithm:?}{why}", keys.len());
    Err(Wrong::new(message, "name the algorithm of one of its keys"))
}

fn parse(key: &Value) -> Result<Jwk, Wrong> {
    Jwk::deserialize(key).map_err(|error| Wrong::new(format!("this is not a JWK: {error}"), "see RFC 7517 §4"))
}

impl Jwk {
    fn kind(&self) -> Option<Kind> {
        match (&*self.kty, self.crv.as_deref()) {
            ("oct", _) => Some(Kind::Secret),
            ("RSA", _) => Some(Kind::Rsa),
            ("EC", Some("P-256")) => Some(Kind::P256),
            ("EC", Some("P-384")) => Some(Kind::P384),
            ("OKP", Some("Ed25519")) => Some(Kind::Ed25519),
            _ => None,
        }
    }

    /// Whether the key says that it verifies signatures of this algorithm, or leaves it open (RFC 7517 §4.2 to §4.4).
    fn is_for(&self, algorithm: Algorithm) -> Result<(), Wrong> {
        let Some(kind) = self.kind() else {
            let curve = self.crv.as_ref().map(|curve| format!(" on {curve}")).unwrap_or_default();
            let message = format!("this is a key of kind {}{curve}, which verifies nothing here", self.kty);
            return Err(Wrong::new(message, format!("{:?} needs {}", algorithm, Kind::of(algorithm).name())));
        };
        fits(algorithm, kind)?;
        if let Some(usage) = self.usage.as_ref().filter(|usage| *usage != "sig") {
            return Err(Wrong::new(format!("its `use` is `{usage}`"), "take the key whose `use` is `sig`"));
        }
        if self.key_ops.as_ref().is_some_and(|operations| !operations.iter().any(|name| name == "verify")) {
            return Err(Wrong::new("its `key_ops` do not hold `verify`", "take the key that verifies"));
        }
        match &self.alg {
            Some(name) if config::algorithm_named(name) != Some(algorithm) => {
                Err(Wrong::new(format!("its `alg` is {name}, not {algorithm:?}"), "name the key's own algorithm"))
            }
            _ => Ok(()),
        }
    }

    fn load(self, algorithm: Algorithm) -> Result<Found, Wrong> {
        let key = self.key(algorithm).map_err(|Wrong { message, help }| match &self.kid {
            Some(kid) => Wrong::new(format!("the key `{kid}`: {message}"), help),
            None => Wrong { message, help },
        })?;
        Ok((self.kid, key))
    }

    fn key(&self, algorithm: Algorithm) -> Result<DecodingKey, Wrong> {
        let kind = Kind::of(algorithm);
        if kind != Kind::Secret && self.d.is_some() {
            return Err(Wrong::new(
                "this is a private key, and only the issuer needs that",
                "leave out `d` and, for RSA, `p`, `q`, `dp`, `dq` and `qi`",
            ));
        }
        let member = |name: &str, value: &Option<String>| {
            let decoded = value.as_ref().and_then(|text| token::decode(text));
            decoded.ok_or_else(|| Wrong::new(format!("`{name}` is not there, or not base64url"), "see RFC 7518 §6"))
        };
        let key = match kind {
            Kind::Secret => return secret::from_bytes(algorithm, &member("k", &self.k)?),
            Kind::Rsa => {
                let components = RsaPublicKeyComponents { n: member("n", &self.n)?, e: member("e", &self.e)? };
                let der: Result<PublicKeyX509Der<'_>, _> = components.as_der();
                let der = der.map_err(|_| Wrong::new("this RSA key is damaged", "get it from its issuer again"))?;
                DecodingKey::from_rsa_der(der.as_ref())
            }
            // An uncompressed point (SEC 1 §2.3.3).
            Kind::P256 | Kind::P384 => {
                let point = [&[0x04], &*member("x", &self.x)?, &*member("y", &self.y)?].concat();
                DecodingKey::from_ec_der(&point)
            }
            Kind::Ed25519 => DecodingKey::from_ed_der(&member("x", &self.x)?),
        };
        usable(algorithm, kind, key)
    }
}
