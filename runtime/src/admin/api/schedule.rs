//! Schedules of workers: when they are due, and what their runs came to.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::Kept;
use super::caller::Caller;
use super::extract::{Path, Query};
use super::problem::{Missing, NotMade, Problem, Refused};
use super::shapes::{Schedule, ScheduleHistory, ScheduleRun, ScheduleRuns, Schedules};
use crate::config::is_worker_name;
use crate::store::{Run, ScheduleName, Scope};

/// So many runs are shown, where nothing is said, and at most.
const RUNS: (u32, u32) = (20, 1000);

/// The schedules of a worker.
#[utoipa::path(
    get, path = "/v1/workers/{worker}/schedules", tag = "schedules", operation_id = "list_schedules",
    params(("worker", description = "The name of the worker.")),
    responses((status = 200, body = Schedules), Refused)
)]
pub(super) async fn list(
    State(kept): State<Kept>,
    caller: Caller,
    Path(worker): Path<String>,
) -> Result<Json<Schedules>, Problem> {
    caller.may_with(Scope::Read, &worker)?;
    let standing = kept.stock.schedules()?.standing(&worker).await?;
    let schedules = standing.into_iter().map(|standing| Schedule {
        next: standing.next.filter(|_| kept.stock.is_planned(&standing.name)),
        name: standing.name.name.to_string(),
        last: standing.last.map(run),
    });
    Ok(Json(Schedules { schedules: schedules.collect() }))
}

/// What the runs of a schedule came to.
#[utoipa::path(
    get, path = "/v1/workers/{worker}/schedules/{schedule}/runs", tag = "schedules", operation_id = "list_runs",
    params(
        ("worker", description = "The name of the worker."),
        ("schedule", description = "The name of the schedule."),
        ScheduleRuns,
    ),
    responses((status = 200, body = ScheduleHistory), Refused, NotMade)
)]
pub(super) async fn history(
    State(kept): State<Kept>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    Query(ScheduleRuns { limit }): Query<ScheduleRuns>,
) -> Result<Json<ScheduleHistory>, Problem> {
    let name = schedule(&caller, Scope::Read, path)?;
    let limit = match limit.unwrap_or(RUNS.0) {
        limit if (1..=RUNS.1).contains(&limit) => limit,
        limit => return Err(Problem::bad(format!("`limit` is {limit}, and may be 1 to {}", RUNS.1))),
    };
    let runs = kept.stock.schedules()?.history(&name, limit).await?;
    Ok(Json(ScheduleHistory { runs: runs.into_iter().map(run).collect() }))
}

/// Asks for a run now, whenever it is due. It begins when the runs before it have ended, unless they may overlap.
#[utoipa::path(
    post, path = "/v1/workers/{worker}/schedules/{schedule}/runs", tag = "schedules", operation_id = "run_schedule",
    params(
        ("worker", description = "The name of the worker."),
        ("schedule", description = "The name of the schedule."),
    ),
    responses((status = 202, description = "It will begin."), Refused, Missing, NotMade)
)]
pub(super) async fn ask(
    State(kept): State<Kept>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let name = schedule(&caller, Scope::Deploy, path)?;
    match kept.stock.run_schedule(caller.by_without_key(), &name).await? {
        true => Ok(StatusCode::ACCEPTED),
        false => Err(Problem::missing(format!("no version that serves has [[schedule]] {}", name.name))),
    }
}

fn run(Run { due, began, ended, outcome, reason }: Run) -> ScheduleRun {
    ScheduleRun { due, began, ended, outcome, reason }
}

/// Whoever may have it gets it.
fn schedule(caller: &Caller, scope: Scope, (worker, name): (String, String)) -> Result<ScheduleName, Problem> {
    caller.may_with(scope, &worker)?;
    for (what, name) in [("worker", &worker), ("schedule", &name)] {
        if !is_worker_name(name) {
            return Err(Problem::invalid(format!("{name:?} cannot be the name of a {what}")));
        }
    }
    Ok(ScheduleName { worker: worker.into(), name: name.into() })
}
