//! What the database holds, read under its seals: a row that is not what it was when it was written is an error, not an answer.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::digest::Digest;
use super::error::Cause;
use super::horizon;
use super::model::{AuditEntry, Content, Deployment, DeploymentId, Plan, Snapshot, Version, VersionId, Why, Worker};
use super::seal;
use super::secret;
use super::shares::{Share, Shares, Weight};
use super::token;

/// What a tombstone says in the place of its reason.
pub(super) const REMOVE: &str = "remove";

pub(super) type Read<T> = fn(&Connection, &Row<'_>) -> Result<T, Cause>;

const WORKERS: &str = "SELECT id, name, created, seal FROM workers";
const VERSIONS: &str = "SELECT v.id, v.worker, w.name, v.number, v.created, v.message, v.seal, c.component, c.manifest, c.seal \
     FROM versions v JOIN workers w ON w.id = v.worker LEFT JOIN contents c ON c.version = v.id";
const DEPLOYMENTS: &str = "SELECT d.number, d.id, d.worker, w.name, d.created, d.who, d.why, d.note, d.seal \
     FROM deployments d JOIN workers w ON w.id = d.worker";
const AUDIT: &str = "SELECT number, at, actor, action, target, detail, seal FROM audit";
const KEYS: &str = "SELECT who, key, request, answer, expires, seal FROM idempotency_keys";

/// A worker as it stands in its table.
pub(super) struct WorkerRow {
    pub(super) id: i64,
    name: String,
    created: Timestamp,
}

/// An answer that was given to a key.
pub(super) struct Answer {
    pub(super) request: Digest,
    pub(super) answer: String,
    pub(super) expires: Timestamp,
}

/// All workers with what they serve. In a transaction, this is one moment.
pub(super) fn snapshot(connection: &Connection) -> Result<Snapshot, Cause> {
    let rows = all(connection, &format!("{WORKERS} ORDER BY name"), [], worker_row)?;
    Ok(Snapshot { workers: rows.into_iter().map(|row| complete(connection, row)).collect::<Result<_, Cause>>()? })
}

/// A worker with what it serves.
pub(super) fn worker(connection: &Connection, name: &str) -> Result<Option<Worker>, Cause> {
    known(connection, name)?.map(|row| complete(connection, row)).transpose()
}

fn complete(connection: &Connection, row: WorkerRow) -> Result<Worker, Cause> {
    let deployment = current(connection, row.id)?;
    let shares = deployment.as_ref().and_then(Deployment::shares);
    let serving = shares.into_iter().flat_map(Shares::iter).map(|share| {
        let damaged = || Cause::Damaged(format!("version {} serves and is not there", share.version));
        version(connection, share.version)?.ok_or_else(damaged)
    });
    let serving = serving.collect::<Result<_, Cause>>()?;
    Ok(Worker { name: row.name, created: row.created, deployment, serving })
}

/// The same, without what it serves.
pub(super) fn known(connection: &Connection, name: &str) -> Result<Option<WorkerRow>, Cause> {
    one(connection, &format!("{WORKERS} WHERE name = ?1"), [name], worker_row)
}

pub(super) fn version(connection: &Connection, id: VersionId) -> Result<Option<Version>, Cause> {
    one(connection, &format!("{VERSIONS} WHERE v.id = ?1"), [id.to_string()], version_row)
}

pub(super) fn version_numbered(connection: &Connection, worker: &str, number: u32) -> Result<Option<Version>, Cause> {
    one(connection, &format!("{VERSIONS} WHERE w.name = ?1 AND v.number = ?2"), params![worker, number], version_row)
}

/// The newest versions of a worker, the newest first; below this number, if there is one.
pub(super) fn versions(
    connection: &Connection,
    worker: &str,
    below: Option<u32>,
    most: u32,
) -> Result<Vec<Version>, Cause> {
    let query = format!("{VERSIONS} WHERE w.name = ?1 AND v.number < ?2 ORDER BY v.number DESC LIMIT ?3");
    let below = below.map_or(i64::MAX, i64::from);
    all(connection, &query, params![worker, below, most], version_row)
}

/// The newest deployment of a worker.
pub(super) fn current(connection: &Connection, worker: i64) -> Result<Option<Deployment>, Cause> {
    let query = format!("{DEPLOYMENTS} WHERE d.worker = ?1 ORDER BY d.number DESC LIMIT 1");
    one(connection, &query, [worker], deployment_row)
}

pub(super) fn deployment(connection: &Connection, id: DeploymentId) -> Result<Option<Deployment>, Cause> {
    one(connection, &format!("{DEPLOYMENTS} WHERE d.id = ?1"), [id.to_string()], deployment_row)
}

/// The newest deployments of a worker, the newest first; before this one, if it is given.
pub(super) fn deployments(
    connection: &Connection,
    worker: &str,
    before: Option<DeploymentId>,
    most: u32,
) -> Result<Vec<Deployment>, Cause> {
    let query = format!(
        "{DEPLOYMENTS} WHERE w.name = ?1 AND (?2 IS NULL OR d.number < (SELECT number FROM deployments WHERE id = ?2)) \
         ORDER BY d.number DESC LIMIT ?3"
    );
    all(connection, &query, params![worker, before.map(|id| id.to_string()), most], deployment_row)
}

/// The newest lines of the audit, the newest first; below this number, if there is one.
pub(super) fn audit(connection: &Connection, below: Option<i64>, most: u32) -> Result<Vec<AuditEntry>, Cause> {
    let query = format!("{AUDIT} WHERE number < ?1 ORDER BY number DESC LIMIT ?2");
    all(connection, &query, params![below.unwrap_or(i64::MAX), most], audit_row)
}

/// What was answered to a key of this caller.
pub(super) fn answer(connection: &Connection, who: &str, key: &str) -> Result<Option<Answer>, Cause> {
    one(connection, &format!("{KEYS} WHERE who = ?1 AND key = ?2"), [who, key], answer_row)
}

/// The components that versions need.
pub(super) fn components(connection: &Connection) -> rusqlite::Result<Vec<Digest>> {
    let mut statement = connection.prepare("SELECT DISTINCT component FROM contents ORDER BY component")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// The versions that need a component, as they are named to people.
pub(super) fn users(connection: &Connection, component: &Digest) -> rusqlite::Result<Vec<String>> {
    let query = "SELECT w.name || ' version ' || v.number FROM contents c JOIN versions v ON v.id = c.version \
         JOIN workers w ON w.id = v.worker WHERE c.component = ?1 ORDER BY w.name, v.number";
    let mut statement = connection.prepare(query)?;
    statement.query_map([component], |row| row.get(0))?.collect()
}

/// What is wrong with the rows; with those of the audit too, if it is asked for.
pub(super) fn broken(connection: &Connection, with_audit: bool) -> Vec<Cause> {
    let mut found = faults(connection, WORKERS, worker_row);
    found.extend(faults(connection, VERSIONS, version_row));
    found.extend(faults(connection, DEPLOYMENTS, deployment_row));
    found.extend(faults(connection, KEYS, answer_row));
    found.extend(secret::rows::broken(connection));
    found.extend(token::rows::broken(connection));
    found.extend(horizon::broken(connection));
    if with_audit {
        found.extend(faults(connection, AUDIT, audit_row));
        found.extend(horizon::gaps(connection));
    }
    found
}

pub(super) fn one<T>(
    connection: &Connection,
    query: &str,
    given: impl rusqlite::Params,
    read: Read<T>,
) -> Result<Option<T>, Cause> {
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query(given)?;
    rows.next()?.map(|row| read(connection, row)).transpose()
}

pub(super) fn all<T>(
    connection: &Connection,
    query: &str,
    given: impl rusqlite::Params,
    read: Read<T>,
) -> Result<Vec<T>, Cause> {
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query(given)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(connection, row)?);
    }
    Ok(found)
}

