//! Until when the certificates of listeners are good, and whether the last attempt to read them again succeeded.

use std::path::Path;

use prometheus::{IntCounter, IntGauge, IntGaugeVec, Registry};

use super::labels::Counters;
use super::{gauges, register};

/// Handles to what is told of certificates.
#[derive(Clone, Debug)]
pub struct Certificates {
    not_after: IntGaugeVec,
    good: IntGauge,
    reloads: [IntCounter; 2],
}

impl Certificates {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let reloads = Counters::register(
            registry,
            "eyot_certificate_reloads_total",
            "Times that certificates were read again, by whether the new ones are used.",
            ["result"],
        )?;
        let good = IntGauge::new(
            "eyot_certificate_last_reload_successful",
            "1 as long as the certificates in use are those that were asked for last, 0 after a failed attempt.",
        )?;
        good.set(1);
        Ok(Self {
            not_after: gauges(
                registry,
                "eyot_certificate_not_after_seconds",
                "When a certificate in use expires, in Unix time.",
                &["name", "file"],
            )?,
            good: register(registry, good)?,
            reloads: ["success", "failure"].map(|result| reloads.of([result])),
        })
    }

    /// These are in use now, and no others: name, file, and the Unix time of the last second.
    pub fn in_use<'a>(&self, certificates: impl IntoIterator<Item = (&'a str, &'a Path, i64)>) {
        self.not_after.reset();
        for (name, file, not_after) in certificates {
            self.not_after.with_label_values(&[name, &file.to_string_lossy()]).set(not_after);
        }
    }

    /// They were read again, and are used if that went well.
    pub fn read_again(&self, well: bool) {
        self.good.set(well.into());
        self.reloads[usize::from(!well)].inc();
    }
}
