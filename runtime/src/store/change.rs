//! The changes that the store knows, each with its line of the audit in the same transaction.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::digest::Digest;
use super::error::{Cause, StoreError};
use super::model::{After, By, Content, Deployment, DeploymentId, NewDeployment, Plan, Version, VersionId};
use super::read;
use super::seal;
use super::shares::Share;

/// Adds a version, and its worker with the first one.
pub(super) fn add_version(
    connection: &Connection,
    by: &By,
    worker: &str,
    component: Digest,
    (manifest, message): (String, String),
) -> Result<Version, Cause> {
    let now = now();
    let add = || {
        let of = match read::known(connection, worker)? {
            Some(row) => row.id,
            None => add_worker(connection, by, worker, now)?,
        };
        let next = "SELECT coalesce(max(number), 0) + 1 FROM versions WHERE worker = ?1";
        let number: u32 = connection.query_row(next, [of], |row| row.get(0))?;
        let id = VersionId::fresh();
        let (key, created) = (id.to_string(), now.as_microsecond());
        connection.prepare_cached("INSERT INTO versions VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
            key,
            of,
            number,
            created,
            message,
            seal::version(&key, of, number, created, &message)
        ])?;
        let seal = seal::content(&key, &component, &manifest);
        let insert = "INSERT INTO contents VALUES (?1, ?2, ?3, ?4)";
        connection.prepare_cached(insert)?.execute(params![key, component, manifest, seal])?;
        let detail = serde_json::json!({ "version": key, "number": number, "component": component.to_string() });
        audit(connection, now, by, "version.add", worker, &detail)?;
        let content = Some(Content { component, manifest: manifest.clone() });
        Ok(Version { id, worker: worker.to_owned(), number, created: now, message: message.clone(), content })
    };
    once(
        connection,
        by,
        now,
        Kind::Version,
        add,
        |version| version.id.to_string(),
        |answer| VersionId::parse(answer).map(|id| read::version(connection, id)).transpose().map(Option::flatten),
    )
}

/// Makes a deployment.
pub(super) fn deploy(connection: &Connection, by: &By, new: &NewDeployment) -> Result<Deployment, Cause> {
    let add = |now| {
        for share in new.shares.iter() {
            serves(connection, &new.worker, share.version)?;
        }
        let plan = Plan::Serve { why: new.why, shares: new.shares.clone() };
        add_deployment(connection, by, now, (&new.worker, &new.note), new.after, plan)
    };
    deploy_once(connection, by, add)
}

/// Makes the deployment after which a worker does not serve. Its history stays.
pub(super) fn remove(connection: &Connection, by: &By, worker: &str, after: After) -> Result<Deployment, Cause> {
    deploy_once(connection, by, |now| add_deployment(connection, by, now, (worker, ""), after, Plan::Removed))
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

fn add_deployment(
    connection: &Connection,
    by: &By,
    now: Timestamp,
    (worker, note): (&str, &str),
    after: After,
    plan: Plan,
) -> Result<Deployment, Cause> {
    let row = read::known(connection, worker)?;
    let of = row.ok_or_else(|| StoreError::NoWorker { worker: worker.to_owned() })?.id;
    let found = read::current(connection, of)?;
    let serves = found.as_ref().is_some_and(|deployment| deployment.shares().is_some());
    let current = found.map(|deployment| deployment.id);
    let is_expected = match after {
        After::Whatever => true,
        After::This(expected) => current == Some(expected),
    };
    if !serves && plan == Plan::Removed {
        return Err(StoreError::NoWorker { worker: worker.to_owned() }.into());
    }
    if !is_expected {
        return Err(StoreError::Raced { worker: worker.to_owned(), current }.into());
    }
    let (action, why, shares): (_, _, Vec<Share>) = match &plan {
        Plan::Serve { why, shares } => ("deployment.add", why.word(), shares.iter().copied().collect()),
        Plan::Removed => ("worker.remove", read::REMOVE, Vec::new()),
    };
    let number = next(connection, "SELECT coalesce(max(number), 0) + 1 FROM deployments")?;
    let id = DeploymentId::fresh();
    let (key, created) = (id.to_string(), now.as_microsecond());
    let seal = seal::deployment(number, &key, of, created, [&by.who, why, note], &shares);
    let insert = "INSERT INTO deployments VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    connection.prepare_cached(insert)?.execute(params![number, key, of, created, by.who, why, note, seal])?;
    let mut detail = serde_json::Map::new();
    for share in shares {
        let (version, weight) = (share.version.to_string(), share.weight.basis_points());
        connection
            .prepare_cached("INSERT INTO shares VALUES (?1, ?2, ?3)")?
            .execute(params![number, version, weight])?;
        detail.insert(version, weight.into());
    }
    let detail = serde_json::json!({ "deployment": key, "why": why, "note": note, "shares": detail });
    audit(connection, now, by, action, worker, &detail)?;
    Ok(Deployment { id, worker: worker.to_owned(), created: now, who: by.who.clone(), note: note.to_owned(), plan })
}

fn next(connection: &Connection, query: &str) -> Result<i64, Cause> {
    Ok(connection.prepare_cached(query)?.query_row([], |row| row.get(0))?)
}

fn deploy_once(
    connection: &Connection,
    by: &By,
    add: impl FnOnce(Timestamp) -> Result<Deployment, Cause>,
) -> Result<Deployment, Cause> {
    let now = now();
    once(
        connection,
        by,
        now,
        Kind::Deployment,
        || add(now),
        |deployment| deployment.id.to_string(),
        |answer| {
            DeploymentId::parse(answer).map(|id| read::deployment(connection, id)).transpose().map(Option::flatten)
        },
    )
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
    let (who, key) = (&by.who, &once.key);
    connection.execute("DELETE FROM idempotency_keys WHERE expires <= ?1", [now.as_microsecond()])?;
    if let Some(known) = read::answer(connection, who, key)?.filter(|known| known.expires > now) {
        let made =
            known.answer.split_once(' ').filter(|(word, _)| *word == kind.word() && known.request == once.request);
        let (_, id) = made.ok_or_else(|| StoreError::KeyReused { key: key.clone() })?;
        return find(id)?.ok_or_else(|| Cause::Damaged(format!("what the key {key} was answered with is not there")));
    }
    let made = make()?;
    let answer = format!("{} {}", kind.word(), id(&made));
    let expires = once.expires.as_microsecond();
    let seal = seal::key([who, key, &answer], &once.request, expires);
    let insert = "INSERT INTO idempotency_keys VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    connection.execute(insert, params![who, key, once.request, answer, expires, seal])?;
    Ok(made)
}
