//! Tokens in their table. Each change has its line of the audit.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::{MOST, NewToken, Scope, TokenHash, TokenId, TokenRow};
use crate::store::change::{audit, now};
use crate::store::error::{Cause, StoreError};
use crate::store::model::By;
use crate::store::read::{all, damaged, faults, one, sealed, time};
use crate::store::seal::Seal;

const TOKENS: &str =
    "SELECT id, hash, name, scope, workers, hosts, hint, created, created_by, expires, revoked, seal FROM tokens";

/// Adds a token.
pub(in crate::store) fn add(connection: &Connection, by: &By, new: NewToken) -> Result<TokenRow, Cause> {
    let now = now();
    let hold = "SELECT count(*) FROM tokens WHERE revoked IS NULL AND (expires IS NULL OR expires > ?1)";
    let hold: u32 = connection.query_row(hold, [now.as_microsecond()], |row| row.get(0))?;
    if hold >= MOST {
        return Err(StoreError::TooManyTokens { most: MOST }.into());
    }
    let NewToken { hash, name, scope, workers, hosts, hint, expires } = new;
    let row = TokenRow {
        id: TokenId::fresh(),
        name,
        scope,
        workers,
        hosts,
        hint,
        created: now,
        created_by: by.who.clone(),
        // As exact as it is written down.
        expires: expires.map(|at| Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)),
        revoked: None,
    };
    let (workers, hosts) = (json(&row.workers), json(&row.hosts));
    let insert = "INSERT INTO tokens VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, NULL, ?11)";
    connection.execute(
        insert,
        params![
            row.id.to_string(),
            hash.0,
            row.name,
            scope.word(),
            workers,
            hosts,
            row.hint,
            now.as_microsecond(),
            row.created_by,
            micros(row.expires),
            seal(&row, &hash, [&workers, &hosts])
        ],
    )?;
    let detail = serde_json::json!({
        "name": row.name, "scope": scope.word(), "workers": row.workers, "hosts": row.hosts, "hint": row.hint,
        "expires": row.expires.map(|at| at.to_string()),
    });
    audit(connection, now, by, "token.add", &row.id.to_string(), &detail)?;
    Ok(row)
}

/// Revokes a token. One that was revoked stays as it is.
pub(in crate::store) fn revoke(connection: &Connection, by: &By, id: TokenId) -> Result<TokenRow, Cause> {
    let found = one(connection, &format!("{TOKENS} WHERE id = ?1"), [id.to_string()], hashed)?;
    let (hash, mut row) = found.ok_or(StoreError::NoToken { id })?;
    if row.revoked.is_some() {
        return Ok(row);
    }
    let now = now();
    row.revoked = Some(now);
    let seal = seal(&row, &hash, [&json(&row.workers), &json(&row.hosts)]);
    let update = "UPDATE tokens SET revoked = ?2, seal = ?3 WHERE id = ?1";
    connection.execute(update, params![id.to_string(), now.as_microsecond(), seal])?;
    let detail = serde_json::json!({ "name": row.name, "hint": row.hint });
    audit(connection, now, by, "token.revoke", &id.to_string(), &detail)?;
    Ok(row)
}

/// All tokens, also those that do not hold any more, the oldest first.
pub(in crate::store) fn tokens(connection: &Connection) -> Result<Vec<TokenRow>, Cause> {
    all(connection, &format!("{TOKENS} ORDER BY id"), [], row)
}

/// The token with this hash, whether it holds or not.
pub(in crate::store) fn by_hash(connection: &Connection, hash: &TokenHash) -> Result<Option<TokenRow>, Cause> {
    // The index does not compare in constant time. What it tells is of the digest of what was asked with, and nobody can choose that.
    let found = one(connection, &format!("{TOKENS} WHERE hash = ?1"), [hash.0], hashed)?;
    Ok(found.filter(|(known, _)| known == hash).map(|(_, row)| row))
}

/// Deletes what has not held since a time, and says how many.
pub(in crate::store) fn forget(connection: &Connection, before: i64) -> Result<usize, Cause> {
    Ok(connection.execute("DELETE FROM tokens WHERE revoked < ?1 OR expires < ?1", [before])?)
}

/// What is wrong with the rows.
pub(in crate::store) fn broken(connection: &Connection) -> Vec<Cause> {
    faults(connection, TOKENS, row)
}

fn row(connection: &Connection, row: &Row<'_>) -> Result<TokenRow, Cause> {
    hashed(connection, row).map(|(_, row)| row)
}

fn hashed(_: &Connection, row: &Row<'_>) -> Result<(TokenHash, TokenRow), Cause> {
    let (id, hash, name): (String, [u8; 32], String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let (scope, workers, hosts): (String, String, String) = (row.get(3)?, row.get(4)?, row.get(5)?);
    let (hint, created, created_by): (String, i64, String) = (row.get(6)?, row.get(7)?, row.get(8)?);
    let (expires, revoked): (Option<i64>, Option<i64>) = (row.get(9)?, row.get(10)?);
    let named = || format!("token {id}");
    let broken = || damaged(&named());
    let list = |text: &str| serde_json::from_str::<Vec<String>>(text).map_err(|_| broken());
    let found = TokenRow {
        id: TokenId::parse(&id).ok_or_else(broken)?,
        name,
        scope: Scope::parse(&scope).ok_or_else(broken)?,
        workers: list(&workers)?,
        hosts: list(&hosts)?,
        hint,
        created: time(created)?,
        created_by,
        expires: expires.map(time).transpose()?,
        revoked: revoked.map(time).transpose()?,
    };
    let hash = TokenHash(hash);
    sealed(row, 11, seal(&found, &hash, [&workers, &hosts]), named)?;
    Ok((hash, found))
}

/// `lists` are the globs as they are written.
fn seal(row: &TokenRow, hash: &TokenHash, lists: [&str; 2]) -> [u8; 32] {
    let seal = Seal::of("tokens").text(&row.id.to_string()).bytes(&hash.0).text(&row.name).text(row.scope.word());
    let seal = lists.into_iter().fold(seal, Seal::text).text(&row.hint).number(row.created.as_microsecond());
    seal.text(&row.created_by).maybe(micros(row.expires)).maybe(micros(row.revoked)).made()
}

fn json(globs: &[String]) -> String {
    serde_json::json!(globs).to_string()
}

fn micros(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_microsecond)
}
