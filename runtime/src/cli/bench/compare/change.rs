//! Whether a figure changed: a rank test over the rounds.

use statrs::stats_tests::Alternative;
use statrs::stats_tests::mannwhitneyu::{MannWhitneyUMethod, mannwhitneyu};

use crate::cli::bench::figure::{bytes, number, short, time};
use crate::cli::bench::medians::{cpu_to_limit, median};
use crate::cli::bench::report::{Report, Run};

/// A change is told from noise where noise would look like this in fewer than one of fifty comparisons. With five rounds on either side
/// that means: all of one side are above all of the other.
const LEVEL: f64 = 0.02;

/// Less is called the same, whatever the test says: where a program lies in memory is worth as much, for as long as it runs.
const SAME: f64 = 0.03;

/// What is compared of a subject under load.
pub(super) const FIGURES: [Figure; 7] = [
    Figure::CpuToLimit,
    Figure::Cpu,
    Figure::Throughput,
    Figure::P50,
    Figure::P99,
    Figure::PageFaults,
    Figure::Resident,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    /// Of compiling.
    Time,
    CpuToLimit,
    Cpu,
    Throughput,
    /// Latencies of the open loop.
    P50,
    P99,
    PageFaults,
    Resident,
}

impl Figure {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::CpuToLimit => "CPU × limit",
            Self::Cpu => "CPU a request",
            Self::Throughput => "requests/s",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::PageFaults => "page faults a request",
            Self::Resident => "resident memory",
        }
    }

    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::Time | Self::Cpu | Self::P50 | Self::P99 => time(value),
            Self::CpuToLimit => short(value),
            Self::Throughput => number(value, 0),
            Self::PageFaults => number(value, 2),
            Self::Resident => bytes(value as u64),
        }
    }

    /// Its value in each good round.
    pub(super) fn values(self, report: &Report, subject: &str, concurrency: usize) -> Vec<f64> {
        let of = |run: &&Run| match self {
            Self::Time => None,
            Self::CpuToLimit => cpu_to_limit(&report.runs, run),
            Self::Cpu => Some(run.closed.server.as_ref()?.cpu_us),
            Self::Throughput => Some(run.closed.per_second),
            Self::P50 => Some(run.open.as_ref()?.latency.p50),
            Self::P99 => Some(run.open.as_ref()?.latency.p99),
            Self::PageFaults => Some(run.closed.server.as_ref()?.page_faults),
            Self::Resident => Some(run.closed.server.as_ref()?.resident_bytes? as f64),
        };
        report.good(subject, concurrency).iter().filter_map(of).collect()
    }

    /// Whether it says something about another machine.
    pub(super) fn crosses_machines(self) -> bool {
        matches!(self, Self::CpuToLimit)
    }

    pub(super) fn depends_on_rate(self) -> bool {
        matches!(self, Self::P50 | Self::P99)
    }

    fn is_better_when_higher(self) -> bool {
        matches!(self, Self::Throughput)
    }

    /// A difference that is none to anybody.
    fn negligible(self) -> f64 {
        match self {
            Self::PageFaults => 0.1,
            _ => 0.0,
        }
    }
}

/// What became of a figure.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    /// Medians.
    pub(super) before: f64,
    pub(super) after: f64,
    pub(super) ratio: f64,
    /// How often noise alone would differ as much.
    pub(super) p: Option<f64>,
    pub(super) verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Same,
    Better,
    Worse,
    /// Whatever the rounds were, they could not tell.
    TooFew,
    /// Something else differs, or it is not what is judged.
    Hindered(&'static str),
}

impl Verdict {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Better => "better",
            Self::Worse => "WORSE",
            Self::TooFew => "too few rounds",
            Self::Hindered(why) => why,
        }
    }
}

