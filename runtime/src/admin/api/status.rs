//! How the node stands.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;

use super::Shared;
use super::caller::Caller;
use super::problem::{Problem, Refused};
use super::shapes::{Fault, Faulty, OrderedCertificate, Status};
use crate::acme::Standing;
use crate::config::Diagnostics;
use crate::store::Scope;

/// How the node stands.
#[utoipa::path(get, path = "/v1/status", tag = "status", operation_id = "show_status", responses((status = 200, body = Status), Refused))]
pub(super) async fn show(State(shared): State<Shared>, caller: Caller) -> Result<Json<Status>, Problem> {
    caller.may(Scope::Read)?;
    let standing = shared.deployments.standing();
    let serving = standing.iter().filter(|worker| worker.faults.is_none()).count();
    let faulty = standing.into_iter().filter(|standing| caller.covers(&standing.worker)).filter_map(|standing| {
        let Diagnostics(faults) = standing.faults?;
        Some(Faulty { worker: standing.worker, faults: faults.into_iter().map(Fault::from).collect() })
    });
    let certificates = shared.orders.iter().flat_map(|orders| orders.standing()).map(OrderedCertificate::from);
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ready: shared.ready.is_set(),
        uptime_seconds: shared.began.elapsed().as_secs(),
        component_size: shared.deployments.node().limits.node_limits().component_size,
        serving,
        faulty: faulty.collect(),
        certificates: certificates.collect(),
    }))
}

impl From<Standing> for OrderedCertificate {
    fn from(Standing { names, not_after, next, trouble }: Standing) -> Self {
        let seconds = |at| Timestamp::from_second(at).unwrap_or(Timestamp::MAX);
        let ordered_at = Timestamp::try_from(next).unwrap_or(Timestamp::MAX);
        Self { names, not_after: not_after.map(seconds), ordered_at, trouble }
    }
}
