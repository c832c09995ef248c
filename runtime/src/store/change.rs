//! The changes that the store knows, each with its line of the audit in the same transaction.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::digest::Digest;
use super::error::{Cause, StoreError};
use super::model::{After, By, Content, Deployment, DeploymentId, NewVersion, Plan, Version, VersionId};
use super::read;
use super::seal;
use super::shares::{Share, Shares};

/// Adds a version under the next number, and its worker with the first one.
pub(super) fn add_version(
    connection: &Connection,
    by: &By,
    component: Digest,
    new: &NewVersion,
) -> Result<Version, Cause> {
    let now = now();
    version_once(connection, by, now, || {
        let version = new.clone().numbered(component, next_number(connection, &new.worker)?);
        insert_version(connection, by, now, &version)?;
        Ok(version)
    })
}

/// Adds a version that was made elsewhere, under the name and the number that it has there. One that is there already stays as it is.
pub(super) fn import_version(connection: &Connection, by: &By, version: &Version) -> Result<Version, Cause> {
    if let Some(known) = read::version(connection, version.id)? {
        return Ok(known);
    }
    if read::version_numbered(connection, &version.worker, version.number)?.is_some() {
        let (worker, number) = (version.worker.clone(), version.number);
        return Err(StoreError::Differs { worker, number }.into());
    }
    let now = now();
    version_once(connection, by, now, || {
        insert_version(connection, by, now, version)?;
        Ok(version.clone())
    })
}

/// The number that the next version of a worker has.
pub(super) fn next_number(connection: &Connection, worker: &str) -> Result<u32, Cause> {
    let Some(row) = read::known(connection, worker)? else { return Ok(1) };
    let next = "SELECT coalesce(max(number), 0) + 1 FROM versions WHERE worker = ?1";
    Ok(connection.query_row(next, [row.id], |row| row.get(0))?)
}

fn insert_version(connection: &Connection, by: &By, now: Timestamp, version: &Version) -> Result<(), Cause> {
    let Version { id, worker, number, created, message, content } = version;
    let Some(Content { component, manifest }) = content else {
        return Err(StoreError::Pruned { worker: worker.clone(), number: *number }.into());
    };
    let of = match read::known(connection, worker)? {
        Some(row) => row.id,
        None => add_worker(connection, by, worker, *created)?,
    };
    let (key, created) = (id.to_string(), created.as_microsecond());
    connection.prepare_cached("INSERT INTO versions VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
        key,
        of,
        number,
        created,
        message,
        seal::version(&key, of, *number, created, message)
    ])?;
    let seal = seal::content(&key, component, manifest);
    let insert = "INSERT INTO contents VALUES (?1, ?2, ?3, ?4)";
    connection.prepare_cached(insert)?.execute(params![key, component, manifest, seal])?;
    let detail = serde_json::json!({ "version": key, "number": number, "component": component.to_string() });
    audit(connection, now, by, "version.add", worker, &detail)
}

/// The version that was made under a key, if there was one.
pub(super) fn version_of_key(connection: &Connection, by: &By) -> Result<Option<Version>, Cause> {
    answered(connection, by, now(), Kind::Version, version_named(connection))
}

/// The deployment that was made under a key, if there was one.
pub(super) fn deployment_of_key(connection: &Connection, by: &By) -> Result<Option<Deployment>, Cause> {
    answered(connection, by, now(), Kind::Deployment, deployment_named(connection))
}

fn version_once(
    connection: &Connection,
    by: &By,
    now: Timestamp,
    add: impl FnOnce() -> Result<Version, Cause>,
) -> Result<Version, Cause> {
    once(connection, by, now, Kind::Version, add, |version| version.id.to_string(), version_named(connection))
}

fn version_named(connection: &Connection) -> impl FnOnce(&str) -> Result<Option<Version>, Cause> {
    |answer| VersionId::parse(answer).map(|id| read::version(connection, id)).transpose().map(Option::flatten)
}

