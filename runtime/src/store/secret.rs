//! What a worker is given that nobody else may know: its name, its value in memory, and its value as it is kept.

use std::fmt::{self, Debug, Display, Formatter};

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::config::is_secret_name;

pub(super) mod rows;

/// How large a value is at most.
const LARGEST: usize = 64 << 10;

/// How many secrets a worker has at most, with those that were removed and are still remembered.
pub(super) const MOST: u32 = 256;

/// The name of a secret, as its worker asks for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName(String);

/// The value of a secret. It is overwritten when it goes, and never shown.
#[derive(Clone)]
pub struct SecretValue(Zeroizing<Vec<u8>>);

/// The value of a secret as it is kept: encrypted, and bound to its worker and its name. A [`Vault`](super::Vault) makes it and opens it.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    pub(super) key: KeyId,
    pub(super) nonce: [u8; NONCE],
    pub(super) ciphertext: Vec<u8>,
}

/// Tells one key from another, and tells nothing of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub(super) [u8; 4]);

/// The bytes of a nonce of AES-GCM (RFC 5116 §5.1).
pub(super) const NONCE: usize = 12;

/// A secret of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// The name of its worker, which there may not be yet.
    pub worker: String,
    /// Its own.
    pub name: SecretName,
    /// When it was given this value.
    pub set: Timestamp,
    /// Its value.
    pub sealed: Sealed,
    /// 1, 2, 3 for each name; another key makes no other revision. It goes on after a removal.
    pub revision: u32,
}

/// Why something is no secret. Whoever gave it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Its name.
    #[error("this is no name of a secret; give it 1 to 128 letters of A-Z and a-z, digits, `_`, `.` and `-`")]
    Name,
    /// Its value.
    #[error("the value has {bytes} bytes, and a secret holds {LARGEST} at most; keep what is larger at an origin")]
    TooLarge {
        /// So many.
        bytes: usize,
    },
}

impl SecretName {
    /// Reads a name.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        if is_secret_name(text) { Ok(Self(text.to_owned())) } else { Err(SecretError::Name) }
    }

    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for SecretName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl SecretValue {
    /// Takes a value; the buffer that it came in is this one's from now on.
    ///
    /// # Errors
    /// When it is too large.
    pub fn new(bytes: Vec<u8>) -> Result<Self, SecretError> {
        let bytes = Zeroizing::new(bytes);
        match bytes.len() {
            0..=LARGEST => Ok(Self(bytes)),
            bytes => Err(SecretError::TooLarge { bytes }),
        }
    }

    /// For whom it is meant.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Nothing of it, not even its length.
impl Debug for SecretValue {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue")
    }
}

impl Sealed {
    /// Which key it was sealed with.
    #[cfg(test)]
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.key
    }
}

/// Not the ciphertext, which is as long as the value.
impl Debug for Sealed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed(with key {})", self.key)
    }
}

/// In hexadecimal.
impl Display for KeyId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// As it is displayed.
impl Debug for KeyId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_every_place_can_spell() {
        for good in ["A", "database.url", "API_KEY-2", &"x".repeat(128)] {
            assert_eq!(SecretName::parse(good).unwrap().as_str(), good);
        }
        for wrong in ["", "a b", "a/b", "ä", "a\n", &"x".repeat(129)] {
            let error = SecretName::parse(wrong).unwrap_err();
            assert!(error.to_string().contains("give it 1 to 128 letters"), "{error}");
        }
    }

    #[test]
    fn a_value_is_bounded_and_never_shown() {
        let value = SecretValue::new(b"hunter2".to_vec()).unwrap();
        assert_eq!(format!("{value:?}"), "SecretValue");
        assert_eq!(value.as_bytes(), b"hunter2");
        SecretValue::new(vec![b'x'; 64 << 10]).unwrap();
        let error = SecretValue::new(vec![b'x'; (64 << 10) + 1]).unwrap_err();
        assert_eq!(error, SecretError::TooLarge { bytes: 65_537 });
        assert!(!error.to_string().contains("xx"), "{error}");
    }
}
