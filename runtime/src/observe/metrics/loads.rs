//! What of the components is in memory, what came and went, and how long it took.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntGauge, Registry};

use super::{Start, register};

/// Seconds, from what mapping takes to what compiling Python takes.
const BUCKETS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0, 60.0];

/// Handles to what is counted where components are loaded.
#[derive(Clone, Debug)]
pub struct Loads {
    components: IntGauge,
    bytes: IntGauge,
    evicted: IntCounter,
    cold: Histogram,
    compiled: Histogram,
}

impl Loads {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let took = HistogramOpts::new(
            "eyot_component_load_seconds",
            "Bringing a component into memory while its worker is active, by where it came from.",
        );
        let took = register(registry, HistogramVec::new(took.buckets(BUCKETS.to_vec()), &["start"])?)?;
        let components = IntGauge::new("eyot_components_loaded", "Components in memory.")?;
        let bytes =
            IntGauge::new("eyot_components_loaded_bytes", "What they are counted for, against limit loaded_bytes.")?;
        let evicted =
            IntCounter::new("eyot_component_evictions_total", "Components that had to make room for others.")?;
        Ok(Self {
            components: register(registry, components)?,
            bytes: register(registry, bytes)?,
            evicted: register(registry, evicted)?,
            cold: took.with_label_values(&[Start::Cold.as_str()]),
            compiled: took.with_label_values(&[Start::Compile.as_str()]),
        })
    }

    /// So many are in memory, of so many bytes.
    pub fn loaded(&self, components: usize, bytes: u64) {
        self.components.set(i64::try_from(components).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// One has made room.
    pub fn evicted(&self) {
        self.evicted.inc();
    }

    /// One came into memory, from its code on disk or from Wasm bytes.
    pub fn took(&self, start: Start, time: Duration) {
        let histogram = if start == Start::Compile { &self.compiled } else { &self.cold };
        histogram.observe(time.as_secs_f64());
    }
}
