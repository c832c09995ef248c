//! What came of orders of certificates.

use prometheus::{IntCounter, Registry};

use super::labels::Counters;

/// Handles to what is counted of them.
#[derive(Clone, Debug)]
pub struct AcmeOrders {
    issued: IntCounter,
    refused: IntCounter,
    unreachable: IntCounter,
}

impl AcmeOrders {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let orders = Counters::register(
            registry,
            "eyot_acme_orders_total",
            "Attempts to have a certificate issued, by what came of them.",
            ["result"],
        )?;
        Ok(Self {
            issued: orders.of(["issued"]),
            refused: orders.of(["refused"]),
            unreachable: orders.of(["unreachable"]),
        })
    }

    /// There is a new certificate.
    pub fn issued(&self) {
        self.issued.inc();
    }

    /// There is none: the authority has said no, or there was nobody to say anything.
    pub fn failed(&self, is_refused: bool) {
        let counter = if is_refused { &self.refused } else { &self.unreachable };
        counter.inc();
    }
}
