//! Deployments: which versions serve, since when, and who said so.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::Shared;
use super::caller::Caller;
use super::extract::{Json as Body, Path, Query};
use super::problem::{Missing, NotMade, Problem, Refused};
use super::shapes::{Deployment, Deployments, NewDeployment, Page, Purpose, Rollback, Share};
use super::versions::{is_note, limit};
use super::workers;
use crate::activate::Asked;
use crate::store::{self, After, DeploymentId, Plan, Scope, VersionId, Why};

/// A deployment has so many versions at most.
const MOST: usize = 20;

/// The deployments of a worker, the newest first.
#[utoipa::path(
    get, path = "/v1/workers/{worker}/deployments", tag = "deployments", operation_id = "list_deployments",
    params(("worker", description = "The name of the worker."), Page),
    responses((status = 200, body = Deployments), Refused, Missing)
)]
pub(super) async fn list(
    State(shared): State<Shared>,
    caller: Caller,
    Path(worker): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Deployments>, Problem> {
    caller.may_with(Scope::Read, &worker)?;
    workers::find(&shared, &worker).await?;
    let limit = limit(page.limit)?;
    let before = page.before.as_deref().map(id).transpose()?;
    let found = shared.deployments.store()?.deployments(&worker, before, limit).await?;
    let next = found.last().filter(|_| found.len() == limit as usize).map(|oldest| oldest.id.to_string());
    let numbers = numbers(&shared, &found).await?;
    Ok(Json(Deployments { deployments: found.iter().map(|one| shape(one, &numbers)).collect(), next }))
}

/// Makes a deployment: from the next request on these versions serve. Requests in flight end on the version on which they began.
#[utoipa::path(
    post, path = "/v1/workers/{worker}/deployments", tag = "deployments", operation_id = "deploy",
    params(("worker", description = "The name of the worker."), ("Idempotency-Key" = Option<String>, Header)),
    request_body = NewDeployment,
    responses((status = 201, body = Deployment), Refused, Missing, NotMade)
)]
pub(super) async fn add(
    State(shared): State<Shared>,
    caller: Caller,
    Path(worker): Path<String>,
    Body(new): Body<NewDeployment>,
) -> Result<(StatusCode, Json<Deployment>), Problem> {
    caller.may_with(Scope::Deploy, &worker)?;
    is_note(&new.note)?;
    if !(1..=MOST).contains(&new.versions.len()) {
        return Err(Problem::invalid(format!("a deployment has 1 to {MOST} versions")));
    }
    let by = caller.by(&("deployment", &worker, &new));
    let why = match new.why {
        Some(Purpose::Deploy) => Why::Deploy,
        None if new.versions.len() == 1 => Why::Deploy,
        Some(Purpose::Rollout) | None => Why::Rollout,
    };
    let shares = new.versions.iter().map(|share| Ok((share.version, basis_points(share.percent)?)));
    let shares = shares.collect::<Result<_, Problem>>()?;
    let after = after(new.after.as_deref())?;
    if new.probe.as_ref().is_some_and(|path| !is_path(path)) {
        return Err(Problem::invalid(
            "`probe` is a path: it begins with `/` and is visible ASCII, 1,000 characters at most",
        ));
    }
    let asked = Asked { worker, shares, why, after, note: new.note, probe: new.probe };
    let deployment = shared.deployments.deploy(by, asked, &|worker| caller.may_have(worker)).await?;
    made(&shared, deployment).await
}

/// Goes back to what the deployment before the newest one said, or to one version.
#[utoipa::path(
    post, path = "/v1/workers/{worker}/rollback", tag = "deployments", operation_id = "roll_back",
    params(("worker", description = "The name of the worker."), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Rollback,
    responses((status = 201, body = Deployment), Refused, Missing, NotMade)
)]
pub(super) async fn roll_back(
    State(shared): State<Shared>,
    caller: Caller,
    Path(worker): Path<String>,
    Body(back): Body<Rollback>,
) -> Result<(StatusCode, Json<Deployment>), Problem> {
    caller.may_with(Scope::Deploy, &worker)?;
    is_note(&back.note)?;
    workers::find(&shared, &worker).await?;
    let by = caller.by(&("rollback", &worker, &back));
    let how = (after(back.after.as_deref())?, back.note);
    let may = |worker: &_| caller.may_have(worker);
    let deployment = shared.deployments.roll_back(by, &worker, back.version, how, &may).await?;
    made(&shared, deployment).await
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.len() <= 1_000 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

async fn made(shared: &Shared, made: store::Deployment) -> Result<(StatusCode, Json<Deployment>), Problem> {
    let numbers = numbers(shared, std::slice::from_ref(&made)).await?;
    Ok((StatusCode::CREATED, Json(shape(&made, &numbers))))
}

/// The numbers of all versions that these deployments name.
async fn numbers(shared: &Shared, deployments: &[store::Deployment]) -> Result<HashMap<VersionId, u32>, Problem> {
    let mut numbers = HashMap::new();
    for share in deployments.iter().filter_map(store::Deployment::shares).flat_map(store::Shares::iter) {
        if let std::collections::hash_map::Entry::Vacant(free) = numbers.entry(share.version)
            && let Some(version) = shared.deployments.store()?.version(share.version).await?
        {
            free.insert(version.number);
        }
    }
    Ok(numbers)
}

pub(super) fn shape(deployment: &store::Deployment, numbers: &HashMap<VersionId, u32>) -> Deployment {
    let (why, versions) = match &deployment.plan {
        Plan::Removed => ("remove", Vec::new()),
        Plan::Serve { why, shares } => {
            let share = |share: &store::Share| Share {
                version: numbers.get(&share.version).copied().unwrap_or_default(),
                percent: f64::from(share.weight.basis_points()) / 100.0,
            };
            (why.word(), shares.iter().map(share).collect())
        }
    };
    Deployment {
        id: deployment.id.to_string(),
        worker: deployment.worker.clone(),
        created: deployment.created,
        who: deployment.who.clone(),
        why: why.to_owned(),
        note: deployment.note.clone(),
        versions,
    }
}

pub(super) fn after(asked: Option<&str>) -> Result<After, Problem> {
    asked.map_or(Ok(After::Whatever), |text| Ok(After::This(id(text)?)))
}

fn id(text: &str) -> Result<DeploymentId, Problem> {
    DeploymentId::parse(text).ok_or_else(|| Problem::bad(format!("{text:?} is not the id of a deployment")))
}

fn basis_points(percent: f64) -> Result<u16, Problem> {
    let points = (percent * 100.0).round();
    match (1.0..=10_000.0).contains(&points) && (points - percent * 100.0).abs() < 1e-6 {
        true => Ok(points as u16),
        false => Err(Problem::invalid(format!("{percent} is no share: write 0.01 to 100 percent, in hundredths"))),
    }
}
