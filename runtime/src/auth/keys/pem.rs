//! Public keys in PEM (RFC 7468 §13, RFC 8017 A.1.1).

use jsonwebtoken::DecodingKey;

use super::secret::{self, Form};
use super::{Kind, Wrong};
use crate::config::Algorithm;

const EXPORT: &str = "write its public half as PEM: openssl pkey -in FILE -pubout";

/// The key in the file, and of which kind it is.
pub(super) fn read(algorithm: Algorithm, bytes: &[u8]) -> Result<(Kind, DecodingKey), Wrong> {
    check_label(algorithm, bytes)?;
    if let Ok(key) = DecodingKey::from_rsa_pem(bytes) {
        return Ok((Kind::Rsa, key));
    }
    if let Ok(key) = DecodingKey::from_ed_pem(bytes) {
        return Ok((Kind::Ed25519, key));
    }
    let Ok(key) = DecodingKey::from_ec_pem(bytes) else {
        return Err(Wrong::new(
            "this is not a public key that we can read",
            "look at it: openssl pkey -pubin -text -in FILE",
        ));
    };
    match [Kind::P256, Kind::P384].into_iter().find(|kind| kind.takes(&key)) {
        Some(kind) => Ok((kind, key)),
        None => Err(Wrong::new(
            "this elliptic curve key is on neither P-256 nor P-384, or it is damaged",
            format!("{algorithm:?} needs another; it is made with: {}", Kind::of(algorithm).command()),
        )),
    }
}

/// Looks at the label of the PEM block, because what reads the block takes private keys and certificates for public keys.
fn check_label(algorithm: Algorithm, bytes: &[u8]) -> Result<(), Wrong> {
    let text = String::from_utf8_lossy(bytes);
    let mut labels = text.split("-----BEGIN ").skip(1).map(|rest| rest.split("-----").next().unwrap_or_default());
    let Some(label) = labels.next() else {
        let help = match secret::form(bytes) {
            Some(Form::Ssh) => "this is an SSH key; write it as PEM: ssh-keygen -e -m PKCS8 -f FILE",
            Some(Form::Der) => "this is DER; write it as PEM: openssl pkey -pubin -inform DER -in FILE",
            Some(Form::Jwk) => "this looks like a JWK, but is not valid JSON",
            _ => EXPORT,
        };
        return Err(Wrong::new(format!("{algorithm:?} needs a public key, in PEM or as JWK, and this is none"), help));
    };
    if labels.next().is_some() {
        return Err(Wrong::new("there is more than one PEM block in it", "give each key a file of its own"));
    }
    match label {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => Ok(()),
        // A certificate ends, and can be revoked; neither would be looked at.
        "CERTIFICATE" => Err(Wrong::new("this is a certificate", "take its key: openssl x509 -in FILE -noout -pubkey")),
        label if label.ends_with("PRIVATE KEY") => {
            Err(Wrong::new("this is a private key, and only the issuer needs that", EXPORT))
        }
        label => Err(Wrong::new(format!("this is `{}`, not a public key", label.escape_debug()), EXPORT)),
    }
}
