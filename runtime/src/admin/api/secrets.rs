//! Secrets of workers: set, listed by name, removed, and never shown.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::Shared;
use super::caller::Caller;
use super::extract::{Json as Body, Path};
use super::problem::{Missing, NotMade, Problem, Refused};
use super::shapes::{Secret, SecretValue, Secrets};
use crate::config::is_worker_name;
use crate::store::{self, Scope, SecretName};

/// The names of a worker's secrets.
#[utoipa::path(
    get, path = "/v1/workers/{worker}/secrets", tag = "secrets", operation_id = "list_secrets",
    params(("worker", description = "The name of the worker.")),
    responses((status = 200, body = Secrets), Refused)
)]
pub(super) async fn list(
    State(shared): State<Shared>,
    caller: Caller,
    Path(worker): Path<String>,
) -> Result<Json<Secrets>, Problem> {
    caller.may_with(Scope::Read, &worker)?;
    let found = shared.deployments.store()?.secrets(Some(&worker)).await?;
    Ok(Json(Secrets { secrets: found.into_iter().map(shape).collect() }))
}

/// Gives a secret its value. Whoever asks for it from the next moment on gets that one; nothing is deployed anew. The worker need not be
/// there yet.
#[utoipa::path(
    put, path = "/v1/workers/{worker}/secrets/{name}", tag = "secrets", operation_id = "set_secret",
    params(
        ("worker", description = "The name of the worker."),
        ("name", description = "The name of the secret."),
    ),
    request_body = SecretValue,
    responses((status = 200, body = Secret), Refused, NotMade)
)]
pub(super) async fn set(
    State(shared): State<Shared>,
    caller: Caller,
    Path((worker, name)): Path<(String, String)>,
    Body(SecretValue { value }): Body<SecretValue>,
) -> Result<Json<Secret>, Problem> {
    caller.may_with(Scope::Deploy, &worker)?;
    let name = SecretName::parse(&name)?;
    if !is_worker_name(&worker) {
        return Err(Problem::invalid(format!("{worker:?} cannot be the name of a worker")));
    }
    let by = caller.by_without_key();
    Ok(Json(shape(shared.deployments.set_secret(by, &worker, name, value).await?)))
}

/// Removes a secret. One that a version which serves asks for stays.
#[utoipa::path(
    delete, path = "/v1/workers/{worker}/secrets/{name}", tag = "secrets", operation_id = "remove_secret",
    params(
        ("worker", description = "The name of the worker."),
        ("name", description = "The name of the secret."),
    ),
    responses((status = 204, description = "It is gone."), Refused, Missing, NotMade)
)]
pub(super) async fn remove(
    State(shared): State<Shared>,
    caller: Caller,
    Path((worker, name)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    caller.may_with(Scope::Deploy, &worker)?;
    let name = SecretName::parse(&name)?;
    let by = caller.by_without_key();
    shared.deployments.remove_secret(by, &worker, name).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn shape(secret: store::Secret) -> Secret {
    let store::Secret { worker, name, set, revision, .. } = secret;
    Secret { worker, name: name.to_string(), set, revision }
}
