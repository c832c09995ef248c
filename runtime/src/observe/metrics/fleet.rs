//! How a node stands to its fleet.

use prometheus::{IntGauge, Registry};

use super::register;

/// What is told of it.
#[derive(Clone, Debug)]
pub struct FleetMetrics {
    connected: IntGauge,
    change: IntGauge,
}

impl FleetMetrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let connected =
            IntGauge::new("eyot_fleet_connected", "Whether the fleet's server can be asked (1) or not (0).")?;
        let change =
            IntGauge::new("eyot_fleet_change", "The last change of the fleet that this node has made its own.")?;
        Ok(Self { connected: register(registry, connected)?, change: register(registry, change)? })
    }

    /// As it is now.
    pub fn stands(&self, is_connected: bool, change: u64) {
        self.connected.set(is_connected.into());
        self.change.set(i64::try_from(change).unwrap_or(i64::MAX));
    }
}
