//! Every figure behind the charts.

use maud::{Markup, html};

use crate::cli::bench::figure::{bytes, connections, maybe, number, short, time};
use crate::cli::bench::report::{Latency, Median, Report, Run};

const HEADER: [&str; 13] = [
    "",
    "CPU",
    "× limit",
    "requests/s",
    "faults",
    "resident",
    "peak",
    "p50",
    "p90",
    "p99",
    "p99.9",
    "max",
    "closed p50",
];

/// One table for all subjects at each concurrency.
pub(super) fn all(report: &Report) -> Markup {
    html! {
        h2 { "All figures" }
        p.what {
            "Medians of " (report.method.rounds) " rounds, smallest and largest in brackets. Percentiles are those of the open loop; "
            "closed p50 is the latency where each connection waits for its last answer. Faults are page faults a request."
        }
        div.scroll { table {
            thead { tr { @for name in HEADER { th scope="col" { (name) } } } }
            @for concurrency in &report.method.concurrency { tbody {
                tr { th colspan=(HEADER.len()) scope="rowgroup" { (connections(*concurrency)) } }
                @for row in report.medians.iter().filter(|row| row.concurrency == *concurrency) { (row_of(report, row)) }
            } }
        } }
    }
}

fn row_of(report: &Report, row: &Median) -> Markup {
    let runs = report.good(&row.subject, row.concurrency);
    let cpu = spread(&runs, time, |run| Some(run.closed.server.as_ref()?.cpu_us));
    let rate = spread(&runs, |rate| number(rate, 0), |run| Some(run.closed.per_second));
    let open = |value: fn(&Latency) -> f64| maybe(row.open.as_ref(), |open| time(value(open)));
    html! {
        tr {
            td { (row.subject) @for (note, count) in &row.notes { br; small { (note.name()) " (" (count) " of " (row.rounds) ")" } } }
            td { (maybe(row.cpu_us, time)) br; small { (cpu) } }
            td { (maybe(row.cpu_to_limit, short)) }
            td { (number(row.per_second, 0)) br; small { (rate) } }
            td { (maybe(row.page_faults, |faults| number(faults, 2))) }
            td { (maybe(row.resident_bytes, bytes)) }
            td { (maybe(row.peak_bytes, bytes)) }
            td { (open(|it| it.p50)) }
            td { (open(|it| it.p90)) }
            td { (open(|it| it.p99)) }
            td { (open(|it| it.p999)) }
            td { (open(|it| it.max)) }
            td { (time(row.closed.p50)) }
        }
    }
}

/// The smallest and the largest over the rounds.
fn spread(runs: &[&Run], show: impl Fn(f64) -> String, value: impl Fn(&Run) -> Option<f64>) -> String {
    let values = || runs.iter().filter_map(|run| value(run));
    let bounds = values().reduce(f64::min).zip(values().reduce(f64::max));
    bounds.map(|(low, high)| format!("({}–{})", show(low), show(high))).unwrap_or_default()
}
