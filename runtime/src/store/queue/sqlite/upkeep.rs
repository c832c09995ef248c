//! Messages in their table, as operators and time have them: looked at, moved, removed. Each function is a part of one transaction.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::rows::{MESSAGE, count, held, id_of, known, row_of};
use crate::store::error::Cause;
use crate::store::queue::model::{Message, QueueName, QueueStanding};
use crate::store::read::time;

/// Messages of a queue as they stand there, the oldest first; nothing about them changes.
pub(super) fn peek(connection: &Connection, queue: &QueueName, most: u32) -> Result<Vec<Message>, Cause> {
    let Some((id, _)) = known(connection, queue)? else { return Ok(Vec::new()) };
    let mut statement = connection.prepare_cached(&format!("{MESSAGE} WHERE queue = ?1 ORDER BY due, id LIMIT ?2"))?;
    let mut rows = statement.query(params![id, most])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(row_of(row)?.message);
    }
    Ok(found)
}

/// Moves messages from one queue of a worker to another, the oldest first, so many at most; says how many it was.
pub(super) fn redrive(
    connection: &Connection,
    from: &QueueName,
    into: &QueueName,
    most: u32,
    now: Timestamp,
) -> Result<u64, Cause> {
    let Some((from, _)) = known(connection, from)? else { return Ok(0) };
    let into = id_of(connection, into)?;
    let some = "SELECT id, length(body) + 256 FROM messages WHERE queue = ?1 AND (lease IS NULL OR due <= ?3) ORDER BY due, id LIMIT ?2";
    let found: Vec<(i64, i64)> = connection
        .prepare_cached(some)?
        .query_map(params![from, most, now.as_microsecond()], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut put = connection.prepare_cached(
        "UPDATE messages SET queue = ?2, due = ?3, since = ?3, lease = NULL, attempts = 0, reason = NULL WHERE id = ?1",
    )?;
    for (message, _) in &found {
        put.execute(params![message, into, now.as_microsecond()])?;
    }
    let (messages, bytes) = (found.len() as i64, found.iter().map(|(_, size)| size).sum::<i64>());
    count(connection, from, -messages, -bytes)?;
    count(connection, into, messages, bytes)?;
    Ok(found.len() as u64)
}

/// Removes messages of a queue, whether they are out or not, so many at most; says how many it was.
pub(super) fn purge(connection: &Connection, queue: &QueueName, most: u32) -> Result<u64, Cause> {
    let Some((id, _)) = known(connection, queue)? else { return Ok(0) };
    let purge = "DELETE FROM messages WHERE id IN (SELECT id FROM messages WHERE queue = ?1 LIMIT ?2) RETURNING length(body) + 256";
    let sizes: Vec<i64> = connection
        .prepare_cached(purge)?
        .query_map(params![id, most], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    count(connection, id, -(sizes.len() as i64), -sizes.iter().sum::<i64>())?;
    Ok(sizes.len() as u64)
}

/// From now on nothing of it is delivered, or something is again.
pub(super) fn pause(connection: &Connection, queue: &QueueName, paused: bool) -> Result<(), Cause> {
    let id = id_of(connection, queue)?;
    connection.prepare_cached("UPDATE queues SET paused = ?2 WHERE id = ?1")?.execute(params![id, paused])?;
    Ok(())
}

/// Messages that came into a queue before, so many at most. There is no index for this, so nobody else should wait for it.
pub(super) fn older(
    connection: &Connection,
    queue: &QueueName,
    came_before: Timestamp,
    most: u32,
) -> Result<Vec<i64>, Cause> {
    let Some((id, _)) = known(connection, queue)? else { return Ok(Vec::new()) };
    let mut older = connection.prepare_cached("SELECT id FROM messages WHERE queue = ?1 AND since < ?2 LIMIT ?3")?;
    let found = older.query_map(params![id, came_before.as_microsecond(), most], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Buries those of these messages that came before and are not out, and says how many it was.
pub(super) fn bury(
    connection: &Connection,
    queue: &QueueName,
    dead: &QueueName,
    old: &[i64],
    came_before: Timestamp,
    now: Timestamp,
) -> Result<u64, Cause> {
    let Some((id, _)) = known(connection, queue)? else { return Ok(0) };
    let dead = id_of(connection, dead)?;
    let bury = "UPDATE messages SET queue = ?3, due = ?4, since = ?4, lease = NULL, attempts = 0, reason = ?5 \
                WHERE id = ?1 AND queue = ?2 AND since < ?6 AND due <= ?4 RETURNING queue, length(body) + 256";
    let (now, before) = (now.as_microsecond(), came_before.as_microsecond());
    let (mut messages, mut bytes) = (0, 0);
    for message in old {
        let given = params![message, id, dead, now, "nobody was done with it in time", before];
        if let Some((_, size)) = held(connection, bury, given)? {
            (messages, bytes) = (messages + 1, bytes + size);
        }
    }
    count(connection, id, -messages, -bytes)?;
    count(connection, dead, messages, bytes)?;
    Ok(messages.unsigned_abs())
}

/// Removes those of these dead letters that came before, and says how many it was.
pub(super) fn forget(
    connection: &Connection,
    dead: &QueueName,
    old: &[i64],
    came_before: Timestamp,
) -> Result<u64, Cause> {
    let Some((id, _)) = known(connection, dead)? else { return Ok(0) };
    let forget = "DELETE FROM messages WHERE id = ?1 AND queue = ?2 AND since < ?3 RETURNING queue, length(body) + 256";
    let (mut messages, mut bytes) = (0, 0);
    for message in old {
        if let Some((_, size)) = held(connection, forget, params![message, id, came_before.as_microsecond()])? {
            (messages, bytes) = (messages + 1, bytes + size);
        }
    }
    count(connection, id, -messages, -bytes)?;
    Ok(messages.unsigned_abs())
}

/// Forgets keys that are remembered no longer, so many at most, and says how many it was.
pub(super) fn forget_keys(connection: &Connection, most: u32, now: Timestamp) -> Result<u64, Cause> {
    let forget = "DELETE FROM keys WHERE (queue, key) IN (SELECT queue, key FROM keys WHERE expires <= ?1 LIMIT ?2)";
    let forgotten = connection.prepare_cached(forget)?.execute(params![now.as_microsecond(), most])?;
    Ok(forgotten as u64)
}

/// All queues, or those of a worker.
pub(super) fn standing(connection: &Connection, worker: Option<&str>) -> Result<Vec<QueueStanding>, Cause> {
    let all = "SELECT q.worker, q.name, q.paused, q.messages, q.bytes, (SELECT sent FROM messages m WHERE m.queue = q.id ORDER BY due, id LIMIT 1) \
               FROM queues q WHERE ?1 IS NULL OR q.worker = ?1 ORDER BY q.worker, q.name";
    let mut statement = connection.prepare_cached(all)?;
    let mut rows = statement.query([worker])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (worker, name): (String, String) = (row.get(0)?, row.get(1)?);
        let oldest: Option<i64> = row.get(5)?;
        found.push(QueueStanding {
            queue: QueueName { worker: worker.into(), name: name.into() },
            paused: row.get(2)?,
            messages: row.get(3)?,
            bytes: row.get(4)?,
            oldest: oldest.map(time).transpose()?,
        });
    }
    Ok(found)
}
