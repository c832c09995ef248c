//! The middle of the rounds.

use std::collections::BTreeMap;

use super::note::Note;
use super::report::{LIMIT, Latency, Median, Open, Run, ServerUse, Subject, good};

/// The ratio of a subject's CPU time to the limit's in the same round: what slows the machine for a while slows both.
pub(super) fn cpu_to_limit(runs: &[Run], run: &Run) -> Option<f64> {
    let is_it = |other: &&Run| (&*other.subject, other.concurrency, other.round) == (LIMIT, run.concurrency, run.round);
    let limit = runs.iter().filter(is_it).find(|limit| limit.is_good())?;
    Some(run.closed.server.as_ref()?.cpu_us / limit.closed.server.as_ref()?.cpu_us)
}

/// The medians, in the order of concurrency and then of the subjects.
pub(super) fn medians(subjects: &[Subject], concurrency: &[usize], runs: &[Run]) -> Vec<Median> {
    let each = |concurrency: usize| subjects.iter().filter_map(move |subject| of(runs, &subject.name, concurrency));
    concurrency.iter().flat_map(|concurrency| each(*concurrency)).collect()
}

fn of(runs: &[Run], subject: &str, concurrency: usize) -> Option<Median> {
    let good = good(runs, subject, concurrency);
    let server = |value: &dyn Fn(&ServerUse) -> Option<f64>| {
        median(good.iter().filter_map(|run| value(run.closed.server.as_ref()?)))
    };
    let bytes = |value: &dyn Fn(&ServerUse) -> Option<u64>| {
        server(&|server| value(server).map(|bytes| bytes as f64)).map(|bytes| bytes as u64)
    };
    let opens: Vec<&Open> = good.iter().filter_map(|run| run.open.as_ref()).collect();
    let mut notes = BTreeMap::new();
    for run in &good {
        let open = run.open.iter().flat_map(|open| &open.notes);
        let mut of_run: Vec<Note> = run.closed.notes.iter().chain(open).copied().collect();
        of_run.sort();
        of_run.dedup();
        of_run.into_iter().for_each(|note| *notes.entry(note).or_default() += 1);
    }
    Some(Median {
        subject: subject.to_owned(),
        concurrency,
        rounds: good.len(),
        per_second: median(good.iter().map(|run| run.closed.per_second))?,
        cpu_us: server(&|server| Some(server.cpu_us)),
        cpu_to_limit: median(good.iter().filter_map(|run| cpu_to_limit(runs, run))),
        page_faults: server(&|server| Some(server.page_faults)),
        resident_bytes: bytes(&|server| server.resident_bytes),
        peak_bytes: bytes(&|server| server.peak_bytes),
        closed: latency(good.iter().map(|run| &run.closed.latency).collect())?,
        rate: median(opens.iter().map(|open| open.rate)),
        open: latency(opens.iter().map(|open| &open.latency).collect()),
        notes,
    })
}

fn latency(all: Vec<&Latency>) -> Option<Latency> {
    let of = |value: &dyn Fn(&Latency) -> f64| median(all.iter().map(|latency| value(latency)));
    let points = all.iter().map(|latency| latency.curve.len()).min()?;
    let point = |index: usize| Some((all[0].curve[index].0, of(&|latency| latency.curve[index].1)?));
    Some(Latency {
        p50: of(&|latency| latency.p50)?,
        p90: of(&|latency| latency.p90)?,
        p99: of(&|latency| latency.p99)?,
        p999: of(&|latency| latency.p999)?,
        max: of(&|latency| latency.max)?,
        curve: (0..points).filter_map(point).collect(),
    })
}

/// The middle one, or the mean of the two in the middle; none of none.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{run, subject};
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }

    #[test]
    fn a_ratio_is_that_of_one_round() {
        // The machine was twice as slow in the second round, and three times in the third.
        let runs: Vec<Run> =
            (1..=3).flat_map(|n| [run(LIMIT, n, 5.0 * f64::from(n)), run("warm", n, 20.0 * f64::from(n))]).collect();
        let medians = medians(&[subject(LIMIT), subject("warm")], &[32], &runs);
        assert_eq!((medians[0].cpu_to_limit, medians[1].cpu_to_limit), (Some(1.0), Some(4.0)));
        assert_eq!((medians[1].cpu_us, medians[1].rounds), (Some(40.0), 3));
        assert_eq!(medians[1].open.as_ref().unwrap().curve, [(1.0, 90.0), (0.1, 110.0)]);
    }

    #[test]
    fn a_note_counts_once_a_round_and_wrong_answers_make_no_figure() {
        let mut runs = vec![run("warm", 1, 20.0), run("warm", 2, 22.0), run("warm", 3, 1.0)];
        runs[2].closed.wrong = 1;
        let median = &medians(&[subject("warm")], &[32, 256], &runs)[0];
        assert_eq!((median.rounds, median.cpu_us), (2, Some(21.0)));
        assert_eq!(median.notes, BTreeMap::from([(Note::Steal, 2)]));
    }
}
