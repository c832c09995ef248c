//! Who changed what.

use axum::Json;
use axum::extract::State;

use super::Shared;
use super::caller::Caller;
use super::extract::Query;
use super::problem::{Problem, Refused};
use super::shapes::{Audit, AuditEntry, NumberedPage};
use super::versions::{before, limit};
use crate::store::Scope;

/// Who changed what, the newest first.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", operation_id = "list_audit", params(NumberedPage), responses((status = 200, body = Audit), Refused))]
pub(super) async fn list(
    State(shared): State<Shared>,
    caller: Caller,
    Query(page): Query<NumberedPage>,
) -> Result<Json<Audit>, Problem> {
    caller.may(Scope::Admin)?;
    let limit = limit(page.limit)?;
    let oldest = before(page.before)?.map(i64::from);
    let found = shared.deployments.store()?.audit(oldest, limit).await?;
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
