//! How the requests of a version end, over the last while: what decides whether a rollout goes on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use hdrhistogram::Histogram;

/// Whether somebody looks at a version; nobody does but while it is rolled out, and then it costs a request nothing to speak of.
#[derive(Default)]
pub struct Watched(ArcSwapOption<Tally>);

/// A window over the requests of one version, which slides in steps of a tenth.
pub struct Tally {
    step: Duration,
    steps: Mutex<VecDeque<Step>>,
}

struct Step {
    began: Instant,
    requests: u64,
    failures: u64,
    /// In microseconds.
    times: Histogram<u64>,
}

/// What a window says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// So many requests ended.
    pub requests: u64,
    /// So many of them failed: the status was 500 or above, or the response broke off.
    pub failures: u64,
    /// The 99th percentile of the time to the end of the response. 0 without requests.
    pub p99: Duration,
}

/// A window has so many steps.
const STEPS: u32 = 10;

/// What takes longer than this is counted as this.
const LONGEST: u64 = 600_000_000;

impl Watched {
    /// From now on somebody looks, over such a window. A tally that is there goes on.
    pub fn watch(&self, window: Duration) -> Arc<Tally> {
        let tally = self.0.load_full().unwrap_or_else(|| Arc::new(Tally::new(window)));
        self.0.store(Some(Arc::clone(&tally)));
        tally
    }

    /// Nobody looks any more.
    pub fn forget(&self) {
        self.0.store(None);
    }

    /// A request has ended.
    pub fn ended(&self, failed: bool, time: Duration) {
        if let Some(tally) = &*self.0.load() {
            tally.ended(failed, time);
        }
    }
}

impl Tally {
    fn new(window: Duration) -> Self {
        Self { step: window / STEPS, steps: Mutex::default() }
    }

    fn ended(&self, failed: bool, time: Duration) {
        let now = Instant::now();
        let mut steps = self.recent(now);
        if steps.back().is_none_or(|step| now.duration_since(step.began) >= self.step) {
            steps.extend(Step::new(now));
        }
        if let Some(step) = steps.back_mut() {
            step.requests += 1;
            step.failures += u64::from(failed);
            step.times.saturating_record(u64::try_from(time.as_micros()).unwrap_or(LONGEST).clamp(1, LONGEST));
        }
    }

    /// What the window says now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let steps = self.recent(Instant::now());
        let mut counts = Counts::default();
        let mut times: Option<Histogram<u64>> = None;
        for step in &*steps {
            counts.requests += step.requests;
            counts.failures += step.failures;
            match &mut times {
                // Both have the same bounds, so nothing is lost.
                Some(times) => _ = times.add(&step.times),
                None => times = Some(step.times.clone()),
            }
        }
        counts.p99 = times.map(|times| Duration::from_micros(times.value_at_quantile(0.99))).unwrap_or_default();
        counts
    }

    fn recent(&self, now: Instant) -> MutexGuard<'_, VecDeque<Step>> {
        // Whoever panicked with it has counted already, or not yet.
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let window = self.step * STEPS;
        while steps.front().is_some_and(|step| now.duration_since(step.began) > window) {
            steps.pop_front();
        }
        steps
    }
}

impl Step {
    fn new(began: Instant) -> Option<Self> {
        let times = Histogram::new_with_bounds(1, LONGEST, 2).ok()?;
        Some(Self { began, requests: 0, failures: 0, times })
    }
}

impl Counts {
    /// The share of requests that failed, 0 to 1.
    #[must_use]
    pub fn failure_rate(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.failures as f64 / self.requests as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_counts_requests_failures_and_the_slowest_hundredth() {
        let watched = Watched::default();
        watched.ended(true, Duration::ZERO);
        let tally = watched.watch(Duration::from_secs(600));
        for time in 1..=100 {
            watched.ended(time % 4 == 0, Duration::from_millis(time));
        }
        let counts = tally.counts();
        assert_eq!((counts.requests, counts.failures), (100, 25));
        assert_eq!(counts.failure_rate(), 0.25);
        assert!((98..=100).contains(&counts.p99.as_millis()), "{:?}", counts.p99);
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let tally = Tally::new(Duration::from_millis(50));
        tally.ended(true, Duration::from_millis(1));
        assert_eq!(tally.counts().requests, 1);
        let end = Instant::now() + Duration::from_secs(10);
        while tally.counts().requests == 1 && Instant::now() < end {
            std::thread::yield_now();
        }
        assert_eq!(tally.counts(), Counts::default());
    }

    #[test]
    fn nobody_counts_what_nobody_looks_at() {
        let watched = Watched::default();
        let tally = watched.watch(Duration::from_secs(60));
        watched.forget();
        watched.ended(true, Duration::from_millis(1));
        assert_eq!(tally.counts().requests, 0);
    }
}
