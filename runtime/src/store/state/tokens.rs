//! The tokens of operators, by their digests.

use super::Store;
use crate::store::error::StoreError;
use crate::store::model::By;
use crate::store::token::{NewToken, TokenHash, TokenId, TokenRow, rows};

impl Store {
    /// Adds a token.
    ///
    /// # Errors
    /// When there are too many, or when it cannot be written.
    pub async fn add_token(&self, by: By, new: NewToken) -> Result<TokenRow, StoreError> {
        self.writer.change(move |connection| rows::add(connection, &by, new.clone())).await
    }

    /// All tokens, also those that do not hold any more, the oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        self.read(rows::tokens).await
    }

    /// Revokes a token: when this has answered, it does not hold. Revoking it again changes nothing.
    ///
    /// # Errors
    /// When there is none, or when it cannot be written.
    pub async fn revoke_token(&self, by: By, id: TokenId) -> Result<TokenRow, StoreError> {
        self.writer.change(move |connection| rows::revoke(connection, &by, id)).await
    }

    /// The token with this digest, whether it holds or not.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn token_by_hash(&self, hash: TokenHash) -> Result<Option<TokenRow>, StoreError> {
        self.read(move |connection| rows::by_hash(connection, &hash)).await
    }
}
