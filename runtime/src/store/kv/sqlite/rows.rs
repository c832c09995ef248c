//! Keys and values in their table. Who changes one looks first at what may be against it, and then writes: a change that is refused has
//! written nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::store::digest::Digest;
use crate::store::error::Cause;
use crate::store::kv::model::{Entry, Expected, KvError, KvLimits, Listed, Namespace, Page, Put};
use crate::store::read::{damaged, sealed, time};
use crate::store::seal::Seal;

/// What of an entry can be believed without its value.
const HEAD: &str = "SELECT id, namespace, key, metadata, expires, revision, size, digest, seal FROM entries";
/// The same, and its value.
const WHOLE: &str = "SELECT id, namespace, key, metadata, expires, revision, size, digest, seal, value FROM entries";
const NAMESPACE: &str = "(SELECT id FROM namespaces WHERE worker = ?1 AND name = ?2)";

/// So many entries are looked at for one page: others wait for the thread that reads, and a worker may have many that have expired.
const LOOKED_AT: u32 = 4000;

/// An answer, or why there is none that is not the store's fault.
type Answer<T> = Result<Result<T, KvError>, Cause>;

/// An entry without its value.
struct Head {
    id: i64,
    key: String,
    metadata: Option<String>,
    expires: Option<Timestamp>,
    revision: u64,
    /// What it counts.
    size: u64,
    digest: Digest,
}

impl Head {
    fn read(row: &Row<'_>) -> Result<Self, Cause> {
        let (id, namespace, key): (i64, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (metadata, expires, revision): (Option<String>, Option<i64>, u64) = (row.get(3)?, row.get(4)?, row.get(5)?);
        let (size, digest): (u64, Digest) = (row.get(6)?, row.get(7)?);
        let seal = seal(namespace, &key, metadata.as_deref(), expires, revision, size, &digest);
        sealed(row, 8, seal, || named(&key))?;
        Ok(Self { id, key, metadata, expires: expires.map(time).transpose()?, revision, size, digest })
    }

    fn is_there(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| expires > now)
    }

    fn is(&self, expected: Expected, now: Timestamp) -> bool {
        match expected {
            Expected::Anything => true,
            Expected::Nothing => !self.is_there(now),
            Expected::Revision(revision) => self.is_there(now) && self.revision == revision,
        }
    }
}

fn named(key: &str) -> String {
    format!("the entry {key:?}")
}

fn seal(
    namespace: i64,
    key: &str,
    metadata: Option<&str>,
    expires: Option<i64>,
    revision: u64,
    size: u64,
    digest: &Digest,
) -> [u8; 32] {
    let seal = Seal::of("entries").number(namespace).text(key);
    let seal = match metadata {
        None => seal.text("none"),
        Some(metadata) => seal.text("some").text(metadata),
    };
    seal.maybe(expires).number(revision.cast_signed()).number(size.cast_signed()).digest(digest).made()
}

pub(super) fn get(
    connection: &Connection,
    namespace: &Namespace,
    key: &str,
    now: Timestamp,
) -> Result<Option<Entry>, Cause> {
    let found = with_value(connection, namespace, key)?;
    Ok(found.filter(|(head, _)| head.is_there(now)).map(|(head, value)| {
        let Head { metadata, expires, revision, .. } = head;
        Entry { value, metadata, expires, revision }
    }))
}

pub(super) fn get_many(
    connection: &Connection,
    namespace: &Namespace,
    keys: &[String],
    most: u64,
    now: Timestamp,
) -> Answer<Vec<Option<Entry>>> {
    let (mut found, mut bytes) = (Vec::with_capacity(keys.len()), 0);
    for key in keys {
        let entry = get(connection, namespace, key, now)?;
        bytes += entry.as_ref().map_or(0, |entry| entry.value.len()) as u64;
        if bytes > most {
            let refused = KvError::TooLarge { what: "answer", found: bytes, limit: most, key: "hostcall_fuel" };
            return Ok(Err(refused));
        }
        found.push(entry);
    }
    Ok(Ok(found))
}

pub(super) fn exists(connection: &Connection, namespace: &Namespace, key: &str, now: Timestamp) -> Result<bool, Cause> {
    Ok(head(connection, namespace, key)?.is_some_and(|head| head.is_there(now)))
}

pub(super) fn list(
    connection: &Connection,
    namespace: &Namespace,
    prefix: &str,
    after: Option<&str>,
    most: u32,
    now: Timestamp,
) -> Result<Page, Cause> {
    let query = format!("{HEAD} WHERE namespace = {NAMESPACE} AND key >= ?3 AND key > ?4 ORDER BY key");
    let mut statement = connection.prepare_cached(&query)?;
    // No key is empty, so every key comes after the empty one.
    let given = params![namespace.worker, namespace.name, prefix, after.unwrap_or_default()];
    let mut rows = statement.query(given)?;
    let (mut entries, mut last) = (Vec::new(), None);
    for looked_at in 0.. {
        let Some(row) = rows.next()? else { break };
        let head = Head::read(row)?;
        // Those with a prefix stand together, and begin with the prefix itself.
        if !head.key.starts_with(prefix) {
            break;
        }
        if entries.len() >= most as usize || looked_at >= LOOKED_AT {
            return Ok(Page { entries, next: last });
        }
        last = Some(head.key.clone());
        if head.is_there(now) {
            entries.push(Listed { key: head.key, metadata: head.metadata, expires: head.expires });
        }
    }
    Ok(Page { entries, next: None })
}

