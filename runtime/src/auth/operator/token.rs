//! A token as it is handed around: `eyot_` and 32 random bytes in base64url. The prefix is for those who look for leaked secrets.

use std::fmt::{self, Debug, Formatter};

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::GrantError;
use crate::store::TokenHash;

const PREFIX: &str = "eyot_";

/// So many characters are shown, by which an owner knows a token again. Of 43 that nobody knows they give away four.
const HINT: usize = 4;

/// A token. It is overwritten when it goes, and never shown but by [`ApiToken::reveal`].
pub struct ApiToken(Zeroizing<String>);

impl ApiToken {
    /// A new one, of the system's random numbers.
    pub(super) fn fresh() -> Result<Self, GrantError> {
        let mut bytes = Zeroizing::new([0; 32]);
        rand::fill(bytes.as_mut_slice()).map_err(|_| GrantError::NoRandom)?;
        // With room for all of it, so that it never moves and leaves itself behind.
        let mut text = Zeroizing::new(String::with_capacity(64));
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
        Ok(Self(text))
    }

    /// Reads one as it was written: each token has one spelling.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        // With a little more room than it needs, as the library asks for.
        let mut decoded = Zeroizing::new([0; 33]);
        let length = URL_SAFE_NO_PAD.decode_slice(text.strip_prefix(PREFIX)?, decoded.as_mut_slice()).ok()?;
        (length == 32).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The token itself, for its owner.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub(super) fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }

    pub(super) fn hint(&self) -> &str {
        &self.0[self.0.len() - HINT..]
    }
}

/// Nothing of it.
impl Debug for ApiToken {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_not_otherwise() {
        let token = ApiToken::fresh().unwrap();
        let text = token.reveal().to_owned();
        assert_eq!((text.len(), &text[..5], token.hint()), (48, "eyot_", &text[44..]));
        assert_eq!(ApiToken::parse(text.as_bytes()).unwrap().hash(), token.hash());
        assert_eq!(format!("{token:?}"), "ApiToken");
        let last = text.as_bytes()[47];
        // The last character has two bits that mean nothing: base64url that is read loosely would take three more spellings.
        let others = (b'A'..=b'z').filter(|byte| byte.is_ascii_alphanumeric() && *byte != last);
        let spellings = others.filter(|byte| {
            let mut other = text.clone().into_bytes();
            other[47] = *byte;
            ApiToken::parse(&other).is_some_and(|other| other.hash() == token.hash())
        });
        assert_eq!(spellings.count(), 0);
        let wrong = [
            text[5..].to_owned(),
            format!("EYOT_{}", &text[5..]),
            format!("{text}="),
            format!("{text}A"),
            text[..47].to_owned(),
            format!(" {text}"),
            format!("eyot_{}", "-".repeat(1 << 20)),
            "eyot_".to_owned(),
            String::new(),
        ];
        for wrong in wrong {
            assert!(ApiToken::parse(wrong.as_bytes()).is_none(), "{wrong:.60}");
        }
        assert!(ApiToken::parse(&[0xff; 48]).is_none());
    }

    #[test]
    fn no_two_tokens_are_alike() {
        let tokens: std::collections::HashSet<String> =
            (0..100).map(|_| ApiToken::fresh().unwrap().reveal().to_owned()).collect();
        assert_eq!(tokens.len(), 100);
    }
}