fn deployment_named(connection: &Connection) -> impl FnOnce(&str) -> Result<Option<Deployment>, Cause> {
    |answer| DeploymentId::parse(answer).map(|id| read::deployment(connection, id)).transpose().map(Option::flatten)
}

/// Makes a deployment, or the one after which a worker does not serve.
pub(super) fn deploy(connection: &Connection, by: &By, made: &Deployment, after: After) -> Result<Deployment, Cause> {
    deploy_once(connection, by, || {
        let worker = &made.worker;
        for share in made.shares().into_iter().flat_map(Shares::iter) {
            serves(connection, worker, share.version)?;
        }
        let row = read::known(connection, worker)?;
        let of = row.ok_or_else(|| StoreError::NoWorker { worker: worker.clone() })?.id;
        let found = read::current(connection, of)?;
        let serves = found.as_ref().is_some_and(|deployment| deployment.shares().is_some());
        let current = found.map(|deployment| deployment.id);
        if !serves && made.plan == Plan::Removed {
            return Err(StoreError::NoWorker { worker: worker.clone() }.into());
        }
        if let After::This(expected) = after
            && current != Some(expected)
        {
            return Err(StoreError::Raced { worker: worker.clone(), current }.into());
        }
        insert_deployment(connection, by, made)?;
        Ok(made.clone())
    })
}

/// Makes a deployment that was made elsewhere, under the name that it has there. One that is there already stays as it is.
pub(super) fn import_deployment(connection: &Connection, by: &By, made: &Deployment) -> Result<Deployment, Cause> {
    if let Some(known) = read::deployment(connection, made.id)? {
        return Ok(known);
    }
    deploy_once(connection, by, || {
        for share in made.shares().into_iter().flat_map(Shares::iter) {
            serves(connection, &made.worker, share.version)?;
        }
        insert_deployment(connection, by, made)?;
        Ok(made.clone())
    })
}

/// Writes a line of the audit.
pub(super) fn audit(
    connection: &Connection,
    now: Timestamp,
    by: &By,
    action: &str,
    target: &str,
    detail: &serde_json::Value,
) -> Result<(), Cause> {
    let number = next(connection, "SELECT coalesce(max(number), 0) + 1 FROM audit")?;
    let (at, detail) = (now.as_microsecond(), detail.to_string());
    let seal = seal::audit(number, at, [&by.who, action, target, &detail]);
    let insert = "INSERT INTO audit VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    connection.prepare_cached(insert)?.execute(params![number, at, by.who, action, target, detail, seal])?;
    Ok(())
}

/// As exact as it is written down.
pub(super) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

fn add_worker(connection: &Connection, by: &By, name: &str, now: Timestamp) -> Result<i64, Cause> {
    let id = next(connection, "SELECT coalesce(max(id), 0) + 1 FROM workers")?;
    let created = now.as_microsecond();
    let seal = seal::worker(id, name, created);
    connection.execute("INSERT INTO workers VALUES (?1, ?2, ?3, ?4)", params![id, name, created, seal])?;
    audit(connection, now, by, "worker.add", name, &serde_json::json!({}))?;
    Ok(id)
}

/// Whether a version can serve for this worker.
fn serves(connection: &Connection, worker: &str, id: VersionId) -> Result<(), Cause> {
    let worker = worker.to_owned();
    match read::version(connection, id)? {
        Some(version) if version.worker == worker => match version.content {
            Some(_) => Ok(()),
            None => Err(StoreError::Pruned { worker, number: version.number }.into()),
        },
        _ => Err(StoreError::NoVersion { worker, version: id.to_string() }.into()),
    }
}