/// Keys in the order in which they were first written, behind this place, and where the next page begins.
pub(super) fn keys(
    connection: &Connection,
    namespace: &Namespace,
    after: u64,
    most: u32,
    now: Timestamp,
) -> Result<(Vec<String>, Option<u64>), Cause> {
    let query = format!("{HEAD} WHERE namespace = {NAMESPACE} AND id > ?3 ORDER BY id");
    let mut statement = connection.prepare_cached(&query)?;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![namespace.worker, namespace.name, after])?;
    let (mut keys, mut last) = (Vec::new(), None);
    for looked_at in 0.. {
        let Some(row) = rows.next()? else { break };
        let head = Head::read(row)?;
        if keys.len() >= most as usize || looked_at >= LOOKED_AT {
            return Ok((keys, last));
        }
        last = Some(head.id.unsigned_abs());
        if head.is_there(now) {
            keys.push(head.key);
        }
    }
    Ok((keys, None))
}

pub(super) fn put(
    connection: &Connection,
    namespace: &Namespace,
    put: &Put,
    expected: Expected,
    limits: &KvLimits,
    now: Timestamp,
) -> Answer<u64> {
    let size = match limits.size_of(put) {
        Ok(size) => size,
        Err(refused) => return Ok(Err(refused)),
    };
    let before = head(connection, namespace, &put.key)?;
    let is_expected = match &before {
        Some(head) => head.is(expected, now),
        None => !matches!(expected, Expected::Revision(_)),
    };
    if !is_expected {
        return Ok(Err(KvError::Conflict));
    }
    let freed = before.as_ref().map_or(0, |head| head.size);
    if let Err(full) = room(connection, namespace, size, freed, limits)? {
        return Ok(Err(full));
    }
    use_up(connection, namespace, size, freed)?;
    write(connection, namespace, put, size, before.map(|head| head.id)).map(Ok)
}

pub(super) fn put_many(connection: &Connection, namespace: &Namespace, puts: &[Put], limits: &KvLimits) -> Answer<()> {
    // Of those for one key the last one stands there at the end.
    let last: BTreeMap<&str, &Put> = puts.iter().map(|put| (put.key.as_str(), put)).collect();
    let (mut sized, mut all, mut freed) = (Vec::new(), 0, 0);
    for put in last.into_values() {
        let size = match limits.size_of(put) {
            Ok(size) => size,
            Err(refused) => return Ok(Err(refused)),
        };
        let before = head(connection, namespace, &put.key)?;
        all += size;
        freed += before.as_ref().map_or(0, |head| head.size);
        sized.push((put, size, before.map(|head| head.id)));
    }
    if let Err(full) = room(connection, namespace, all, freed, limits)? {
        return Ok(Err(full));
    }
    use_up(connection, namespace, all, freed)?;
    for (put, size, id) in sized {
        write(connection, namespace, put, size, id)?;
    }
    Ok(Ok(()))
}

pub(super) fn delete(
    connection: &Connection,
    namespace: &Namespace,
    key: &str,
    expected: Expected,
    now: Timestamp,
) -> Answer<()> {
    let Some(head) = head(connection, namespace, key)? else {
        return Ok(match expected {
            Expected::Revision(_) => Err(KvError::Conflict),
            Expected::Anything | Expected::Nothing => Ok(()),
        });
    };
    if !head.is(expected, now) {
        return Ok(Err(KvError::Conflict));
    }
    use_up(connection, namespace, 0, head.size)?;
    remove(connection, head.id).map(Ok)
}

pub(super) fn increment(
    connection: &Connection,
    namespace: &Namespace,
    key: &str,
    delta: i64,
    limits: &KvLimits,
    now: Timestamp,
) -> Answer<i64> {
    let before = with_value(connection, namespace, key)?.filter(|(head, _)| head.is_there(now));
    let (number, metadata, expires) = match before {
        None => (Some(0), None, None),
        Some((head, value)) => (number(&value), head.metadata, head.expires),
    };
    let Some(sum) = number.and_then(|number| number.checked_add(delta)) else { return Ok(Err(KvError::NotANumber)) };
    let sum_put = Put { key: key.to_owned(), value: sum.to_string().into_bytes(), metadata, expires };
    let written = put(connection, namespace, &sum_put, Expected::Anything, limits, now)?;
    Ok(written.map(|_| sum))
}

