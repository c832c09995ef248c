//! The keys of one way to authenticate, read from their files and refused when they are weak or of another kind.

mod jwk;
mod pem;
mod secret;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    VerificationAlgorithm,
};
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{AlgorithmFamily, DecodingKey};

use crate::config::{self, Algorithm, Auth, Diagnostic, Diagnostics};

/// RFC 7518 §3.3 and §3.5.
const LEAST_RSA_BITS: usize = 2048;
/// What aws-lc verifies at most; a larger one costs each request more than it gives.
const MOST_RSA_BITS: usize = 8192;
/// Ours: no key of these kinds is near it, and a set of keys rarely is.
const LARGEST_FILE: u64 = 64 * 1024;

/// A key bound to its algorithm.
#[derive(Debug)]
pub(super) struct LoadedKey {
    pub(super) algorithm: Algorithm,
    pub(super) id: Option<String>,
    /// Its `Debug` shows no secret.
    pub(super) key: DecodingKey,
}

/// What is wrong, what to do.
#[derive(Debug)]
struct Wrong {
    message: String,
    help: String,
}

impl Wrong {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

/// Reads the keys of all entries; a file with a set of keys gives several.
pub(super) fn load(auth: &Auth) -> Result<Vec<LoadedKey>, Diagnostics> {
    // Fails when another part of the process has chosen before us, and then that one is used.
    let _ = DEFAULT_PROVIDER.install_default();
    let mut faults = Vec::new();
    let mut loaded: Vec<LoadedKey> = Vec::new();
    for entry in &auth.keys {
        let added = read(&entry.file).and_then(|bytes| parse(entry, &bytes)).and_then(|keys| {
            keys.into_iter().try_for_each(|key| {
                refuse_twin(&loaded, &key)?;
                loaded.push(key);
                Ok(())
            })
        });
        if let Err(Wrong { message, help }) = added {
            let message = format!("auth `{}`: {}: {message}", auth.name, entry.file.display());
            faults.push(Diagnostic { place: entry.place.clone(), message, help: Some(help) });
        }
    }
    if faults.is_empty() { Ok(loaded) } else { Err(Diagnostics(faults)) }
}

fn read(file: &Path) -> Result<Vec<u8>, Wrong> {
    let unreadable =
        |error: io::Error| Wrong::new(format!("it cannot be read: {error}"), "check the path and its permissions");
    let mut bytes = Vec::new();
    File::open(file).and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(Wrong::new("it is larger than any key", "name a file that holds keys and nothing else"));
    }
    Ok(bytes)
}

/// The form of the file is read from the file; the algorithm never is.
fn parse(entry: &config::Key, bytes: &[u8]) -> Result<Vec<LoadedKey>, Wrong> {
    let algorithm = entry.algorithm;
    let found = match jwk::read(algorithm, bytes)? {
        Some(keys) => keys,
        None if Kind::of(algorithm) == Kind::Secret => vec![(None, secret::read(algorithm, bytes)?)],
        None => {
            let (kind, key) = pem::read(algorithm, bytes)?;
            vec![(None, usable(algorithm, kind, key)?)]
        }
    };
    found
        .into_iter()
        .map(|(kid, key)| match (&entry.id, kid) {
            (Some(id), Some(kid)) if *id != kid => {
                let message = format!("it holds a key with the kid `{kid}`, and `id` says `{id}`");
                Err(Wrong::new(message, "leave `id` out: the key has its own"))
            }
            (id, kid) => Ok(LoadedKey { algorithm, id: id.clone().or(kid), key }),
        })
        .collect()
}

fn refuse_twin(loaded: &[LoadedKey], key: &LoadedKey) -> Result<(), Wrong> {
    let Some(id) = &key.id else { return Ok(()) };
    match loaded.iter().any(|other| other.id.as_ref() == Some(id) && other.algorithm == key.algorithm) {
        true => Err(Wrong::new(
            format!("two keys for {:?} have the id `{id}`", key.algorithm),
            "a token's `kid` must lead to one key: give each its own id",
        )),
        false => Ok(()),
    }
}

