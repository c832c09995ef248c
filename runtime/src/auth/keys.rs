//! The keys of one way to authenticate, read from their files and refused when they are weak or of another kind.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{AlgorithmFamily, DecodingKey};

use crate::config::{Algorithm, Auth, Diagnostic, Diagnostics, Place};

/// RFC 7518 §3.3 and §3.5.
const LEAST_RSA_BITS: usize = 2048;
/// What aws-lc verifies at most; a larger one costs each request more than it gives.
const MOST_RSA_BITS: usize = 8192;
/// RFC 7518 §3.2: as long as the hash.
const LEAST_SECRET: usize = 32;
/// Ours: no key of these kinds is near it.
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
type Wrong = (String, &'static str);

pub(super) fn load(auth: &Auth) -> Result<Vec<LoadedKey>, Diagnostics> {
    // Fails when another part of the process has chosen before us, and then that one is used.
    let _ = DEFAULT_PROVIDER.install_default();
    let mut faults = Vec::new();
    let mut fault = |file: &Path, (message, help): Wrong| {
        let place = Place { file: file.to_owned(), line: 0, column: 0 };
        faults.push(Diagnostic { place, message: format!("auth `{}`: {message}", auth.name), help: Some(help.into()) });
    };
    let mut loaded: Vec<LoadedKey> = Vec::new();
    for key in &auth.keys {
        let twin = |other: &LoadedKey| key.id.is_some() && other.id == key.id && other.algorithm == key.algorithm;
        if loaded.iter().any(twin) {
            let message =
                format!("two {:?} keys have the id `{}`", key.algorithm, key.id.as_deref().unwrap_or_default());
            fault(&key.file, (message, "give each key an id of its own"));
        }
        match read(&key.file).and_then(|bytes| parse(key.algorithm, &bytes)) {
            Ok(parsed) => loaded.push(LoadedKey { algorithm: key.algorithm, id: key.id.clone(), key: parsed }),
            Err(wrong) => fault(&key.file, wrong),
        }
    }
    if auth.keys.is_empty() {
        fault(Path::new("node.toml"), ("it has no key, so it can accept no token".into(), "add a key"));
    }
    // Both are written into the challenge (RFC 6750 §3; scope-token: RFC 6749 §3.3).
    if !auth.realm.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        fault(
            Path::new("node.toml"),
            ("the realm has characters that a header cannot carry".into(), "use printable ASCII"),
        );
    }
    for scope in &auth.scopes {
        if scope.is_empty() || !scope.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
            let message = format!("`{}` is not a scope", scope.escape_debug());
            fault(Path::new("node.toml"), (message, "write one scope for each entry, without spaces or quotes"));
        }
    }
    if faults.is_empty() { Ok(loaded) } else { Err(Diagnostics(faults)) }
}

pub(super) fn jws_algorithm(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::HS256 => jsonwebtoken::Algorithm::HS256,
        Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::PS256 => jsonwebtoken::Algorithm::PS256,
        Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Wrong> {
    let unreadable =
        |error: io::Error| (format!("the key cannot be read: {error}"), "check the path and its permissions");
    let mut bytes = Vec::new();
    File::open(file).and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(("this is larger than any key".into(), "name a file that holds one key and nothing else"));
    }
    Ok(bytes)
}

fn parse(algorithm: Algorithm, bytes: &[u8]) -> Result<DecodingKey, Wrong> {
    match algorithm {
        Algorithm::HS256 => secret(bytes),
        Algorithm::RS256 | Algorithm::PS256 => {
            let key = public_key(algorithm, AlgorithmFamily::Rsa, bytes)?;
            check_rsa_size(&key)?;
            check_point(&key, &RSA_PKCS1_2048_8192_SHA256, "this RSA key is damaged")
        }
        Algorithm::ES256 => {
            let key = public_key(algorithm, AlgorithmFamily::Ec, bytes)?;
            check_point(&key, &ECDSA_P256_SHA256_FIXED, "ES256 needs a key on the curve P-256, and this is not on it")
        }
        Algorithm::EdDSA => {
            let key = public_key(algorithm, AlgorithmFamily::Ed, bytes)?;
            check_point(&key, &ED25519, "EdDSA needs an Ed25519 key, and this is none")
        }
    }
}

