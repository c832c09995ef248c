//! Workers: what there is, and what serves of it.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;

use super::Shared;
use super::caller::Caller;
use super::deployments::{after, shape};
use super::extract::{Path, Query};
use super::problem::{Missing, NotMade, Problem, Refused};
use super::shapes::{Deployment, Fault, Worker, Workers};
use crate::activate::Standing;
use crate::config::Diagnostics;
use crate::store::{self, Scope};

/// All workers that the token covers.
#[utoipa::path(get, path = "/v1/workers", tag = "workers", operation_id = "list_workers", responses((status = 200, body = Workers), Refused))]
pub(super) async fn list(State(shared): State<Shared>, caller: Caller) -> Result<Json<Workers>, Problem> {
    caller.may(Scope::Read)?;
    let snapshot = shared.deployments.store()?.snapshot().await?;
    let standing = by_name(shared.deployments.standing());
    let covered = snapshot.workers.into_iter().filter(|worker| caller.covers(&worker.name));
    Ok(Json(Workers { workers: covered.map(|worker| shown(worker, &standing)).collect() }))
}

/// One worker.
#[utoipa::path(
    get, path = "/v1/workers/{worker}", tag = "workers", operation_id = "show_worker", params(("worker", description = "Its name.")),
    responses((status = 200, body = Worker), Refused, Missing)
)]
pub(super) async fn show(
    State(shared): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Worker>, Problem> {
    caller.may_with(Scope::Read, &name)?;
    let worker = find(&shared, &name).await?;
    Ok(Json(shown(worker, &by_name(shared.deployments.standing()))))
}

/// Removes a worker: it serves nothing from the next request on. Its versions and its history stay.
#[utoipa::path(
    delete, path = "/v1/workers/{worker}", tag = "workers", operation_id = "remove_worker",
    params(("worker", description = "Its name."), Replaces, ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Deployment, description = "The deployment that says so."), Refused, Missing, NotMade)
)]
pub(super) async fn remove(
    State(shared): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
    Query(replaces): Query<Replaces>,
) -> Result<Json<Deployment>, Problem> {
    caller.may_with(Scope::Deploy, &name)?;
    let by = caller.by(&("remove", &name, &replaces.after));
    let after = after(replaces.after.as_deref())?;
    let removed = shared.deployments.remove(by, &name, after).await?;
    Ok(Json(shape(&removed, &HashMap::new())))
}

/// What a removal replaces.
#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Replaces {
    /// The deployment that it is to replace: if there is another one by then, nothing is removed. Without it: whatever there is.
    after: Option<String>,
}

pub(super) async fn find(shared: &Shared, name: &str) -> Result<store::Worker, Problem> {
    let found = shared.deployments.store()?.worker(name).await?;
    found.ok_or_else(|| Problem::missing(format!("there is no worker `{name}`")))
}

fn by_name(standing: Vec<Standing>) -> HashMap<String, Option<Diagnostics>> {
    standing.into_iter().map(|standing| (standing.worker, standing.faults)).collect()
}

fn shown(worker: store::Worker, standing: &HashMap<String, Option<Diagnostics>>) -> Worker {
    let numbers = worker.serving.iter().map(|version| (version.id, version.number)).collect();
    let standing = standing.get(&worker.name);
    let faults = standing.and_then(Option::as_ref).map(|Diagnostics(faults)| faults.as_slice()).unwrap_or_default();
    Worker {
        created: worker.created,
        serves: matches!(standing, Some(None)),
        deployment: worker.deployment.as_ref().map(|deployment| shape(deployment, &numbers)),
        faults: faults.iter().cloned().map(Fault::from).collect(),
        name: worker.name,
    }
}
