//! Secrets in their table. Each change has its line of the audit, which tells neither the value nor how long it is.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::{KeyId, MOST, NONCE, Sealed, Secret, SecretName};
use crate::store::change::{audit, now};
use crate::store::error::{Cause, StoreError};
use crate::store::model::By;
use crate::store::read::{all, damaged, faults, one, sealed as intact, time};
use crate::store::seal::Seal;
use crate::store::vault::VaultError;

const SECRETS: &str = "SELECT worker, name, revision, changed, key, nonce, ciphertext, seal FROM secrets";

/// A row of the table: a secret, or the memory of one.
struct SecretRow {
    worker: String,
    name: SecretName,
    revision: u32,
    changed: Timestamp,
    /// `None`: it was removed.
    sealed: Option<Sealed>,
}

/// Gives a secret its value, and says which revision that is.
pub(in crate::store) fn set(
    connection: &Connection,
    by: &By,
    worker: &str,
    name: &SecretName,
    sealed: &Sealed,
) -> Result<u32, Cause> {
    let before = row_of(connection, worker, name)?;
    if before.is_none() {
        let known = "SELECT count(*) FROM secrets WHERE worker = ?1";
        let known: u32 = connection.prepare_cached(known)?.query_row([worker], |row| row.get(0))?;
        if known >= MOST {
            return Err(StoreError::TooManySecrets { worker: worker.to_owned(), most: MOST }.into());
        }
    }
    let revision = before.map_or(0, |row| row.revision).saturating_add(1);
    let now = now();
    write(connection, worker, name, (revision, now), Some(sealed))?;
    let detail = serde_json::json!({ "name": name.as_str(), "revision": revision, "key": sealed.key.to_string() });
    audit(connection, now, by, "secret.set", worker, &detail)?;
    Ok(revision)
}

/// Forgets the value of a secret, and remembers its revision.
pub(in crate::store) fn remove(connection: &Connection, by: &By, worker: &str, name: &SecretName) -> Result<(), Cause> {
    let Some(SecretRow { revision, sealed: Some(_), .. }) = row_of(connection, worker, name)? else {
        return Err(StoreError::NoSecret { worker: worker.to_owned(), name: name.to_string() }.into());
    };
    let now = now();
    write(connection, worker, name, (revision, now), None)?;
    let detail = serde_json::json!({ "name": name.as_str(), "revision": revision });
    audit(connection, now, by, "secret.remove", worker, &detail)
}

/// The secrets of a worker, or of all of them, by worker and name.
pub(in crate::store) fn secrets(connection: &Connection, worker: Option<&str>) -> Result<Vec<Secret>, Cause> {
    let rows = match worker {
        Some(worker) => all(connection, &format!("{SECRETS} WHERE worker = ?1 ORDER BY name"), [worker], row)?,
        None => all(connection, &format!("{SECRETS} ORDER BY worker, name"), [], row)?,
    };
    Ok(rows.into_iter().filter_map(SecretRow::secret).collect())
}

/// Seals every value anew, one at a time, and says how many are other than before. Neither revisions nor times change.
pub(in crate::store) fn reseal(
    connection: &Connection,
    by: &By,
    anew: impl Fn(&Secret) -> Result<Sealed, VaultError>,
) -> Result<usize, Cause> {
    let names = "SELECT worker, name FROM secrets WHERE ciphertext IS NOT NULL ORDER BY worker, name";
    let names = connection
        .prepare(names)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(String, String)>>>()?;
    let mut keys = std::collections::BTreeSet::new();
    let mut count = 0;
    for (worker, name) in names {
        let named = || damaged(&format!("secret {name} of worker {worker}"));
        let name = SecretName::parse(&name).map_err(|_| named())?;
        let secret = row_of(connection, &worker, &name)?.and_then(SecretRow::secret).ok_or_else(named)?;
        let sealed = anew(&secret).map_err(StoreError::NotResealed)?;
        if sealed != secret.sealed {
            write(connection, &worker, &name, (secret.revision, secret.set), Some(&sealed))?;
            keys.insert(sealed.key.to_string());
            count += 1;
        }
    }
    if count > 0 {
        let detail = serde_json::json!({ "count": count, "keys": keys });
        audit(connection, now(), by, "secrets.reseal", "secrets", &detail)?;
    }
    Ok(count)
}

/// Forgets the revisions of what was removed before a time.
pub(in crate::store) fn forget(connection: &Connection, before: i64) -> Result<(), Cause> {
    connection.execute("DELETE FROM secrets WHERE ciphertext IS NULL AND changed < ?1", [before])?;
    Ok(())
}

/// What is wrong with the rows.
pub(in crate::store) fn broken(connection: &Connection) -> Vec<Cause> {
    faults(connection, SECRETS, row)
}

impl SecretRow {
    fn secret(self) -> Option<Secret> {
        let Self { worker, name, revision, changed, sealed } = self;
        sealed.map(|sealed| Secret { worker, name, set: changed, sealed, revision })
    }
}

fn write(
    connection: &Connection,
    worker: &str,
    name: &SecretName,
    (revision, changed): (u32, Timestamp),
    sealed: Option<&Sealed>,
) -> Result<(), Cause> {
    let changed = changed.as_microsecond();
    let seal = seal(worker, name.as_str(), revision, changed, sealed);
    let (key, nonce) = (sealed.map(|sealed| sealed.key.0), sealed.map(|sealed| sealed.nonce));
    let ciphertext = sealed.map(|sealed| &sealed.ciphertext);
    let write = "INSERT INTO secrets VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (worker, name) DO UPDATE \
         SET revision = ?3, changed = ?4, key = ?5, nonce = ?6, ciphertext = ?7, seal = ?8";
    connection.prepare_cached(write)?.execute(params![
        worker,
        name.as_str(),
        revision,
        changed,
        key,
        nonce,
        ciphertext,
        seal
    ])?;
    Ok(())
}

fn row_of(connection: &Connection, worker: &str, name: &SecretName) -> Result<Option<SecretRow>, Cause> {
    one(connection, &format!("{SECRETS} WHERE worker = ?1 AND name = ?2"), [worker, name.as_str()], row)
}

fn row(_: &Connection, row: &Row<'_>) -> Result<SecretRow, Cause> {
    let (worker, name): (String, String) = (row.get(0)?, row.get(1)?);
    let (revision, changed): (u32, i64) = (row.get(2)?, row.get(3)?);
    let named = || format!("secret {name} of worker {worker}");
    let (key, nonce): (Option<[u8; 4]>, Option<[u8; NONCE]>) = (row.get(4)?, row.get(5)?);
    let kept = (key, nonce, row.get::<_, Option<Vec<u8>>>(6)?);
    let sealed = match kept {
        (Some(key), Some(nonce), Some(ciphertext)) => Some(Sealed { key: KeyId(key), nonce, ciphertext }),
        (None, None, None) => None,
        _ => return Err(damaged(&named())),
    };
    intact(row, 7, seal(&worker, &name, revision, changed, sealed.as_ref()), named)?;
    let name = SecretName::parse(&name).map_err(|_| damaged(&named()))?;
    Ok(SecretRow { worker, name, revision, changed: time(changed)?, sealed })
}

fn seal(worker: &str, name: &str, revision: u32, changed: i64, sealed: Option<&Sealed>) -> [u8; 32] {
    let seal = Seal::of("secrets").text(worker).text(name).number(revision.into()).number(changed);
    match sealed {
        None => seal.text("removed").made(),
        Some(Sealed { key, nonce, ciphertext }) => seal.bytes(&key.0).bytes(nonce).bytes(ciphertext).made(),
    }
}
