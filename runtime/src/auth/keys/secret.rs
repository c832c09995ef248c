//! Secrets of HMAC, and what is certainly none: with a public key as the secret, whoever has read that key could sign.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::DecodingKey;

use super::{Kind, Wrong};
use crate::config::Algorithm;

/// A form in which keys are handed around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Pem,
    Der,
    Ssh,
    Jwk,
}

/// The file as it is; the one line break that editors put at the end of a text is not part of the secret.
pub(super) fn read(algorithm: Algorithm, bytes: &[u8]) -> Result<DecodingKey, Wrong> {
    if let Some(form) = form(bytes) {
        let what = match form {
            Form::Pem => "a PEM file",
            Form::Der => "a key or a certificate in DER",
            Form::Ssh => "an SSH key",
            Form::Jwk => "a JWK that cannot be read",
        };
        return Err(Wrong::new(
            format!("{algorithm:?} needs a secret, and this is {what}"),
            format!(
                "for a public key name its algorithm ({}; {}; {}; {}); a secret is made with: {}",
                Kind::Rsa.algorithms(),
                Kind::P256.algorithms(),
                Kind::P384.algorithms(),
                Kind::Ed25519.algorithms(),
                Kind::Secret.command()
            ),
        ));
    }
    let line = bytes.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let secret = line.filter(|line| line.iter().all(|byte| matches!(byte, b' '..=b'~'))).unwrap_or(bytes);
    from_bytes(algorithm, secret)
}

/// RFC 7518 §3.2: the secret is at least as long as the hash.
pub(super) fn from_bytes(algorithm: Algorithm, secret: &[u8]) -> Result<DecodingKey, Wrong> {
    let least = match algorithm {
        Algorithm::HS512 => 64,
        Algorithm::HS384 => 48,
        _ => 32,
    };
    if secret.len() < least {
        let message = format!("the secret has {} bytes; {algorithm:?} needs at least {least}", secret.len());
        return Err(Wrong::new(message, format!("make one with: {}", Kind::Secret.command())));
    }
    Ok(DecodingKey::from_secret(secret))
}

/// The form of a key that the bytes have wherever it begins: behind a byte order mark, a blank line, or the attributes that
/// `openssl pkcs12` writes.
pub(super) fn form(bytes: &[u8]) -> Option<Form> {
    let text = String::from_utf8_lossy(bytes);
    let start = text.trim_start_matches('\u{feff}').trim_start();
    // `---- BEGIN SSH2 PUBLIC KEY ----` is RFC 4716's.
    if text.contains("---- BEGIN SSH2")
        || ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|kind| start.starts_with(kind))
    {
        return Some(Form::Ssh);
    }
    if text.contains("-----BEGIN") {
        return Some(Form::Pem);
    }
    if text.contains("\"kty\"") {
        return Some(Form::Jwk);
    }
    // Also the inside of a PEM file, whose first and last line somebody took off.
    let inside: String = start.split_ascii_whitespace().collect();
    let is_der = is_der(bytes) || STANDARD.decode(inside).is_ok_and(|bytes| is_der(&bytes));
    is_der.then_some(Form::Der)
}

/// One whole SEQUENCE (X.690 §8.9) that begins as keys do: with another, the algorithm of SubjectPublicKeyInfo, or with an integer,
/// the modulus or version of PKCS #1.
fn is_der(bytes: &[u8]) -> bool {
    let (length, content) = match bytes {
        [0x30, 0x82, high, low, content @ ..] => (usize::from(*high) << 8 | usize::from(*low), content),
        [0x30, 0x81, length, content @ ..] | [0x30, length @ ..=0x7f, content @ ..] => (usize::from(*length), content),
        _ => return false,
    };
    let content = content.strip_suffix(b"\n").filter(|content| content.len() == length).unwrap_or(content);
    content.len() == length && matches!(content.first(), Some(0x30 | 0x02))
}
