//! The nodes of the fleet.

use axum::Json;
use axum::extract::State;

use super::Shared;
use super::caller::Caller;
use super::problem::{Missing, Problem, Refused};
use super::shapes::Nodes;
use crate::store::Scope;

/// The nodes of this node's fleet that are there.
#[utoipa::path(
    get, path = "/v1/nodes", tag = "status", operation_id = "list_nodes",
    responses((status = 200, body = Nodes), Refused, Missing)
)]
pub(super) async fn list(State(shared): State<Shared>, caller: Caller) -> Result<Json<Nodes>, Problem> {
    caller.may(Scope::Read)?;
    let Some(fleet) = shared.deployments.fleet() else {
        return Err(Problem::missing("this node is in no fleet: node.toml has no [fleet]".to_owned()));
    };
    let nodes = fleet.nodes().await?.into_iter().map(Into::into).collect();
    Ok(Json(Nodes { nodes }))
}
