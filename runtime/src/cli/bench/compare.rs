//! `eyot bench --compare`: what is noise and what is change between two files of `--json`.

use std::path::Path;

use super::figure::{connections, number, short};
use super::machine::Machine;
use super::medians::median;
use super::report::{FORMAT, LIMIT, Median, Report};
use super::table::table;
use crate::cli::say;
use crate::config::{Diagnostic, Diagnostics, Place, read_regular};

mod change;

use change::{Change, FIGURES, Figure, Verdict};

/// A file of five rounds has some hundred KiB.
const LARGEST: u64 = 256 << 20;

/// Rates of open loops that differ by more make other latencies.
const SAME_RATE: f64 = 1.2;

/// Compares, and fails when something got worse.
pub(super) fn run(before: &Path, after: &Path) -> anyhow::Result<()> {
    let (before, after) = match (read(before), read(after)) {
        (Ok(before), Ok(after)) => (before, after),
        (before, after) => {
            let faults = [before.err(), after.err()].into_iter().flatten().collect();
            return Err(Diagnostics::together(faults).into());
        }
    };
    let rows = rows(&before, &after);
    say::result(&text(&before, &after, &rows))?;
    match rows.iter().filter(|row| row.change.verdict == Verdict::Worse).count() {
        0 => Ok(()),
        1 => Err(anyhow::anyhow!("one figure got worse beyond noise")),
        count => Err(anyhow::anyhow!("{count} figures got worse beyond noise")),
    }
}

/// Reads a file of `--json`.
///
/// # Errors
/// What is wrong with it, and where.
fn read(path: &Path) -> Result<Report, Diagnostic> {
    #[derive(serde::Deserialize)]
    struct Version {
        format: u32,
    }
    let help = "name two files that `eyot bench --json FILE` wrote";
    let bytes = read_regular(path, LARGEST)
        .map_err(|error| Diagnostic::new(Place::file(path), format!("this cannot be read: {error}"), help))?;
    let fault = |error: serde_json::Error| {
        let place = Place { file: path.to_owned(), line: error.line(), column: error.column() };
        Diagnostic::new(place, format!("this is no measurement: {error}"), help)
    };
    let Version { format } = serde_json::from_slice(&bytes).map_err(fault)?;
    if format != FORMAT {
        let message = format!("this is of format {format}, and this program reads format {FORMAT}");
        return Err(Diagnostic::new(Place::file(path), message, "measure again with this program"));
    }
    serde_json::from_slice(&bytes).map_err(fault)
}

/// One figure of one subject.
struct Row {
    /// None for what has no load.
    concurrency: Option<usize>,
    subject: String,
    figure: Figure,
    change: Change,
}

/// Every figure that both have, of every subject at every concurrency.
fn rows(before: &Report, after: &Report) -> Vec<Row> {
    let mut rows = Vec::new();
    let same_machine = before.machine.is_like(&after.machine);
    let compiles = |report: &Report| report.compiles.iter().map(|compile| compile.took.time_us).collect::<Vec<f64>>();
    let (old, new) = (compiles(before), compiles(after));
    if !old.is_empty() && !new.is_empty() {
        let hinders = (!same_machine).then_some("other machine");
        let change = Change::of(Figure::Time, &old, &new, hinders);
        rows.push(Row { concurrency: None, subject: "eyot compile".to_owned(), figure: Figure::Time, change });
    }
    let shared = before.method.concurrency.iter().filter(|count| after.method.concurrency.contains(count));
    for concurrency in shared {
        let of_before = before.medians.iter().filter(|row| row.concurrency == *concurrency);
        for old in of_before {
            let is_it = |new: &&Median| (&new.subject, new.concurrency) == (&old.subject, old.concurrency);
            let Some(new) = after.medians.iter().find(is_it) else { continue };
            let other_rate = old.rate.zip(new.rate).is_some_and(|(old, new)| (old / new).max(new / old) > SAME_RATE);
            for figure in FIGURES {
                let values = |report: &Report| figure.values(report, &old.subject, *concurrency);
                let (old_values, new_values) = (values(before), values(after));
                if old_values.is_empty() || new_values.is_empty() {
                    continue;
                }
                let hinders = match () {
                    () if old.subject == LIMIT => Some("the limit"),
                    () if !same_machine && !figure.crosses_machines() => Some("other machine"),
                    () if other_rate && figure.depends_on_rate() => Some("other rate"),
                    () => None,
                };
                let change = Change::of(figure, &old_values, &new_values, hinders);
                rows.push(Row { concurrency: Some(*concurrency), subject: old.subject.clone(), figure, change });
            }
        }
    }
    rows
}