/// What a key is made of; each algorithm needs one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Secret,
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Kind {
    fn of(algorithm: Algorithm) -> Self {
        match algorithm.family() {
            AlgorithmFamily::Hmac => Self::Secret,
            AlgorithmFamily::Rsa => Self::Rsa,
            AlgorithmFamily::Ec if algorithm == Algorithm::ES384 => Self::P384,
            AlgorithmFamily::Ec => Self::P256,
            AlgorithmFamily::Ed => Self::Ed25519,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Secret => "a secret",
            Self::Rsa => "an RSA key",
            Self::P256 => "an elliptic curve key on P-256",
            Self::P384 => "an elliptic curve key on P-384",
            Self::Ed25519 => "an Ed25519 key",
        }
    }

    /// The algorithms that such a key is for.
    fn algorithms(self) -> &'static str {
        match self {
            Self::Secret => "HS256, HS384 or HS512",
            Self::Rsa => "RS256, RS384, RS512, PS256, PS384 or PS512",
            Self::P256 => "ES256",
            Self::P384 => "ES384",
            Self::Ed25519 => "EdDSA",
        }
    }

    /// How such a key is made.
    fn command(self) -> &'static str {
        match self {
            Self::Secret => "openssl rand -hex 64",
            Self::Rsa => "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072",
            Self::P256 => "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
            Self::P384 => "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384",
            Self::Ed25519 => "openssl genpkey -algorithm ed25519",
        }
    }

    /// Whether the bytes are such a public key, as far as verification will ask: an RSA key that is whole, a point on the curve.
    fn takes(self, key: &DecodingKey) -> bool {
        let verification: &'static dyn VerificationAlgorithm = match self {
            Self::Secret => return false,
            Self::Rsa => &RSA_PKCS1_2048_8192_SHA256,
            Self::P256 => &ECDSA_P256_SHA256_FIXED,
            Self::P384 => &ECDSA_P384_SHA384_FIXED,
            Self::Ed25519 => &ED25519,
        };
        key.try_get_as_bytes().is_ok_and(|bytes| ParsedPublicKey::new(verification, bytes).is_ok())
    }
}

/// That the key is of the kind that the algorithm needs.
fn fits(algorithm: Algorithm, kind: Kind) -> Result<(), Wrong> {
    let needed = Kind::of(algorithm);
    if kind == needed {
        return Ok(());
    }
    Err(Wrong::new(
        format!("this is {}, and {algorithm:?} needs {}", kind.name(), needed.name()),
        format!(
            "name the algorithm that signs with this key ({}), or make the other: {}",
            kind.algorithms(),
            needed.command()
        ),
    ))
}

/// Parses a public key as the verification will, so that one with which nothing can ever be verified is refused now.
fn usable(algorithm: Algorithm, kind: Kind, key: DecodingKey) -> Result<DecodingKey, Wrong> {
    fits(algorithm, kind)?;
    if kind == Kind::Rsa {
        check_rsa_size(&key)?;
    }
    if !kind.takes(&key) {
        return Err(Wrong::new(format!("this is {}, and it is damaged", kind.name()), "get it from its issuer again"));
    }
    Ok(key)
}

fn check_rsa_size(key: &DecodingKey) -> Result<(), Wrong> {
    let damaged = || Wrong::new("this RSA key is damaged", "get it from its issuer again");
    let der = key.try_get_as_bytes().map_err(|_| damaged())?;
    let (modulus, _) = (DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key)(der).map_err(|_| damaged())?;
    let start = modulus.iter().position(|byte| *byte != 0).unwrap_or(modulus.len());
    let bits = modulus[start..].first().map_or(0, |first| (modulus.len() - start) * 8 - first.leading_zeros() as usize);
    match bits {
        LEAST_RSA_BITS..=MOST_RSA_BITS => Ok(()),
        _ => Err(Wrong::new(
            format!("this RSA key has {bits} bits; it must have {LEAST_RSA_BITS} to {MOST_RSA_BITS}"),
            format!("make one with: {}", Kind::Rsa.command()),
        )),
    }
}