/// The file as it is; the one line break that editors put at the end of a text is not part of the secret.
fn secret(bytes: &[u8]) -> Result<DecodingKey, Wrong> {
    if bytes.starts_with(b"-----BEGIN") {
        // With a public key as its secret, anyone who has read that key could sign.
        return Err((
            "HS256 needs a secret, and this is a PEM file".into(),
            "for a public key name RS256, PS256, ES256 or EdDSA",
        ));
    }
    let line = bytes.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let secret = line.filter(|line| line.iter().all(|byte| matches!(byte, b' '..=b'~'))).unwrap_or(bytes);
    if secret.len() < LEAST_SECRET {
        let message = format!("the secret has {} bytes; HS256 needs at least {LEAST_SECRET}", secret.len());
        return Err((message, "make one with: openssl rand -base64 48"));
    }
    Ok(DecodingKey::from_secret(secret))
}

fn public_key(algorithm: Algorithm, family: AlgorithmFamily, bytes: &[u8]) -> Result<DecodingKey, Wrong> {
    check_label(algorithm, bytes)?;
    let kinds = [
        (DecodingKey::from_rsa_pem(bytes), AlgorithmFamily::Rsa, "an RSA key"),
        (DecodingKey::from_ec_pem(bytes), AlgorithmFamily::Ec, "an elliptic curve key"),
        (DecodingKey::from_ed_pem(bytes), AlgorithmFamily::Ed, "an Ed25519 key"),
    ];
    for (parsed, kind, name) in kinds {
        match parsed {
            Ok(key) if kind == family => return Ok(key),
            Ok(_) => {
                let message = format!("this is {name}, which {algorithm:?} cannot use");
                return Err((message, "RS256 and PS256 need RSA, ES256 needs P-256, EdDSA needs Ed25519"));
            }
            Err(_) => {}
        }
    }
    Err((
        "this is not a public key that we can read".into(),
        "use an RSA, P-256 or Ed25519 key: openssl pkey -pubin -text",
    ))
}

/// Looks at the label of the PEM block, because what reads the block takes private keys and certificates for public keys.
fn check_label(algorithm: Algorithm, bytes: &[u8]) -> Result<(), Wrong> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let mut labels = text.split("-----BEGIN ").skip(1).map(|rest| rest.split("-----").next().unwrap_or_default());
    let Some(label) = labels.next() else {
        return Err((
            format!("{algorithm:?} needs a public key in PEM, and this is none"),
            "openssl pkey -pubout -out key.pem",
        ));
    };
    if labels.next().is_some() {
        return Err(("there is more than one PEM block in it".into(), "give each key a file of its own"));
    }
    match label {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => Ok(()),
        // A certificate ends, and can be revoked; neither would be looked at.
        "CERTIFICATE" => Err(("this is a certificate".into(), "take its key: openssl x509 -in FILE -noout -pubkey")),
        label if label.ends_with("PRIVATE KEY") => Err((
            "this is a private key, and only the issuer needs that".into(),
            "take its public half: openssl pkey -in FILE -pubout",
        )),
        label => {
            Err((format!("this is `{}`, not a public key", label.escape_debug()), "openssl pkey -pubout -out key.pem"))
        }
    }
}

fn check_rsa_size(key: &DecodingKey) -> Result<(), Wrong> {
    let damaged = || ("this RSA key is damaged".to_owned(), "export it again: openssl pkey -pubout");
    let der = key.try_get_as_bytes().map_err(|_| damaged())?;
    let (modulus, _) = (DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key)(der).map_err(|_| damaged())?;
    let start = modulus.iter().position(|byte| *byte != 0).unwrap_or(modulus.len());
    let bits = modulus[start..].first().map_or(0, |first| (modulus.len() - start) * 8 - first.leading_zeros() as usize);
    match bits {
        LEAST_RSA_BITS..=MOST_RSA_BITS => Ok(()),
        _ => Err((
            format!("this RSA key has {bits} bits; it must have {LEAST_RSA_BITS} to {MOST_RSA_BITS}"),
            "make one with: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072",
        )),
    }
}

