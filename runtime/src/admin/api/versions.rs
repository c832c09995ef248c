//! Versions of workers: immutable, and added before anything serves them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bytes::Bytes;

use super::Shared;
use super::caller::Caller;
use super::extract::{Multipart, Path, Query};
use super::problem::{Missing, NotMade, Problem, Refused};
use super::shapes::{NewVersion, NumberedPage, Version, Versions};
use super::workers;
use crate::activate::Upload;
use crate::store::{self, Digest, Scope};

/// What is said of a version or a deployment has so many characters at most.
pub(super) const LONGEST_NOTE: usize = 1_000;

const PAGE: u32 = 50;

/// The versions of a worker, the newest first.
#[utoipa::path(
    get, path = "/v1/workers/{worker}/versions", tag = "versions", operation_id = "list_versions",
    params(("worker", description = "The name of the worker."), NumberedPage),
    responses((status = 200, body = Versions), Refused, Missing)
)]
pub(super) async fn list(
    State(shared): State<Shared>,
    caller: Caller,
    Path(worker): Path<String>,
    Query(page): Query<NumberedPage>,
) -> Result<Json<Versions>, Problem> {
    caller.may_with(Scope::Read, &worker)?;
    workers::find(&shared, &worker).await?;
    let limit = limit(page.limit)?;
    let found = shared.deployments.store()?.versions(&worker, before(page.before)?, limit).await?;
    let next = found.last().filter(|_| found.len() == limit as usize).map(|oldest| oldest.number);
    let next = next.filter(|number| *number > 1);
    Ok(Json(Versions { versions: found.into_iter().map(|version| shape(version, false)).collect(), next }))
}

/// One version, with its eyot.toml.
#[utoipa::path(
    get, path = "/v1/workers/{worker}/versions/{version}", tag = "versions", operation_id = "show_version",
    params(
        ("worker", description = "The name of the worker."),
        ("version" = u32, Path, description = "The number of the version.", minimum = 1),
    ),
    responses((status = 200, body = Version), Refused, Missing)
)]
pub(super) async fn show(
    State(shared): State<Shared>,
    caller: Caller,
    Path((worker, number)): Path<(String, u32)>,
) -> Result<Json<Version>, Problem> {
    caller.may_with(Scope::Read, &worker)?;
    let found = shared.deployments.store()?.version_numbered(&worker, number).await?;
    let version = found.ok_or_else(|| Problem::missing(format!("worker `{worker}` has no version {number}")))?;
    Ok(Json(shape(version, true)))
}

/// Adds a version: it is checked, compiled and kept, and nothing serves it yet.
#[utoipa::path(
    post, path = "/v1/workers/{worker}/versions", tag = "versions", operation_id = "add_version",
    params(("worker", description = "The name of the worker."), ("Idempotency-Key" = Option<String>, Header)),
    request_body(content = NewVersion, content_type = "multipart/form-data"),
    responses((status = 201, body = Version), Refused, NotMade)
)]
pub(super) async fn add(
    State(shared): State<Shared>,
    caller: Caller,
    Path(worker): Path<String>,
    Multipart(form): Multipart,
) -> Result<(StatusCode, Json<Version>), Problem> {
    if let Err(refused) = caller.may_with(Scope::Deploy, &worker) {
        // Who is known is read to the end: in the middle of sending, many clients do not hear an answer.
        read(form).await?;
        return Err(refused);
    }
    let place = shared.deployments.place().await?;
    let (manifest, component, message) = read(form).await?;
    let digest = Digest::of(&component).to_string();
    let by = caller.by(&("version", &worker, &manifest, digest, &message));
    let upload = Upload { place, worker, manifest, component, message };
    let version = shared.deployments.add_version(by, upload, &|worker| caller.may_have(worker)).await?;
    Ok((StatusCode::CREATED, Json(shape(version, false))))
}

/// The parts of the form, each of them once.
async fn read(mut form: axum::extract::Multipart) -> Result<(String, Bytes, String), Problem> {
    let (mut manifest, mut component, mut message) = (None, None, None);
    while let Some(field) = form.next_field().await? {
        let name = field.name().unwrap_or_default().to_owned();
        let twice = || Problem::invalid(format!("the form has several fields `{name}`"));
        let known = match &*name {
            "manifest" => manifest.replace(text(field).await?).is_some(),
            "component" => component.replace(field.bytes().await?).is_some(),
            "message" => message.replace(text(field).await?).is_some(),
            _ => return Err(Problem::invalid(format!("the form has a field {name:?}, which nobody reads"))),
        };
        if known {
            return Err(twice());
        }
    }
    let missing = |name| Problem::invalid(format!("the form has no field `{name}`"));
    let message: String = message.unwrap_or_default();
    is_note(&message)?;
    Ok((manifest.ok_or_else(|| missing("manifest"))?, component.ok_or_else(|| missing("component"))?, message))
}

async fn text(field: axum::extract::multipart::Field<'_>) -> Result<String, Problem> {
    let name = field.name().unwrap_or_default().to_owned();
    let bytes = field.bytes().await?;
    String::from_utf8(bytes.to_vec()).map_err(|_| Problem::invalid(format!("the field `{name}` is not UTF-8")))
}

pub(super) fn is_note(text: &str) -> Result<(), Problem> {
    match text.chars().count() {
        0..=LONGEST_NOTE => Ok(()),
        count => Err(Problem::invalid(format!("a note has at most {LONGEST_NOTE} characters, and this has {count}"))),
    }
}

/// From where on in a list. What is larger than an `int32` of OpenAPI is no number of anything here.
pub(super) fn before(asked: Option<u32>) -> Result<Option<u32>, Problem> {
    match asked {
        Some(0) => Err(Problem::bad("`before` is a number from 1 to 2147483647")),
        Some(number) if i32::try_from(number).is_err() => {
            Err(Problem::bad("`before` is a number from 1 to 2147483647"))
        }
        number => Ok(number),
    }
}

/// How many of a list.
pub(super) fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    match asked.unwrap_or(PAGE) {
        limit @ 1..=100 => Ok(limit),
        _ => Err(Problem::bad("`limit` is a number from 1 to 100")),
    }
}

fn shape(version: store::Version, whole: bool) -> Version {
    let store::Version { id, worker, number, created, message, content } = version;
    let (component, manifest) = match content {
        Some(content) => (Some(content.component.to_string()), Some(content.manifest)),
        None => (None, None),
    };
    let manifest = manifest.filter(|_| whole);
    Version { worker, version: number, id: id.to_string(), created, message, component, manifest }
}
