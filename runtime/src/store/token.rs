//! What is kept of an operator's token: whom it lets do what, and a digest by which it is known. The room `auth` makes tokens, and says
//! whether one is good.

use std::fmt::{self, Debug, Display, Formatter};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

pub(super) mod rows;

/// How many tokens hold at once, at most.
pub(super) const MOST: u32 = 1_000;

/// The stable name of a token, which is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(Uuid);

/// The SHA-256 of a token. Two are compared in constant time.
#[derive(Clone, Copy)]
pub struct TokenHash(pub(super) [u8; 32]);

/// What an operator may do. Each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Look.
    Read,
    /// Say what serves.
    Deploy,
    /// All else: secrets of the node, tokens, backups.
    Admin,
}

/// A token to be.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// By which it is known.
    pub hash: TokenHash,
    /// What its owner calls it.
    pub name: String,
    /// What it lets do.
    pub scope: Scope,
    /// With which workers, as globs.
    pub workers: Vec<String>,
    /// With routes of which hosts, as patterns; `*` is any host.
    pub hosts: Vec<String>,
    /// Its last four characters, by which its owner knows it again.
    pub hint: String,
    /// From when on it does not hold.
    pub expires: Option<Timestamp>,
}

/// A token as it is kept. Whoever has read this has not seen the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Its stable name.
    pub id: TokenId,
    /// What its owner calls it.
    pub name: String,
    /// What it lets do.
    pub scope: Scope,
    /// With which workers, as globs.
    pub workers: Vec<String>,
    /// With routes of which hosts, as patterns; `*` is any host.
    pub hosts: Vec<String>,
    /// Its last four characters.
    pub hint: String,
    /// When it was made.
    pub created: Timestamp,
    /// By whom.
    pub created_by: String,
    /// From when on it does not hold.
    pub expires: Option<Timestamp>,
    /// Since when it does not hold, because somebody said so.
    pub revoked: Option<Timestamp>,
}

impl TokenId {
    pub(super) fn fresh() -> Self {
        Self(Uuid::now_v7())
    }

    /// From what [`Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::parse_str(text).ok().map(Self)
    }
}

impl Display for TokenId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl TokenHash {
    /// Of a token. It has 256 random bits, so it needs no salt and nothing slow.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for TokenHash {}

/// Nothing of it: what is not in a log cannot be looked for in one.
impl Debug for TokenHash {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

impl Scope {
    const ALL: [Self; 3] = [Self::Read, Self::Deploy, Self::Admin];

    /// As it is written down.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Deploy => "deploy",
            Self::Admin => "admin",
        }
    }

    /// From its word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.word() == word)
    }

    /// Whether this is as much as what is needed, or more.
    #[must_use]
    pub fn allows(self, needed: Self) -> bool {
        self >= needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_allows_what_those_before_it_allow() {
        for (held, scope) in Scope::ALL.into_iter().enumerate() {
            assert_eq!(Scope::parse(scope.word()), Some(scope));
            for (needed, other) in Scope::ALL.into_iter().enumerate() {
                assert_eq!(scope.allows(other), needed <= held);
            }
        }
        assert_eq!(Scope::parse("Admin"), None);
    }

    #[test]
    fn hashes_are_told_apart_and_not_shown() {
        assert_eq!(TokenHash::of("a"), TokenHash::of("a"));
        assert_ne!(TokenHash::of("a"), TokenHash::of("b"));
        assert_eq!(format!("{:?}", TokenHash::of("a")), "TokenHash");
    }
}