impl Change {
    pub(super) fn of(figure: Figure, before: &[f64], after: &[f64], hinders: Option<&'static str>) -> Self {
        let middle = |values: &[f64]| median(values.iter().copied()).unwrap_or_default();
        let (old, new) = (middle(before), middle(after));
        let ratio = if old == new { 1.0 } else { new / old };
        let apart = |count: usize, from: usize| (from..from + count).map(|value| value as f64).collect::<Vec<f64>>();
        let clearest = p_value(&apart(before.len(), 0), &apart(after.len(), before.len()));
        let can_tell = clearest.is_some_and(|p| p <= LEVEL);
        let p = p_value(before, after).filter(|_| can_tell);
        let is_change =
            p.is_some_and(|p| p <= LEVEL) && (ratio - 1.0).abs() >= SAME && (new - old).abs() > figure.negligible();
        let verdict = match hinders {
            Some(why) => Verdict::Hindered(why),
            None if !can_tell => Verdict::TooFew,
            None if !is_change => Verdict::Same,
            None if (new > old) == figure.is_better_when_higher() => Verdict::Better,
            None => Verdict::Worse,
        };
        Self { before: old, after: new, ratio, p, verdict }
    }
}

/// Of the Mann-Whitney U test, two-sided. The approximation and not the exact form, which statrs 0.19 has the wrong way round unless the
/// first sample is the larger one, and which it has not for ties; at five rounds the approximation is the stricter of the two.
fn p_value(before: &[f64], after: &[f64]) -> Option<f64> {
    let method = MannWhitneyUMethod::AsymptoticInclContinuityCorrection;
    mannwhitneyu(before, after, method, Alternative::TwoSided).ok().map(|(_, p)| p)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOISE: [f64; 5] = [20.1, 19.8, 20.4, 20.0, 21.2];
    const MORE_NOISE: [f64; 5] = [20.3, 19.9, 20.2, 20.6, 19.7];

    fn verdict(figure: Figure, before: &[f64], after: &[f64]) -> Verdict {
        Change::of(figure, before, after, None).verdict
    }

    #[test]
    fn equal_samples_are_the_same_and_shifted_ones_are_not() {
        let doubled = NOISE.map(|value| 2.0 * value);
        assert_eq!(verdict(Figure::Cpu, &NOISE, &NOISE), Verdict::Same);
        assert_eq!(verdict(Figure::Cpu, &NOISE, &MORE_NOISE), Verdict::Same);
        assert_eq!(verdict(Figure::Cpu, &NOISE, &doubled), Verdict::Worse);
        assert_eq!(verdict(Figure::Cpu, &doubled, &NOISE), Verdict::Better);
        assert_eq!(verdict(Figure::Throughput, &NOISE, &doubled), Verdict::Better);
        assert_eq!(Change::of(Figure::Cpu, &NOISE, &doubled, None).ratio, 2.0);
    }

    #[test]
    fn samples_of_other_sizes_are_compared_too() {
        let [longer, shorter] = [[1.0, 1.1, 1.2, 1.3, 1.4, 1.5].as_slice(), &[2.0, 2.1, 2.2, 2.3, 2.4]];
        assert_eq!(verdict(Figure::Cpu, longer, shorter), Verdict::Worse);
        assert_eq!(verdict(Figure::Cpu, shorter, longer), Verdict::Better);
    }

    #[test]
    fn one_round_that_is_out_of_line_makes_no_change() {
        let mut after = MORE_NOISE;
        after[0] = 100.0;
        assert_eq!(verdict(Figure::Cpu, &NOISE, &after), Verdict::Same);
    }

    #[test]
    fn of_few_rounds_nothing_is_said() {
        assert_eq!(verdict(Figure::Cpu, &[1.0, 1.1, 1.2], &[9.0, 9.1, 9.2]), Verdict::TooFew);
        assert_eq!(verdict(Figure::Cpu, &[1.0], &[9.0]), Verdict::TooFew);
    }

    #[test]
    fn what_is_small_is_the_same_however_sure_it_is() {
        let slightly = NOISE.map(|value| value * 0.001 + 20.0);
        let more = slightly.map(|value| value * 1.02);
        assert_eq!(verdict(Figure::Cpu, &slightly, &more), Verdict::Same);
        assert_eq!(verdict(Figure::PageFaults, &[0.01; 5], &[0.05; 5]), Verdict::Same);
        assert_eq!(verdict(Figure::PageFaults, &[0.0; 5], &[1.0; 5]), Verdict::Worse);
    }

    #[test]
    fn what_hinders_a_comparison_is_told_in_its_place() {
        let change = Change::of(Figure::P99, &NOISE, &NOISE.map(|value| 2.0 * value), Some("other rate"));
        assert_eq!((change.verdict, change.verdict.name()), (Verdict::Hindered("other rate"), "other rate"));
    }
}