/// Reads all rows for what is wrong with them alone.
pub(super) fn faults<T>(connection: &Connection, query: &str, read: Read<T>) -> Vec<Cause> {
    let mut found = Vec::new();
    let mut look = || {
        let mut statement = connection.prepare(query)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            found.extend(read(connection, row).err());
        }
        Ok::<(), rusqlite::Error>(())
    };
    let end = look();
    found.extend(end.err().map(Cause::from));
    found
}

fn worker_row(_: &Connection, row: &Row<'_>) -> Result<WorkerRow, Cause> {
    let (id, name, created): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    sealed(row, 3, seal::worker(id, &name, created), || format!("worker {name}"))?;
    Ok(WorkerRow { id, created: time(created)?, name })
}

fn version_row(_: &Connection, row: &Row<'_>) -> Result<Version, Cause> {
    let (id, of, worker): (String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let (number, created, message): (u32, i64, String) = (row.get(3)?, row.get(4)?, row.get(5)?);
    let named = || format!("version {number} of worker {worker}");
    sealed(row, 6, seal::version(&id, of, number, created, &message), named)?;
    let content = match row.get::<_, Option<Digest>>(7)? {
        None => None,
        Some(component) => {
            let manifest: String = row.get(8)?;
            sealed(row, 9, seal::content(&id, &component, &manifest), named)?;
            Some(Content { component, manifest })
        }
    };
    let created = time(created)?;
    let id = VersionId::parse(&id).ok_or_else(|| damaged(&named()))?;
    Ok(Version { id, worker, number, created, message, content })
}

fn deployment_row(connection: &Connection, row: &Row<'_>) -> Result<Deployment, Cause> {
    let (number, id, of): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let (worker, created): (String, i64) = (row.get(3)?, row.get(4)?);
    let (who, why, note): (String, String, String) = (row.get(5)?, row.get(6)?, row.get(7)?);
    let named = || format!("deployment {id} of worker {worker}");
    let shares = shares(connection, number, &named)?;
    sealed(row, 8, seal::deployment(number, &id, of, created, [&who, &why, &note], &shares), named)?;
    let plan = match Why::parse(&why) {
        None if why == REMOVE && shares.is_empty() => Plan::Removed,
        Some(why) => Plan::Serve { why, shares: Shares::new(shares).map_err(|_| damaged(&named()))? },
        None => return Err(damaged(&named())),
    };
    let created = time(created)?;
    let id = DeploymentId::parse(&id).ok_or_else(|| damaged(&named()))?;
    Ok(Deployment { id, worker, created, who, note, plan })
}

fn shares(connection: &Connection, deployment: i64, named: &dyn Fn() -> String) -> Result<Vec<Share>, Cause> {
    let query = "SELECT version, weight FROM shares WHERE deployment = ?1 ORDER BY version";
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query([deployment])?;
    let mut shares = Vec::new();
    while let Some(row) = rows.next()? {
        let (version, weight): (String, u16) = (row.get(0)?, row.get(1)?);
        let share = VersionId::parse(&version).zip(Weight::new(weight).ok());
        let (version, weight) = share.ok_or_else(|| damaged(&named()))?;
        shares.push(Share { version, weight });
    }
    Ok(shares)
}

fn audit_row(_: &Connection, row: &Row<'_>) -> Result<AuditEntry, Cause> {
    let (number, at): (i64, i64) = (row.get(0)?, row.get(1)?);
    let (actor, action): (String, String) = (row.get(2)?, row.get(3)?);
    let (target, detail): (String, String) = (row.get(4)?, row.get(5)?);
    let seal = seal::audit(number, at, [&actor, &action, &target, &detail]);
    sealed(row, 6, seal, || format!("line {number} of the audit"))?;
    Ok(AuditEntry { number, at: time(at)?, actor, action, target, detail })
}

fn answer_row(_: &Connection, row: &Row<'_>) -> Result<Answer, Cause> {
    let (who, key): (String, String) = (row.get(0)?, row.get(1)?);
    let (request, answer, expires): (Digest, String, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
    let seal = seal::key([&who, &key, &answer], &request, expires);
    sealed(row, 5, seal, || format!("the idempotency key {key} of {who}"))?;
    Ok(Answer { request, answer, expires: time(expires)? })
}

pub(super) fn sealed(row: &Row<'_>, at: usize, wanted: [u8; 32], named: impl Fn() -> String) -> Result<(), Cause> {
    let found: Vec<u8> = row.get(at)?;
    if found == wanted { Ok(()) } else { Err(damaged(&named())) }
}

pub(super) fn damaged(named: &str) -> Cause {
    Cause::Damaged(format!("{named} is not what was written"))
}

pub(super) fn time(microseconds: i64) -> Result<Timestamp, Cause> {
    Timestamp::from_microsecond(microseconds)
        .map_err(|_| Cause::Damaged(format!("{microseconds} microseconds after 1970 are no time")))
}
