//! Messages in their table, from their producer to their consumer. Each function is a part of one transaction.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use crate::store::digest::Digest;
use crate::store::error::Cause;
use crate::store::queue::due::Due;
use crate::store::queue::model::{
    Delivery, Held, Lease, Message, MessageId, NewMessage, QueueError, QueueLimits, QueueName, Settled,
};
use crate::store::read::{damaged, time};

/// An answer, or why there is none that is not the store's fault.
type Answer<T> = Result<Result<T, QueueError>, Cause>;

/// As [`row_of`] reads it.
pub(super) const MESSAGE: &str =
    "SELECT id, name, sent, content_type, trace, attempts, due, reason, lease, digest, body FROM messages";

/// So long a key is remembered.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

/// A message that is ready to be written: what takes its time was done where it does not hold up the thread that writes.
pub(super) struct Prepared {
    message: NewMessage,
    name: MessageId,
    text: String,
    digest: Digest,
}

impl Prepared {
    pub(super) fn new(message: NewMessage) -> Self {
        let name = MessageId::fresh();
        Self { digest: Digest::of(&message.body), text: name.to_string(), name, message }
    }

    /// What it counts.
    fn size(&self) -> u64 {
        self.message.body.len() as u64 + QueueLimits::MESSAGE
    }
}

/// Puts messages into a queue, all of them or none, and says how they are called.
pub(super) fn send(
    connection: &Connection,
    queue: &QueueName,
    messages: &[Prepared],
    limits: &QueueLimits,
    now: Timestamp,
) -> Answer<Vec<MessageId>> {
    let id = id_of(connection, queue)?;
    let before: Vec<Option<MessageId>> = messages
        .iter()
        .map(|prepared| sent_before(connection, id, &prepared.message, now))
        .collect::<Result<_, _>>()?;
    let fresh = || messages.iter().zip(&before).filter(|(_, before)| before.is_none()).map(|(prepared, _)| prepared);
    let (more, bytes) = (fresh().count() as u64, fresh().map(Prepared::size).sum::<u64>());
    let take = "UPDATE queues SET messages = messages + ?2, bytes = bytes + ?3 \
                WHERE id = ?1 AND messages + ?2 <= ?4 AND bytes + ?3 <= ?5";
    let taken = connection.prepare_cached(take)?.execute(params![id, more, bytes, limits.messages, limits.bytes])?;
    if more > 0 && taken == 0 {
        let (messages, bytes) = connection
            .prepare_cached("SELECT messages, bytes FROM queues WHERE id = ?1")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        return Ok(Err(QueueError::Full { messages, bytes }));
    }
    let mut names = Vec::with_capacity(messages.len());
    for (prepared, before) in messages.iter().zip(before) {
        names.push(match before {
            Some(before) => before,
            // Twice in one call under one key is once, too.
            None => match sent_before(connection, id, &prepared.message, now)? {
                Some(before) => {
                    let give_back = "UPDATE queues SET messages = messages - 1, bytes = bytes - ?2 WHERE id = ?1";
                    connection.prepare_cached(give_back)?.execute(params![id, prepared.size()])?;
                    before
                }
                None => {
                    insert(connection, id, prepared, now)?;
                    prepared.name
                }
            },
        });
    }
    Ok(Ok(names))
}

fn insert(connection: &Connection, queue: i64, prepared: &Prepared, now: Timestamp) -> Result<(), Cause> {
    let Prepared { message, text, digest, .. } = prepared;
    let (sent, due) = (now.as_microsecond(), later(now, message.delay));
    let insert = "INSERT INTO messages (queue, due, name, sent, since, content_type, trace, digest, body) \
                  VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7, ?8)";
    let given = params![queue, due, text, sent, message.content_type, message.trace, digest, message.body];
    connection.prepare_cached(insert)?.execute(given)?;
    if let Some(key) = &message.key {
        let expires = now + REMEMBERED;
        let remember = "INSERT OR REPLACE INTO keys VALUES (?1, ?2, ?3, ?4)";
        connection.prepare_cached(remember)?.execute(params![queue, key, text, expires.as_microsecond()])?;
    }
    Ok(())
}

fn sent_before(
    connection: &Connection,
    queue: i64,
    message: &NewMessage,
    now: Timestamp,
) -> Result<Option<MessageId>, Cause> {
    let Some(key) = &message.key else { return Ok(None) };
    let known = "SELECT name FROM keys WHERE queue = ?1 AND key = ?2 AND expires > ?3";
    let given = params![queue, key, now.as_microsecond()];
    let name: Option<String> = connection.prepare_cached(known)?.query_row(given, |row| row.get(0)).optional()?;
    name.map(|name| MessageId::parse(&name).ok_or_else(|| damaged(&format!("the key {key:?}")))).transpose()
}

