//! The nodes of a fleet.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::store::FleetNode;

/// The nodes of a fleet that are there.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Nodes {
    /// By name.
    pub nodes: Vec<Node>,
}

/// A node of a fleet, as it has told of itself in the last fifteen seconds.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Which Eyot it is.
    pub version: String,
    /// Since when it is there.
    #[schema(value_type = String, format = DateTime)]
    pub started: Timestamp,
    /// When it last told of itself.
    #[schema(value_type = String, format = DateTime)]
    pub seen: Timestamp,
    /// The last change of the fleet that it has made its own.
    pub change: u64,
    /// How many workers it serves.
    pub workers: u64,
    /// Workers that it should serve and cannot.
    pub left_out: Vec<String>,
}

impl From<FleetNode> for Node {
    fn from(FleetNode { name, version, started, seen, change, workers, left_out }: FleetNode) -> Self {
        Self { name, version, started, seen, change, workers, left_out }
    }
}
