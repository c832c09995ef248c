//! Seals the values of secrets, and opens them: AES-256-GCM with a random nonce for each. A sealed value is bound to its worker and its
//! name, so that whoever can write to the database cannot give one secret the value of another.
//!
//! Random nonces are safe for 2^32 values under one key (NIST SP 800-38D §8.3), which is more than anybody sets.

use std::fmt::{self, Debug, Formatter};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::secret::{KeyId, Sealed, Secret, SecretName, SecretValue};

/// What a sealed value is bound to besides its worker and its name: another form will have another text.
const FORM: &[u8] = b"eyot secret v1";

/// Keeps the id of a key from being the digest of anything else.
const KEY_ID: &[u8] = b"eyot id of a key of secrets v1";

/// The bytes that a value grows by.
const TAG: usize = 16;

/// A key of secrets.
pub struct Vault {
    key: RandomizedNonceKey,
    id: KeyId,
}

/// Why a value is neither sealed nor opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// Whoever gave the key is at fault.
    #[error(
        "this is no key of secrets, which is 32 bytes in hexadecimal or base64; make one with: openssl rand -hex 32"
    )]
    NoKey,
    /// The node has another key than the one that it was sealed with.
    #[error(
        "secret `{name}` of worker `{worker}` was sealed with key {sealed_with}, and this is key {ours}; give the node that key, or \
         set the secret again"
    )]
    OtherKey {
        /// The name of its worker.
        worker: String,
        /// Its name.
        name: SecretName,
        /// The key that opens it.
        sealed_with: KeyId,
        /// The key that does not.
        ours: KeyId,
    },
    /// It is of this key, and not what was sealed, or not for this name.
    #[error(
        "secret `{name}` of worker `{worker}` is not what was sealed; set it again, and look who writes to the store"
    )]
    Damaged {
        /// The name of its worker.
        worker: String,
        /// Its name.
        name: SecretName,
    },
    /// The library of our cryptography does not do its work.
    #[error(
        "secret `{name}` of worker `{worker}` cannot be sealed: the system gives no random numbers; start the node again"
    )]
    NotSealed {
        /// The name of its worker.
        worker: String,
        /// Its name.
        name: SecretName,
    },
}

impl Vault {
    /// Reads a key: 32 bytes in hexadecimal, or in base64 of either alphabet. White space around it, as of a file, is not part of it.
    ///
    /// # Errors
    /// When it is none. The error tells nothing of what was given.
    pub fn from_key_text(text: &str) -> Result<Self, VaultError> {
        let text = text.trim();
        let mut key = Zeroizing::new([0; 32]);
        // Never both: base64 of 32 bytes has 43 or 44 characters.
        if hex::decode_to_slice(text, key.as_mut_slice()).is_err() {
            let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
            let read = |alphabet| GeneralPurpose::new(alphabet, config).decode(text).map(Zeroizing::new);
            let bytes = read(&STANDARD).or_else(|_| read(&URL_SAFE)).map_err(|_| VaultError::NoKey)?;
            if bytes.len() != key.len() {
                return Err(VaultError::NoKey);
            }
            key.copy_from_slice(&bytes);
        }
        let digest = Sha256::new().chain_update(KEY_ID).chain_update(key.as_slice()).finalize();
        let id = KeyId([digest[0], digest[1], digest[2], digest[3]]);
        let key = RandomizedNonceKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| VaultError::NoKey)?;
        Ok(Self { key, id })
    }

    /// Which key this is.
    #[cfg(test)]
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Seals a value for a secret of a worker.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn seal(&self, worker: &str, name: &SecretName, value: &SecretValue) -> Result<Sealed, VaultError> {
        let failed = || VaultError::NotSealed { worker: worker.to_owned(), name: name.clone() };
        // With room for the tag, so that it never moves and leaves itself behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(value.as_bytes().len() + TAG));
        bytes.extend_from_slice(value.as_bytes());
        let nonce = self.key.seal_in_place_append_tag(bound(worker, name), &mut *bytes).map_err(|_| failed())?;
        Ok(Sealed { key: self.id, nonce: *nonce.as_ref(), ciphertext: std::mem::take(&mut *bytes) })
    }

    /// Opens what was sealed for this secret of this worker.
    ///
    /// # Errors
    /// When it was sealed with another key, or is not what was sealed.
    pub fn open(&self, worker: &str, name: &SecretName, sealed: &Sealed) -> Result<SecretValue, VaultError> {
        if sealed.key != self.id {
            let (worker, name) = (worker.to_owned(), name.clone());
            return Err(VaultError::OtherKey { worker, name, sealed_with: sealed.key, ours: self.id });
        }
        let damaged = || VaultError::Damaged { worker: worker.to_owned(), name: name.clone() };
        let mut bytes = Zeroizing::new(sealed.ciphertext.clone());
        let nonce = Nonce::assume_unique_for_key(sealed.nonce);
        let opened = self.key.open_in_place(nonce, bound(worker, name), &mut bytes).map_err(|_| damaged())?;
        let length = opened.len();
        bytes.truncate(length);
        SecretValue::new(std::mem::take(&mut *bytes)).map_err(|_| damaged())
    }

    /// Seals anew, with this key, what was sealed with an older one: for [`Store::reseal_secrets`](super::Store::reseal_secrets). What is
    /// sealed with this key already is opened, and stays as it is; so a change of keys that did not come through is asked for again.
    ///
    /// # Errors
    /// When neither key opens it.
    pub fn reseal(&self, old: &Self, secret: &Secret) -> Result<Sealed, VaultError> {
        if secret.sealed.key == self.id {
            return self.open(&secret.worker, &secret.name, &secret.sealed).map(|_| secret.sealed.clone());
        }
        let value = old.open(&secret.worker, &secret.name, &secret.sealed)?;
        self.seal(&secret.worker, &secret.name, &value)
    }
}