/// Takes messages out that are due, the oldest first, so many and of so many bytes at most, but one in any case; they come back by
/// themselves after `lease`.
pub(super) fn receive(
    connection: &Connection,
    queue: &QueueName,
    delivery: Delivery,
    now: Timestamp,
) -> Result<Vec<Message>, Cause> {
    let Delivery { messages: most, bytes, lease } = delivery;
    let Some((id, false)) = known(connection, queue)? else { return Ok(Vec::new()) };
    let query = format!("{MESSAGE} WHERE queue = ?1 AND due <= ?2 ORDER BY due, id LIMIT ?3");
    let (mut found, mut broken): (Vec<(i64, Message)>, Vec<i64>) = Default::default();
    let mut sum = 0;
    {
        let mut statement = connection.prepare_cached(&query)?;
        let mut rows = statement.query(params![id, now.as_microsecond(), most])?;
        while let Some(row) = rows.next()? {
            let Row { number, message, is_whole } = row_of(row)?;
            if !is_whole {
                tracing::error!(%queue, id = %message.id, "a message is kept and not delivered: {BROKEN}");
                broken.push(number);
                continue;
            }
            sum += message.body.len() as u64;
            if sum > bytes && !found.is_empty() {
                break;
            }
            found.push((number, message));
        }
    }
    for number in broken {
        let keep = "UPDATE messages SET due = ?2, lease = NULL, reason = ?3 WHERE id = ?1";
        connection.prepare_cached(keep)?.execute(params![number, NEVER, BROKEN])?;
    }
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let number: i64 = connection
        .prepare_cached("UPDATE leases SET last = last + 1 RETURNING last")?
        .query_row([], |row| row.get(0))?;
    let until = later(now, lease);
    let take = "UPDATE messages SET due = ?2, attempts = attempts + 1, lease = ?3 WHERE id = ?1";
    let mut statement = connection.prepare_cached(take)?;
    for (id, message) in &mut found {
        statement.execute(params![*id, until, number])?;
        message.attempts += 1;
        message.lease = Some(Lease(Held::Row { message: *id, number }));
    }
    Ok(found.into_iter().map(|(_, message)| message).collect())
}

/// Does with messages that are out what became of them. One whose lease is over is somebody else's by now, and stays as it is; says how
/// many those are.
pub(super) fn settle(
    connection: &Connection,
    queue: &QueueName,
    settled: &[(Lease, Settled)],
    now: Timestamp,
) -> Result<usize, Cause> {
    let mut late = 0;
    // By queue: what leaves it, and what comes.
    let mut counts: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    let mut add = |queue, messages, bytes| {
        let count = counts.entry(queue).or_default();
        *count = (count.0 + messages, count.1 + bytes);
    };
    // With RETURNING, each deletion would build a table for what it returns: a third of its time.
    let mut delete = connection.prepare_cached("DELETE FROM messages WHERE id = ?1")?;
    for (lease, settled) in settled {
        let Lease(Held::Row { message, number }) = lease else {
            late += 1;
            continue;
        };
        match settled {
            Settled::Done => {
                let Some((from, size)) = held(connection, HELD, params![message, number])? else {
                    late += 1;
                    continue;
                };
                delete.execute([message])?;
                add(from, -1, -size);
            }
            Settled::Again(after, reason) => {
                let back = "UPDATE messages SET due = ?3, lease = NULL, reason = ?4 WHERE id = ?1 AND lease = ?2";
                let due = later(now, *after);
                late += 1 - connection.prepare_cached(back)?.execute(params![message, number, due, reason])?;
            }
            Settled::Dead(into, reason) => {
                let Some((from, size)) = held(connection, HELD, params![message, number])? else {
                    late += 1;
                    continue;
                };
                let dead = QueueName { worker: queue.worker.clone(), name: into.clone() };
                let dead = id_of(connection, &dead)?;
                add(from, -1, -size);
                add(dead, 1, size);
                let bury = "UPDATE messages SET queue = ?2, due = ?3, since = ?3, lease = NULL, attempts = 0, reason = ?4 \
                            WHERE id = ?1";
                connection.prepare_cached(bury)?.execute(params![message, dead, now.as_microsecond(), reason])?;
            }
        }
    }
    for (queue, (messages, bytes)) in counts {
        count(connection, queue, messages, bytes)?;
    }
    Ok(late)
}

/// A message that is out with this lease.
const HELD: &str = "SELECT queue, length(body) + 256 FROM messages WHERE id = ?1 AND lease = ?2";