fn insert_deployment(connection: &Connection, by: &By, made: &Deployment) -> Result<(), Cause> {
    let Deployment { id, worker, created, who, note, plan } = made;
    let row = read::known(connection, worker)?;
    let of = row.ok_or_else(|| StoreError::NoWorker { worker: worker.clone() })?.id;
    let (action, why, shares): (_, _, Vec<Share>) = match plan {
        Plan::Serve { why, shares } => ("deployment.add", why.word(), shares.iter().copied().collect()),
        Plan::Removed => ("worker.remove", read::REMOVE, Vec::new()),
    };
    let number = next(connection, "SELECT coalesce(max(number), 0) + 1 FROM deployments")?;
    let (key, microseconds) = (id.to_string(), created.as_microsecond());
    let seal = seal::deployment(number, &key, of, microseconds, [who, why, note], &shares);
    let insert = "INSERT INTO deployments VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    connection.prepare_cached(insert)?.execute(params![number, key, of, microseconds, who, why, note, seal])?;
    let mut detail = serde_json::Map::new();
    for share in shares {
        let (version, weight) = (share.version.to_string(), share.weight.basis_points());
        connection
            .prepare_cached("INSERT INTO shares VALUES (?1, ?2, ?3)")?
            .execute(params![number, version, weight])?;
        detail.insert(version, weight.into());
    }
    let detail = serde_json::json!({ "deployment": key, "why": why, "note": note, "shares": detail });
    audit(connection, *created, by, action, worker, &detail)
}

fn next(connection: &Connection, query: &str) -> Result<i64, Cause> {
    Ok(connection.prepare_cached(query)?.query_row([], |row| row.get(0))?)
}

fn deploy_once(
    connection: &Connection,
    by: &By,
    add: impl FnOnce() -> Result<Deployment, Cause>,
) -> Result<Deployment, Cause> {
    let name = |deployment: &Deployment| deployment.id.to_string();
    once(connection, by, now(), Kind::Deployment, add, name, deployment_named(connection))
}

/// What a key was answered with.
#[derive(Clone, Copy)]
enum Kind {
    Version,
    Deployment,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Deployment => "deployment",
        }
    }
}

/// Makes a change, unless its key was answered already: then the answer is what was made, which never changes, so its id is all that
/// is kept of it.
fn once<T>(
    connection: &Connection,
    by: &By,
    now: Timestamp,
    kind: Kind,
    make: impl FnOnce() -> Result<T, Cause>,
    id: impl FnOnce(&T) -> String,
    find: impl FnOnce(&str) -> Result<Option<T>, Cause>,
) -> Result<T, Cause> {
    let Some(once) = &by.once else { return make() };
    connection.execute("DELETE FROM idempotency_keys WHERE expires <= ?1", [now.as_microsecond()])?;
    if let Some(made) = answered(connection, by, now, kind, find)? {
        return Ok(made);
    }
    let made = make()?;
    let answer = format!("{} {}", kind.word(), id(&made));
    let (who, key, expires) = (&by.who, &once.key, once.expires.as_microsecond());
    let seal = seal::key([who, key, &answer], &once.request, expires);
    let insert = "INSERT INTO idempotency_keys VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    connection.execute(insert, params![who, key, once.request, answer, expires, seal])?;
    Ok(made)
}

/// What the key of a change was answered with, if there is one and it was.
fn answered<T>(
    connection: &Connection,
    by: &By,
    now: Timestamp,
    kind: Kind,
    find: impl FnOnce(&str) -> Result<Option<T>, Cause>,
) -> Result<Option<T>, Cause> {
    let Some(once) = &by.once else { return Ok(None) };
    let (who, key) = (&by.who, &once.key);
    let Some(known) = read::answer(connection, who, key)?.filter(|known| known.expires > now) else {
        return Ok(None);
    };
    let made = known.answer.split_once(' ').filter(|(word, _)| *word == kind.word() && known.request == once.request);
    let (_, id) = made.ok_or_else(|| StoreError::KeyReused { key: key.clone() })?;
    let found = find(id)?.ok_or_else(|| Cause::Damaged(format!("what the key {key} was answered with is not there")));
    found.map(Some)
}