/// Parses the key as the verification will, so that one with which nothing can ever be verified is refused now.
fn check_point(
    key: &DecodingKey,
    algorithm: &'static dyn VerificationAlgorithm,
    message: &str,
) -> Result<DecodingKey, Wrong> {
    let good = key.try_get_as_bytes().is_ok_and(|bytes| ParsedPublicKey::new(algorithm, bytes).is_ok());
    if good { Ok(key.clone()) } else { Err((message.to_owned(), "export it again: openssl pkey -pubout")) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::fixtures::{auth, key, testdata};
    use super::*;

    fn refusal(algorithm: Algorithm, bytes: &[u8]) -> String {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let key = crate::config::Key { algorithm, file: file.path().to_owned(), id: None };
        let faults = load(&auth(&[key])).unwrap_err();
        assert_eq!(faults.0.len(), 1, "{faults}");
        assert_eq!(faults.0[0].place.file, file.path());
        assert!(faults.0[0].help.is_some());
        faults.0[0].message.clone()
    }

    #[track_caller]
    fn refused(algorithm: Algorithm, name: &str, why: &str) {
        let message = refusal(algorithm, &std::fs::read(testdata(name)).unwrap());
        assert!(message.contains(why), "{message}");
    }

    #[test]
    fn a_key_of_another_kind_than_its_algorithm_is_refused() {
        refused(Algorithm::RS256, "p256.pub.pem", "an elliptic curve key, which RS256 cannot use");
        refused(Algorithm::PS256, "ed25519.pub.pem", "an Ed25519 key, which PS256 cannot use");
        refused(Algorithm::ES256, "rsa.pub.pem", "an RSA key, which ES256 cannot use");
        refused(Algorithm::EdDSA, "rsa.pkcs1.pem", "an RSA key, which EdDSA cannot use");
        refused(Algorithm::EdDSA, "ed448.pub.pem", "not a public key that we can read");
        refused(Algorithm::ES256, "p384.pub.pem", "P-256");
        refused(Algorithm::ES256, "secp256k1.pub.pem", "P-256");
        refused(Algorithm::HS256, "rsa.pub.pem", "HS256 needs a secret");
        refused(Algorithm::RS256, "secret.txt", "needs a public key in PEM");
    }

    #[test]
    fn a10_weak_and_damaged_keys_are_refused() {
        refused(Algorithm::RS256, "rsa-1024.pub.pem", "has 1024 bits");
        refused(Algorithm::PS256, "rsa-2047.pub.pem", "has 2047 bits");
        refused(Algorithm::ES256, "p256-off-curve.pub.pem", "not on it");
        let pem = std::fs::read_to_string(testdata("rsa.pub.pem")).unwrap();
        assert!(refusal(Algorithm::RS256, &pem.as_bytes()[..200]).contains("not a public key"));
        assert!(refusal(Algorithm::RS256, format!("{pem}{pem}").as_bytes()).contains("more than one PEM block"));
        assert!(refusal(Algorithm::RS256, &vec![b'x'; 70_000]).contains("larger than any key"));
    }

    #[test]
    fn private_keys_and_certificates_are_refused_with_the_command_that_helps() {
        refused(Algorithm::RS256, "rsa.key.pem", "a private key");
        refused(Algorithm::ES256, "p256.key.pem", "a private key");
        refused(Algorithm::RS256, "certificate.pem", "a certificate");
    }

    #[test]
    fn public_keys_are_read_as_spki_and_as_pkcs1() {
        for name in ["rsa.pub.pem", "rsa.pkcs1.pem"] {
            assert!(load(&auth(&[key((Algorithm::RS256, name), None)])).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_secret_has_at_least_32_bytes_without_the_line_break_of_editors() {
        let parsed = |bytes: &[u8]| secret(bytes).map(|key| key.try_get_as_bytes().unwrap().to_vec());
        assert!(refusal(Algorithm::HS256, &[b'x'; 31]).contains("has 31 bytes"));
        assert!(refusal(Algorithm::HS256, b"").contains("has 0 bytes"));
        assert_eq!(parsed(&[b'x'; 32]).unwrap(), [b'x'; 32]);
        let line = [&[b'x'; 32][..], b"\n"].concat();
        assert_eq!(parsed(&line).unwrap(), [b'x'; 32]);
        assert!(refusal(Algorithm::HS256, &line[1..]).contains("has 31 bytes"));
        let binary = [&[0xff; 31][..], b"\n"].concat();
        assert_eq!(parsed(&binary).unwrap(), binary, "bytes that are no text are taken as they are");
    }

    #[test]
    fn all_faults_are_told_together() {
        let mut bad = auth(&[
            key((Algorithm::RS256, "missing.pem"), Some("a")),
            key((Algorithm::ES256, "rsa.pub.pem"), Some("b")),
            key((Algorithm::HS256, "secret.txt"), Some("c")),
            key((Algorithm::HS256, "secret.txt"), Some("c")),
        ]);
        bad.scopes = vec!["two words".into()];
        bad.realm = "line\nbreak".into();
        let faults = load(&bad).unwrap_err();
        assert_eq!(faults.0.len(), 5, "{faults}");
        assert!(faults.0.iter().all(|fault| fault.message.starts_with("auth `test`: ")));
    }
}