/// Nothing but which key it is.
impl Debug for Vault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Vault(key {})", self.id)
    }
}

/// What a value is bound to. The length keeps `ab` and `c` from being `a` and `bc`.
fn bound(worker: &str, name: &SecretName) -> Aad<Vec<u8>> {
    let length = (worker.len() as u64).to_be_bytes();
    Aad::from([FORM, length.as_slice(), worker.as_bytes(), name.as_str().as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(byte: u8) -> Vault {
        Vault::from_key_text(&hex::encode([byte; 32])).unwrap()
    }

    fn name(text: &str) -> SecretName {
        SecretName::parse(text).unwrap()
    }

    fn value(text: &str) -> SecretValue {
        SecretValue::new(text.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_key_is_read_in_each_of_its_spellings() {
        let bytes = [0xfb; 32];
        let spellings = [
            hex::encode(bytes),
            hex::encode_upper(bytes),
            base64::prelude::BASE64_STANDARD.encode(bytes),
            base64::prelude::BASE64_STANDARD_NO_PAD.encode(bytes),
            base64::prelude::BASE64_URL_SAFE.encode(bytes),
            base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes) + "\n",
        ];
        for text in &spellings {
            assert_eq!(Vault::from_key_text(text).unwrap().id(), vault(0xfb).id(), "{text}");
        }
        for wrong in ["", "hunter2", &hex::encode([1; 31]), &hex::encode([1; 33]), &"x".repeat(64)] {
            let error = Vault::from_key_text(wrong).unwrap_err();
            assert!(error.to_string().contains("openssl rand -hex 32"), "{error}");
            assert!(wrong.is_empty() || !error.to_string().contains(wrong), "{error}");
        }
    }

    #[test]
    fn what_was_sealed_is_opened_by_its_key_for_its_name_alone() {
        let (vault, other) = (vault(1), vault(2));
        let sealed = vault.seal("api", &name("ab"), &value("hunter2")).unwrap();
        assert_eq!(vault.open("api", &name("ab"), &sealed).unwrap().as_bytes(), b"hunter2");
        for (worker, stranger) in [("apia", "b"), ("ap", "iab"), ("api", "AB"), ("api", "a"), ("other", "ab")] {
            let error = vault.open(worker, &name(stranger), &sealed).unwrap_err();
            assert_eq!(error, VaultError::Damaged { worker: worker.to_owned(), name: name(stranger) });
        }
        let error = other.open("api", &name("ab"), &sealed).unwrap_err();
        assert!(
            matches!(&error, VaultError::OtherKey { sealed_with, ours, .. } if (*sealed_with, *ours) == (vault.id(), other.id()))
        );
        assert!(error.to_string().contains(&vault.id().to_string()), "{error}");
        // One that says it is of this key.
        let forged = Sealed { key: other.id(), ..sealed };
        assert!(matches!(other.open("api", &name("ab"), &forged), Err(VaultError::Damaged { .. })));
    }

    #[test]
    fn no_flipped_bit_of_a_sealed_value_is_opened() {
        let vault = vault(1);
        let sealed = vault.seal("api", &name("a"), &value("")).unwrap();
        assert_eq!(vault.open("api", &name("a"), &sealed).unwrap().as_bytes(), b"");
        for at in 0..(sealed.nonce.len() + sealed.ciphertext.len()) * 8 {
            let mut changed = sealed.clone();
            let (nonce, rest) = (changed.nonce.len(), at / 8);
            match rest < nonce {
                true => changed.nonce[rest] ^= 1 << (at % 8),
                false => changed.ciphertext[rest - nonce] ^= 1 << (at % 8),
            }
            assert!(vault.open("api", &name("a"), &changed).is_err(), "bit {at}");
        }
        for length in 0..TAG {
            let short = Sealed { ciphertext: sealed.ciphertext[..length].to_vec(), ..sealed.clone() };
            assert!(vault.open("api", &name("a"), &short).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn the_same_value_is_never_sealed_alike() {
        let vault = vault(1);
        let seal = || vault.seal("api", &name("a"), &value("hunter2")).unwrap();
        let (one, two) = (seal(), seal());
        assert!(one.nonce != two.nonce && one.ciphertext != two.ciphertext);
    }

    #[test]
    fn nothing_of_a_key_or_a_value_is_shown() {
        let vault = vault(7);
        let sealed = vault.seal("api", &name("a"), &value("hunter2")).unwrap();
        assert_eq!(format!("{vault:?} {sealed:?}"), format!("Vault(key {0}) Sealed(with key {0})", vault.id()));
        assert_eq!(vault.id().to_string().len(), 8);
    }
}
