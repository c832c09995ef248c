//! The way in: one verifier for each named way to authenticate.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use jsonwebtoken::crypto;

use super::challenge::{Challenge, Rejection};
use super::claims::Claims;
use super::credential;
use super::identity::Identity;
use super::keys::{self, LoadedKey};
use super::token::{self, Token};
use crate::config;
use crate::failure::Failure;

/// Verifies the tokens of one way to authenticate. Made once; shared by all threads.
#[derive(Debug)]
pub struct Verifier {
    name: Arc<str>,
    auth: config::Auth,
    keys: Vec<LoadedKey>,
    challenge: Challenge,
}

impl Verifier {
    /// Reads the keys. This is the last time that a file is touched.
    ///
    /// # Errors
    /// Every key that cannot be used: not there, not readable, too weak, or not of the kind that its algorithm needs.
    pub fn load(auth: &config::Auth) -> Result<Self, config::Diagnostics> {
        let keys = keys::load(auth)?;
        Ok(Self { name: auth.name.as_str().into(), auth: auth.clone(), keys, challenge: Challenge::new(auth) })
    }

    /// Who sent a request with these headers.
    ///
    /// # Errors
    /// [`Failure::Unauthorized`] without a good token, [`Failure::InsufficientScope`] when it does not suffice,
    /// [`Failure::AmbiguousToken`] when there are two.
    pub fn verify(&self, headers: &HeaderMap) -> Result<Identity, Failure> {
        self.verify_at(headers, SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// The same at a given time since 1970.
    pub(super) fn verify_at(&self, headers: &HeaderMap, now: Duration) -> Result<Identity, Failure> {
        self.identify(headers, now).map_err(|rejection| self.challenge.failure(rejection))
    }

    fn identify(&self, headers: &HeaderMap, now: Duration) -> Result<Identity, Rejection> {
        let bytes = credential::find(&self.auth.source, headers)?;
        let token = Token::parse(bytes).map_err(Rejection::Invalid)?;
        self.check_signature(&token).map_err(Rejection::Invalid)?;
        // From here on the token is its issuer's, whatever it says; before, it was anyone's.
        let payload = token::decode(token.payload).ok_or(Rejection::Invalid("the token's payload is not base64url"))?;
        let claims = Claims::check(&payload, &self.auth, now)?;
        let text = std::str::from_utf8(&payload).map_err(|_| Rejection::Invalid("the token's payload is not UTF-8"))?;
        let scopes = claims.scope.as_deref().unwrap_or_default().split(' ').filter(|scope| !scope.is_empty());
        Ok(Identity {
            auth: Arc::clone(&self.name),
            subject: claims.subject.as_deref().map(str::to_owned),
            issuer: claims.issuer.as_deref().map(str::to_owned),
            scopes: scopes.map(str::to_owned).collect(),
            claims: text.into(),
            expires: UNIX_EPOCH + Duration::from_secs_f64(claims.expires),
        })
    }

    /// Tries the keys that are bound to the token's algorithm; with a `kid`, only the one of that id. Where no key has an id, `kid` has
    /// nothing to be compared with and is not looked at.
    fn check_signature(&self, token: &Token<'_>) -> Result<(), &'static str> {
        let named = token.key_id.as_deref().filter(|_| self.keys.iter().any(|key| key.id.is_some()));
        let mut candidates = self
            .keys
            .iter()
            .filter(|key| key.algorithm == token.algorithm)
            .filter(|key| named.is_none() || key.id.as_deref() == named)
            .peekable();
        if candidates.peek().is_none() {
            return Err("there is no key for this token");
        }
        let good = candidates.any(|key| {
            crypto::verify(token.signature, token.signed.as_bytes(), &key.key, key.algorithm).unwrap_or(false)
        });
        if good { Ok(()) } else { Err("the token's signature is not good") }
    }
}