/// The queue of a message that is still out, and what it counts.
pub(super) fn held(
    connection: &Connection,
    sql: &str,
    given: impl rusqlite::Params,
) -> Result<Option<(i64, i64)>, Cause> {
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row(given, |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// The lease of a message that is out goes on for so long from now. Whether it was still its.
pub(super) fn extend(connection: &Connection, lease: &Lease, by: Duration, now: Timestamp) -> Result<bool, Cause> {
    let Lease(Held::Row { message, number }) = lease else { return Ok(false) };
    let extend = "UPDATE messages SET due = max(due, ?3) WHERE id = ?1 AND lease = ?2";
    let until = later(now, by);
    Ok(connection.prepare_cached(extend)?.execute(params![message, number, until])? == 1)
}

/// What of a queue could be delivered now, up to so many messages. Of one that is paused, nothing ever.
pub(super) fn due(connection: &Connection, queue: &QueueName, most: u32, now: Timestamp) -> Result<Due, Cause> {
    let Some((id, false)) = known(connection, queue)? else { return Ok(Due::default()) };
    let ready = "SELECT count(*), coalesce(sum(size), 0), min(due) FROM \
                 (SELECT due, length(body) AS size FROM messages WHERE queue = ?1 AND due <= ?2 ORDER BY due, id LIMIT ?3)";
    let given = params![id, now.as_microsecond(), most];
    let (messages, bytes, first): (u32, u64, Option<i64>) =
        connection.prepare_cached(ready)?.query_row(given, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let first = match first {
        Some(first) => Some(first),
        None => {
            let next = "SELECT min(due) FROM messages WHERE queue = ?1";
            connection.prepare_cached(next)?.query_row([id], |row| row.get(0))?
        }
    };
    Ok(Due { messages, bytes, first: first.map(time).transpose()? })
}

/// Nobody has what was out when the last process ended: it can be delivered again at once.
pub(super) fn release(connection: &Connection) -> Result<(), Cause> {
    let back = "UPDATE messages SET due = ?1, lease = NULL WHERE lease IS NOT NULL AND due > ?1";
    connection.execute(back, [Timestamp::now().as_microsecond()])?;
    Ok(())
}

/// The number of a queue, and whether it is paused.
pub(super) fn known(connection: &Connection, queue: &QueueName) -> Result<Option<(i64, bool)>, Cause> {
    let known = "SELECT id, paused FROM queues WHERE worker = ?1 AND name = ?2";
    let given = params![queue.worker, queue.name];
    Ok(connection.prepare_cached(known)?.query_row(given, |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

pub(super) fn id_of(connection: &Connection, queue: &QueueName) -> Result<i64, Cause> {
    if let Some((id, _)) = known(connection, queue)? {
        return Ok(id);
    }
    let add = "INSERT INTO queues (worker, name) VALUES (?1, ?2) RETURNING id";
    let given = params![queue.worker, queue.name];
    Ok(connection.prepare_cached(add)?.query_row(given, |row| row.get(0))?)
}

pub(super) fn count(connection: &Connection, queue: i64, messages: i64, bytes: i64) -> Result<(), Cause> {
    let count = "UPDATE queues SET messages = messages + ?2, bytes = bytes + ?3 WHERE id = ?1";
    connection.prepare_cached(count)?.execute(params![queue, messages, bytes])?;
    Ok(())
}

/// The year 9999 begins: what is due then never is.
const NEVER: i64 = 253_370_764_800_000_000;

/// Why a message is never delivered.
const BROKEN: &str = "its bytes are not what was written";

/// A message with its number, and whether its bytes are what was written.
pub(super) struct Row {
    pub(super) number: i64,
    pub(super) message: Message,
    pub(super) is_whole: bool,
}

pub(super) fn row_of(row: &rusqlite::Row<'_>) -> Result<Row, Cause> {
    let (number, name): (i64, String) = (row.get(0)?, row.get(1)?);
    let (digest, body): (Digest, Vec<u8>) = (row.get(9)?, row.get(10)?);
    let is_whole = Digest::of(&body) == digest;
    let message = Message {
        id: MessageId::parse(&name).ok_or_else(|| damaged(&format!("message {name}")))?,
        sent: time(row.get(2)?)?,
        content_type: row.get(3)?,
        trace: row.get(4)?,
        attempts: row.get(5)?,
        due: time(row.get(6)?)?,
        reason: row.get(7)?,
        lease: None,
        body,
    };
    Ok(Row { number, message, is_whole })
}

/// In microseconds since 1970.
fn later(now: Timestamp, by: Duration) -> i64 {
    let later = SignedDuration::try_from(by).ok().and_then(|by| now.checked_add(by).ok());
    later.map_or(NEVER, Timestamp::as_microsecond).min(NEVER)
}