fn text(before: &Report, after: &Report, rows: &[Row]) -> String {
    let mut text = String::new();
    for (name, report) in [("before", before), ("after", after)] {
        let (machine, versions) = (report.machine.line(), report.machine.versions());
        text +=
            &format!("  {name:<7} {}; {versions}\n          {machine}\n          {}\n", report.began, report.command);
    }
    text += "\n";
    let line = |row: &Row| {
        let Change { before, after, ratio, p, verdict } = &row.change;
        [
            row.concurrency.map(connections).unwrap_or_default(),
            row.subject.clone(),
            row.figure.name().to_owned(),
            row.figure.show(*before),
            row.figure.show(*after),
            short(*ratio),
            p.map_or_else(|| "–".to_owned(), |p| number(p, 3)),
            verdict.name().to_owned(),
        ]
    };
    let header = ["", "", "figure", "before", "after", "after ÷ before", "p", ""];
    text += &table(header, &[1, 2, 7], rows.iter().map(line).collect());
    text + &remarks(before, after, rows)
}

/// What a reader must know besides.
fn remarks(before: &Report, after: &Report, rows: &[Row]) -> String {
    let mut text = String::new();
    let mut say = |remark: String| text += &format!("\n  {remark}");
    if !before.machine.is_like(&after.machine) {
        say(format!(
            "the machines differ ({}): only ratios to the limit are judged",
            differences(&before.machine, &after.machine)
        ));
    }
    if before.method.seconds != after.method.seconds {
        say(format!("loops were {} s long and are {} s", before.method.seconds, after.method.seconds));
    }
    if rows.iter().any(|row| row.change.verdict == Verdict::Hindered("other rate")) {
        say("other rate: the open loops ran at rates that differ; give both the same --rate".to_owned());
    }
    if rows.iter().any(|row| row.change.verdict == Verdict::TooFew) {
        say("too few rounds: nothing can be said of so few; measure with --rounds 5 or more".to_owned());
    }
    if rows.is_empty() {
        say("the two have no subject and concurrency in common".to_owned());
    }
    let limit = rows.iter().filter(|row| row.subject == LIMIT && row.figure == Figure::Cpu).map(|row| row.change.ratio);
    if let Some(ratio) = median(limit) {
        say(format!("the limit, which is the machine's, took {} times the CPU time; it is not judged", short(ratio)));
    }
    let one_sided = |these: &Report, those: &Report, which: &str| {
        let is_new = |name: &&str| !those.subjects.iter().any(|subject| subject.name == *name);
        let names: Vec<&str> = these.subjects.iter().map(|subject| &*subject.name).filter(is_new).collect();
        (!names.is_empty()).then(|| format!("only {which}: {}", names.join(", ")))
    };
    [one_sided(before, after, "before"), one_sided(after, before, "after")].into_iter().flatten().for_each(&mut say);
    if text.is_empty() { text } else { text + "\n" }
}

fn differences(before: &Machine, after: &Machine) -> String {
    let each = [
        ("processor", before.processor != after.processor),
        ("number of cores", before.cores != after.cores || before.beware != after.beware),
        ("kernel", before.kernel != after.kernel),
        ("build", before.debug != after.debug),
    ];
    each.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect::<Vec<_>>().join(", ")
}
