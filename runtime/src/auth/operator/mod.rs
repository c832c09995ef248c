//! Operators: who may look, deploy and administer, by a token that the node has made.
//!
//! A token is 256 random bits. The store keeps its digest and what it lets do. [`issue`] makes one, [`authenticate`] says whose a
//! request is, and its [`Grant`] says what that one may do. Why a token is refused stands in our log; its client is told one thing,
//! whatever the reason, so that nobody learns whether a token was good once.

mod grant;
#[cfg(test)]
mod tests;
mod token;

use http::HeaderMap;
use jiff::Timestamp;

use super::challenge::Rejection;
use super::credential;
use crate::config::TokenSource;
use crate::store::{NewToken, Store, StoreError, TokenId};

pub use grant::{Grant, GrantError};
pub use token::ApiToken;

/// What a client is told whose token is refused, whatever the reason.
pub const REFUSED: &str = "there is no token here that is accepted; give one as: Authorization: Bearer eyot_…";

/// How many characters the name of a token has at most.
const LONGEST_NAME: usize = 100;

/// Somebody with a good token.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The token.
    pub token: TokenId,
    /// What its owner calls it.
    pub name: String,
    /// What it lets do.
    pub grant: Grant,
}

/// Why a request is nobody's. The text is for our log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has none.
    #[error("the request has no token")]
    Missing,
    /// It has several, and no single meaning.
    #[error("{0}")]
    Several(&'static str),
    /// What it has is no token of ours, whole and as it was written.
    #[error("what the request has is no token of Eyot's")]
    NotAToken,
    /// Nobody has made it here, or it was forgotten long after its end.
    #[error("the token is not known")]
    Unknown,
    /// Somebody has revoked it.
    #[error("the token `{name}` ({id}) was revoked at {at}")]
    Revoked {
        /// Which.
        id: TokenId,
        /// What its owner called it.
        name: String,
        /// Since when.
        at: Timestamp,
    },
    /// Its time is over.
    #[error("the token `{name}` ({id}) has expired at {at}")]
    Expired {
        /// Which.
        id: TokenId,
        /// What its owner calls it.
        name: String,
        /// Since when.
        at: Timestamp,
    },
    /// What it lets do cannot be read: another Eyot has written it.
    #[error("the token {id} lets do what is not understood: {why}; make another one")]
    Grant {
        /// Which.
        id: TokenId,
        /// What is wrong with it.
        why: GrantError,
    },
    /// Nobody can say. It is no fault of the client's, who may ask again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whose a request is.
///
/// # Errors
/// Why it is nobody's. All but [`Refusal::Store`] are 401 with [`REFUSED`].
pub async fn authenticate(store: &Store, headers: &HeaderMap) -> Result<Operator, Refusal> {
    authenticate_at(store, headers, Timestamp::now()).await
}

/// Makes a token. Whoever made it gives it away once: nobody can read it from the store.
///
/// # Errors
/// When its name or its end cannot be, and when the system gives no random numbers.
pub fn issue(name: &str, grant: &Grant, expires: Option<Timestamp>) -> Result<(ApiToken, NewToken), GrantError> {
    let length = name.chars().count();
    if !(1..=LONGEST_NAME).contains(&length) || name.chars().any(char::is_control) || name.trim() != name {
        return Err(GrantError::Name);
    }
    if expires.is_some_and(|at| at <= Timestamp::now()) {
        return Err(GrantError::Past);
    }
    let token = ApiToken::fresh()?;
    let new = NewToken {
        hash: token.hash(),
        name: name.to_owned(),
        scope: grant.scope(),
        workers: grant.workers(),
        hosts: grant.hosts(),
        hint: token.hint().to_owned(),
        expires,
    };
    Ok((token, new))
}

async fn authenticate_at(store: &Store, headers: &HeaderMap, now: Timestamp) -> Result<Operator, Refusal> {
    let found = credential::find(&TokenSource::Header, headers).map_err(|rejection| match rejection {
        Rejection::Several(reason) => Refusal::Several(reason),
        _ => Refusal::Missing,
    })?;
    // Before the store is asked: what is no token costs nothing.
    let token = ApiToken::parse(found).ok_or(Refusal::NotAToken)?;
    let row = store.token_by_hash(token.hash()).await?.ok_or(Refusal::Unknown)?;
    let (id, name) = (row.id, row.name);
    if let Some(at) = row.revoked {
        return Err(Refusal::Revoked { id, name, at });
    }
    if let Some(at) = row.expires.filter(|at| *at <= now) {
        return Err(Refusal::Expired { id, name, at });
    }
    let grant = Grant::parse(row.scope, &row.workers, &row.hosts).map_err(|why| Refusal::Grant { id, why })?;
    Ok(Operator { token: id, name, grant })
}

impl Operator {
    /// As it stands in the audit, and different for each token, so that idempotency keys of one are not another's.
    #[must_use]
    pub fn who(&self) -> String {
        format!("{} ({})", self.name, self.token)
    }
}
