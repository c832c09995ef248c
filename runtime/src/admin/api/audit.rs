//! Who changed what.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use super::caller::Caller;
use super::extract::Query;
use super::problem::{Problem, Refused};
use super::shapes::{Audit, AuditEntry};
use super::versions::limit;
use crate::store::Scope;

/// Which part of the audit is wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Part {
    /// Only what is older than this number.
    #[param(minimum = 1)]
    before: Option<i64>,
    /// So many at most. Without it: 50.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
}

/// Who changed what, the newest first.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(Part), responses((status = 200, body = Audit), Refused))]
pub(super) async fn list(
    State(shared): State<Shared>,
    caller: Caller,
    Query(part): Query<Part>,
) -> Result<Json<Audit>, Problem> {
    caller.may(Scope::Admin)?;
    let limit = limit(part.limit)?;
    let found = shared.deployments.store.audit(part.before, limit).await?;
    let next = found.last().filter(|_| found.len() == limit as usize).map(|oldest| oldest.number);
    let entries = found.into_iter().map(|entry| AuditEntry {
        number: entry.number,
        at: entry.at,
        actor: entry.actor,
        action: entry.action,
        target: entry.target,
        detail: serde_json::from_str(&entry.detail).unwrap_or_default(),
    });
    Ok(Json(Audit { entries: entries.collect(), next }))
}
