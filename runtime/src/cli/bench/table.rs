//! The report for a terminal.

use comfy_table::CellAlignment;

use super::figure::{bar, bytes, connections, maybe, number, short, time};
use super::machine::Shared;
use super::medians::median;
use super::note::Note;
use super::report::{Latency, Median, Report};
use crate::cli::admin::ruled;

/// The longest bar.
const BAR: usize = 24;

/// Everything, as a text of some lines.
pub(super) fn text(report: &Report) -> String {
    let mut text = head(report);
    let notes = report.notes();
    for concurrency in &report.method.concurrency {
        let rows: Vec<&Median> = report.medians.iter().filter(|row| row.concurrency == *concurrency).collect();
        if rows.is_empty() {
            continue;
        }
        text += &format!("\n{}\n\n{}", connections(*concurrency), costs(&rows, &notes));
        text += &latencies(&rows);
    }
    text + &legend(report, &notes)
}

/// A table whose first column is text and whose others are figures; `left` are further columns of text.
pub(super) fn table<const N: usize>(header: [&str; N], left: &[usize], rows: Vec<[String; N]>) -> String {
    let mut table = ruled(header);
    table.add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        if index > 0 && !left.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| format!("  {}\n", line.trim_end())).collect()
}

fn head(report: &Report) -> String {
    let mut text = format!("  machine  {}\n  programs {}\n", report.machine.line(), report.machine.versions());
    let method = &report.method;
    text += &format!(
        "  method   medians of {} rounds; each loop {} s after {} s of warm-up\n",
        method.rounds, method.seconds, method.warm_up_seconds
    );
    if let Some(component) = &report.component {
        let isolate = component.isolate_bytes.map(|size| format!(", {} an isolate", bytes(size)));
        let (file, isolate) = (&component.file, isolate.unwrap_or_default());
        text += &format!("  {:<8} {file}, {}{isolate}\n", "component", bytes(component.bytes));
    }
    if let Some(what) = report.machine.beware.map(Shared::what) {
        text += &format!("  beware   {what}\n");
    }
    if let Some(compile) = median(report.compiles.iter().map(|compile| compile.took.time_us)) {
        let peak = median(report.compiles.iter().map(|compile| compile.took.peak_bytes as f64)).unwrap_or_default();
        text += &format!("\n  compile  {}, {} at most in memory\n", time(compile), bytes(peak as u64));
    }
    text
}

/// CPU time and its ratio to the limit; where nothing is known of the servers, throughput and its ratio to the best.
fn costs(rows: &[&Median], notes: &[Note]) -> String {
    let most = |value: &dyn Fn(&Median) -> f64| rows.iter().map(|row| value(row)).fold(f64::MIN_POSITIVE, f64::max);
    if rows.iter().all(|row| row.cpu_us.is_none()) {
        let best = most(&|row| row.per_second);
        let row = |row: &&Median| {
            let share = row.per_second / best;
            [row.subject.clone(), number(row.per_second, 0), short(share), bar(share, BAR), marks(row, notes)]
        };
        return table(["", "requests/s", "× best", "", ""], &[3, 4], rows.iter().map(row).collect());
    }
    let longest = most(&|row| row.cpu_to_limit.unwrap_or(0.0));
    let row = |row: &&Median| {
        let ratio = row.cpu_to_limit;
        [
            row.subject.clone(),
            maybe(row.cpu_us, short),
            maybe(ratio, short),
            ratio.map(|ratio| bar(ratio / longest, BAR)).unwrap_or_default(),
            number(row.per_second, 0),
            maybe(row.page_faults, |faults| number(faults, 2)),
            maybe(row.resident_bytes, bytes),
            maybe(row.peak_bytes, bytes),
            marks(row, notes),
        ]
    };
    let header = ["", "CPU µs", "× limit", "", "requests/s", "faults", "resident", "peak", ""];
    table(header, &[3, 8], rows.iter().map(row).collect())
}

/// A letter for each note; what it means stands below the tables.
fn marks(row: &Median, notes: &[Note]) -> String {
    let marks = notes.iter().zip('a'..).filter(|(note, _)| row.notes.contains_key(note));
    marks.map(|(_, mark)| mark.to_string()).collect::<Vec<_>>().join(" ")
}

fn latencies(rows: &[&Median]) -> String {
    let Some(rate) = rows.iter().find_map(|row| row.rate) else { return String::new() };
    let row = |row: &&Median| {
        let open = |value: &dyn Fn(&Latency) -> f64| maybe(row.open.as_ref(), |open| time(value(open)));
        [
            row.subject.clone(),
            open(&|it| it.p50),
            open(&|it| it.p90),
            open(&|it| it.p99),
            open(&|it| it.p999),
            open(&|it| it.max),
            time(row.closed.p50),
            time(row.closed.p99),
        ]
    };
    let header = ["", "p50", "p90", "p99", "p99.9", "max", "closed p50", "closed p99"];
    let title = format!(
        "\n  latency at {} requests/s, from when each was due; closed: when each waits for the last\n\n",
        number(rate, 0)
    );
    title + &table(header, &[], rows.iter().map(row).collect())
}

/// What the marks of the tables mean, and what went wrong.
fn legend(report: &Report, notes: &[Note]) -> String {
    let mut text = String::new();
    for (note, mark) in notes.iter().zip('a'..) {
        let rows = report.medians.iter().filter(|row| row.notes.contains_key(note));
        let (count, of) = rows.fold((0, 0), |(count, of), row| (count + row.notes[note], of + row.rounds));
        text += &format!("\n  {mark}  {} ({count} of {of} runs): {}", note.name(), note.meaning());
    }
    for fault in &report.faults {
        text += &format!("\n  fault: {fault}");
    }
    if text.is_empty() { text } else { text + "\n" }
}