fn number(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

pub(super) fn used(connection: &Connection, worker: &str) -> Result<u64, Cause> {
    let query = "SELECT bytes FROM used WHERE worker = ?1";
    let bytes = connection.prepare_cached(query)?.query_row([worker], |row| row.get(0)).optional()?;
    Ok(bytes.unwrap_or(0))
}

pub(super) fn namespaces(connection: &Connection, worker: &str, now: Timestamp) -> Result<Vec<(String, u64)>, Cause> {
    let query = "SELECT n.name, count(e.id) FROM namespaces n LEFT JOIN entries e \
                 ON e.namespace = n.id AND (e.expires IS NULL OR e.expires > ?2) WHERE n.worker = ?1 GROUP BY n.id ORDER BY n.name";
    let mut statement = connection.prepare_cached(query)?;
    let found = statement.query_map(params![worker, now.as_microsecond()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Removes so many entries that have expired, and says how many it was.
pub(super) fn sweep(connection: &Connection, now: Timestamp, most: u32) -> Result<u64, Cause> {
    let query = "SELECT e.id, e.size, n.worker FROM entries e JOIN namespaces n ON n.id = e.namespace \
                 WHERE e.expires <= ?1 ORDER BY e.expires LIMIT ?2";
    let found: Vec<(i64, u64, String)> = connection
        .prepare_cached(query)?
        .query_map(params![now.as_microsecond(), most], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (id, size, worker) in &found {
        count(connection, worker, 0, *size)?;
        remove(connection, *id)?;
    }
    Ok(found.len() as u64)
}

fn head(connection: &Connection, namespace: &Namespace, key: &str) -> Result<Option<Head>, Cause> {
    let query = format!("{HEAD} WHERE namespace = {NAMESPACE} AND key = ?3");
    let mut statement = connection.prepare_cached(&query)?;
    let mut rows = statement.query(params![namespace.worker, namespace.name, key])?;
    rows.next()?.map(Head::read).transpose()
}

fn with_value(connection: &Connection, namespace: &Namespace, key: &str) -> Result<Option<(Head, Vec<u8>)>, Cause> {
    let query = format!("{WHOLE} WHERE namespace = {NAMESPACE} AND key = ?3");
    let mut statement = connection.prepare_cached(&query)?;
    let mut rows = statement.query(params![namespace.worker, namespace.name, key])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (head, value): (Head, Vec<u8>) = (Head::read(row)?, row.get(9)?);
    if Digest::of(&value) != head.digest {
        return Err(damaged(&named(key)));
    }
    Ok(Some((head, value)))
}

/// Whether the worker may take this much in place of that.
fn room(
    connection: &Connection,
    namespace: &Namespace,
    size: u64,
    freed: u64,
    limits: &KvLimits,
) -> Result<Result<(), KvError>, Cause> {
    let used = used(connection, &namespace.worker)?.saturating_sub(freed).saturating_add(size);
    // Whoever is past it, since it was lowered, may still write less than there was.
    let fits = used <= limits.total || size <= freed;
    Ok(if fits { Ok(()) } else { Err(KvError::Full { limit: limits.total }) })
}

fn use_up(connection: &Connection, namespace: &Namespace, size: u64, freed: u64) -> Result<(), Cause> {
    count(connection, &namespace.worker, size, freed)
}

fn count(connection: &Connection, worker: &str, size: u64, freed: u64) -> Result<(), Cause> {
    let query =
        "INSERT INTO used VALUES (?1, max(?2 - ?3, 0)) ON CONFLICT DO UPDATE SET bytes = max(bytes + ?2 - ?3, 0)";
    connection.prepare_cached(query)?.execute(params![worker, size, freed])?;
    Ok(())
}

fn write(
    connection: &Connection,
    namespace: &Namespace,
    put: &Put,
    size: u64,
    before: Option<i64>,
) -> Result<u64, Cause> {
    let of = id_of(connection, namespace)?;
    let revision = "UPDATE revisions SET last = last + 1 RETURNING last";
    let revision: u64 = connection.prepare_cached(revision)?.query_row([], |row| row.get(0))?;
    let (expires, digest) = (put.expires.map(Timestamp::as_microsecond), Digest::of(&put.value));
    let seal = seal(of, &put.key, put.metadata.as_deref(), expires, revision, size, &digest);
    let given = params![before, of, put.key, put.metadata, expires, revision, size, digest, seal, put.value];
    // Without an id a new row is given one.
    let write = "INSERT OR REPLACE INTO entries (id, namespace, key, metadata, expires, revision, size, digest, seal, value) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    connection.prepare_cached(write)?.execute(given)?;
    Ok(revision)
}

fn id_of(connection: &Connection, namespace: &Namespace) -> Result<i64, Cause> {
    let given = params![namespace.worker, namespace.name];
    let known = "SELECT id FROM namespaces WHERE worker = ?1 AND name = ?2";
    if let Some(id) = connection.prepare_cached(known)?.query_row(given, |row| row.get(0)).optional()? {
        return Ok(id);
    }
    let add = "INSERT INTO namespaces (worker, name) VALUES (?1, ?2) RETURNING id";
    Ok(connection.prepare_cached(add)?.query_row(given, |row| row.get(0))?)
}

fn remove(connection: &Connection, id: i64) -> Result<(), Cause> {
    connection.prepare_cached("DELETE FROM entries WHERE id = ?1")?.execute([id])?;
    Ok(())
}
