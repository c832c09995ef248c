//! Keys and values of workers, for whoever may deploy them: such a one could read them by a version of his own.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::Kept;
use super::caller::Caller;
use super::extract::{Json as Body, Path, Query};
use super::problem::{Missing, NotMade, Problem, Refused};
use super::shapes::{KvEntries, KvEntry, KvKey, KvKeys, KvName, KvNamespace, KvNamespaces, KvPage};
use crate::config::is_worker_name;
use crate::store::{KvError, Listed, Namespace, Put, Scope};

/// So many keys a page has, where nothing is said, and at most.
const PAGE: (u32, u32) = (100, 1000);

/// So many entries are written together at most.
const TOGETHER: usize = 1000;

/// The namespaces of a worker.
#[utoipa::path(
    get, path = "/v1/workers/{worker}/kv", tag = "kv", operation_id = "list_kv_namespaces",
    params(("worker", description = "The name of the worker.")),
    responses((status = 200, body = KvNamespaces), Refused)
)]
pub(super) async fn namespaces(
    State(kept): State<Kept>,
    caller: Caller,
    Path(worker): Path<String>,
) -> Result<Json<KvNamespaces>, Problem> {
    caller.may_with(Scope::Read, &worker)?;
    let kv = kept.stock.kv()?;
    let (bytes, namespaces) = (kv.used(&worker).await?, kv.namespaces(&worker).await?);
    let namespaces = namespaces.into_iter().map(|(name, keys)| KvNamespace { name, keys }).collect();
    Ok(Json(KvNamespaces { namespaces, bytes }))
}

/// The keys of a namespace.
#[utoipa::path(
    get, path = "/v1/workers/{worker}/kv/{namespace}", tag = "kv", operation_id = "list_kv_keys",
    params(
        ("worker", description = "The name of the worker."),
        ("namespace", description = "The name of the namespace."),
        KvKeys,
    ),
    responses((status = 200, body = KvPage), Refused, NotMade)
)]
pub(super) async fn list(
    State(kept): State<Kept>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    Query(KvKeys { prefix, after, limit }): Query<KvKeys>,
) -> Result<Json<KvPage>, Problem> {
    let namespace = namespace(&caller, path)?;
    let limit = match limit.unwrap_or(PAGE.0) {
        limit if (1..=PAGE.1).contains(&limit) => limit,
        limit => return Err(Problem::bad(format!("`limit` is {limit}, and may be 1 to {}", PAGE.1))),
    };
    let page = kept.stock.kv()?.list(&namespace, prefix.unwrap_or_default(), after, limit).await?;
    let key = |Listed { key, metadata, expires }| KvKey { key, metadata, expires };
    Ok(Json(KvPage { keys: page.entries.into_iter().map(key).collect(), next: page.next }))
}

/// What stands at a key.
#[utoipa::path(
    get, path = "/v1/workers/{worker}/kv/{namespace}/entry", tag = "kv", operation_id = "show_kv_entry",
    params(
        ("worker", description = "The name of the worker."),
        ("namespace", description = "The name of the namespace."),
        KvName,
    ),
    responses((status = 200, body = KvEntry), Refused, Missing, NotMade)
)]
pub(super) async fn show(
    State(kept): State<Kept>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    Query(KvName { key }): Query<KvName>,
) -> Result<Json<KvEntry>, Problem> {
    let (namespace, key) = (namespace(&caller, path)?, some(key)?);
    let found = kept.stock.kv()?.get(&namespace, key.clone()).await?;
    let nothing = || Problem::missing(format!("nothing stands at {key:?} in {}", namespace.name));
    let entry = found.ok_or_else(nothing)?;
    let value = BASE64_STANDARD.encode(&entry.value);
    Ok(Json(KvEntry { value, metadata: entry.metadata, expires: entry.expires, key }))
}

/// Writes entries, whatever stands there: all of them, or none.
#[utoipa::path(
    put, path = "/v1/workers/{worker}/kv/{namespace}", tag = "kv", operation_id = "put_kv_entries",
    params(
        ("worker", description = "The name of the worker."),
        ("namespace", description = "The name of the namespace."),
    ),
    request_body = KvEntries,
    responses((status = 204, description = "They are written."), Refused, NotMade)
)]
pub(super) async fn put(
    State(kept): State<Kept>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    Body(KvEntries { entries }): Body<KvEntries>,
) -> Result<StatusCode, Problem> {
    let namespace = namespace(&caller, path)?;
    if !(1..=TOGETHER).contains(&entries.len()) {
        return Err(Problem::invalid(format!("there are {} entries, and may be 1 to {TOGETHER}", entries.len())));
    }
    let puts = entries.into_iter().map(|KvEntry { key, value, metadata, expires }| {
        let wrong = |error| Problem::invalid(format!("the value of {key:?} is no base64: {error}"));
        let value = BASE64_STANDARD.decode(&value).map_err(wrong)?;
        Ok(Put { key, value, metadata, expires })
    });
    let puts = puts.collect::<Result<Vec<_>, Problem>>()?;
    kept.stock.put_kv(caller.by_without_key(), &namespace, puts).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes what stands at a key. Nothing may stand there.
#[utoipa::path(
    delete, path = "/v1/workers/{worker}/kv/{namespace}/entry", tag = "kv", operation_id = "delete_kv_entry",
    params(
        ("worker", description = "The name of the worker."),
        ("namespace", description = "The name of the namespace."),
        KvName,
    ),
    responses((status = 204, description = "Nothing stands there."), Refused, NotMade)
)]
pub(super) async fn delete(
    State(kept): State<Kept>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    Query(KvName { key }): Query<KvName>,
) -> Result<StatusCode, Problem> {
    let (namespace, key) = (namespace(&caller, path)?, some(key)?);
    kept.stock.delete_kv(caller.by_without_key(), &namespace, key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// No key is empty.
fn some(key: String) -> Result<String, Problem> {
    if key.is_empty() { Err(KvError::EmptyKey.into()) } else { Ok(key) }
}

/// Whoever may have it gets it.
fn namespace(caller: &Caller, (worker, name): (String, String)) -> Result<Namespace, Problem> {
    caller.may_with(Scope::Deploy, &worker)?;
    for (what, name) in [("worker", &worker), ("namespace", &name)] {
        if !is_worker_name(name) {
            return Err(Problem::invalid(format!("{name:?} cannot be the name of a {what}")));
        }
    }
    Ok(Namespace { worker: worker.into(), name: name.into() })
}
