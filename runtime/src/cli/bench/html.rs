//! The report as a page that needs nothing else: charts, the table behind them, and where the figures come from.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::{self, Bar, COLOURS, Curve, Group};
use super::figure::{bytes, connections, maybe, number, short, time};
use super::machine::Shared;
use super::medians::median;
use super::report::{LIMIT, Latency, Median, Report};

mod table;

const STYLE: &str = include_str!("page.css");

/// The whole page.
///
/// # Errors
/// When a chart cannot be drawn.
pub(super) fn page(report: &Report) -> anyhow::Result<String> {
    let title = report.component.as_ref().map_or("Servers under load", |_| "What a request costs");
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " – eyot bench" }
                style { (PreEscaped(STYLE)) (PreEscaped(colours())) }
            }
            body { main {
                (head(report, title))
                (charts(report)?)
                (table::all(report))
                (notes(report))
                (origin(report))
            } }
        }
    };
    Ok(page.into_string())
}

/// What the charts' colours stand for: what a style sheet says wins over an attribute.
fn colours() -> String {
    let roles = [(0xF0, "ink"), (0xF1, "faint"), (0xF2, "line")].map(|(value, name)| (value, name.to_owned()));
    let subjects = (1..=COLOURS).map(|number| (number, number.to_string()));
    let rule = |(value, name): (usize, String)| {
        format!(
            "[fill=\"#0000{value:02X}\"]{{fill:var(--{name})}}[stroke=\"#0000{value:02X}\"]{{stroke:var(--{name})}}\n"
        )
    };
    roles.into_iter().chain(subjects).map(rule).collect()
}

fn head(report: &Report, title: &str) -> Markup {
    let subject = report.component.as_ref().map(|component| component.file.rsplit('/').next().unwrap_or_default());
    html! {
        header {
            p.kind { "eyot bench" }
            h1 { (title) @if let Some(subject) = subject { ": " (subject) } }
            p.faint { (report.machine.line()) ". Measured " (report.began) "." }
        }
        @if report.machine.debug {
            p.warning { "A debug build was measured: these figures say nothing about the product." }
        }
        @if let Some(beware) = report.machine.beware { p.warning { (sentence(Shared::what(beware))) } }
        @for fault in &report.faults { p.warning { "Fault: " (fault) } }
        div.cards { @for (figure, what) in key_figures(report) { div.card { b { (figure) } span { (what) } } } }
    }
}

/// What one remembers of the page: a figure and what it is.
fn key_figures(report: &Report) -> Vec<(String, String)> {
    let mut figures = Vec::new();
    for row in report.medians.iter().filter(|row| row.subject != LIMIT) {
        if let (Some(cpu), Some(ratio)) = (row.cpu_us, row.cpu_to_limit) {
            let what = format!(
                "CPU a request, {} × plain hyper: {}, {}",
                short(ratio),
                row.subject,
                connections(row.concurrency)
            );
            figures.push((time(cpu), what));
        }
    }
    if figures.is_empty() {
        let figure = |row: &Median| {
            let what = format!("requests/s: {}, {}", row.subject, connections(row.concurrency));
            (number(row.per_second, 0), what)
        };
        figures.extend(report.medians.iter().map(figure));
    }
    if let Some(time_us) = median(report.compiles.iter().map(|compile| compile.took.time_us)) {
        figures.push((time(time_us), "from Wasm bytes to code, on one core".to_owned()));
    }
    if let Some(size) = report.component.as_ref().and_then(|component| component.isolate_bytes) {
        figures.push((bytes(size), "memory of one isolate, at most".to_owned()));
    }
    figures.truncate(8);
    figures
}

fn charts(report: &Report) -> anyhow::Result<Markup> {
    let cpu = groups(report, |row| {
        let cpu = row.cpu_us?;
        Some((cpu, format!("{}  ×{}", time(cpu), maybe(row.cpu_to_limit, short))))
    });
    let throughput = groups(report, |row| Some((row.per_second, number(row.per_second, 0))));
    Ok(html! {
        @if !cpu.is_empty() {
            h2 { "CPU time a request" }
            p.what {
                "User and system time of the server’s process, divided by its answers; × is the ratio to plain hyper, which answers "
                "the same bytes in the same process. It depends least on the load generator and on the machine’s other tenants."
            }
            (figure("CPU time for each request, by subject and concurrency", &chart::bars(&cpu)?))
        }
        @if !throughput.is_empty() {
            h2 { "Requests a second" }
            p.what { "On one core, when each connection asks again as soon as it has been answered." }
            (figure("Requests a second, by subject and concurrency", &chart::bars(&throughput)?))
        }
        (latency_charts(report)?)
    })
}

fn latency_charts(report: &Report) -> anyhow::Result<Markup> {
    let mut charts = Vec::new();
    for concurrency in &report.method.concurrency {
        let rows = report.medians.iter().filter(|row| row.concurrency == *concurrency);
        let rows: Vec<(&Median, &Latency)> = rows.filter_map(|row| Some((row, row.open.as_ref()?))).collect();
        let Some(rate) = rows.iter().find_map(|(row, _)| row.rate) else { continue };
        let curves: Vec<Curve<'_>> = rows
            .iter()
            .map(|(row, open)| Curve { subject: colour_of(report, &row.subject), points: &open.curve })
            .collect();
        let title = format!("{}, {} requests/s", connections(*concurrency), number(rate, 0));
        charts.push((title, chart::curves(&curves)?));
    }
    Ok(html! {
        @if !charts.is_empty() {
            h2 { "Latency" }
            p.what {
                "Requests come at fixed times, whatever has been answered, and latency counts from the moment at which a request was due: "
                "who waits behind a stall is counted with it. One request in a hundred is slower than the 99th percentile."
            }
            (legend(report))
        }
        @for (title, svg) in &charts { h3 { (title) } (figure(&format!("Latency percentiles at {title}"), svg)) }
    })
}

/// A row of bars for each concurrency; subjects without a value are left out.
fn groups(report: &Report, value: impl Fn(&Median) -> Option<(f64, String)>) -> Vec<Group> {
    let group = |concurrency: &usize| {
        let rows = report.medians.iter().filter(|row| row.concurrency == *concurrency);
        let bar = |row: &Median| {
            let (value, text) = value(row)?;
            Some(Bar { label: row.subject.clone(), value, text, subject: colour_of(report, &row.subject) })
        };
        let bars: Vec<Bar> = rows.filter_map(bar).collect();
        (!bars.is_empty()).then(|| Group { title: connections(*concurrency), bars })
    };
    report.method.concurrency.iter().filter_map(group).collect()
}

/// A subject has one colour throughout, of which the first is the limit's.
fn colour_of(report: &Report, name: &str) -> usize {
    let others = report.loaded().filter(|subject| subject.name != LIMIT);
    others.map(|subject| &subject.name).position(|other| other == name).map_or(0, |index| index + 1)
}

fn figure(what: &str, svg: &str) -> Markup {
    html! { figure role="img" aria-label=(what) { (PreEscaped(svg)) } }
}

fn legend(report: &Report) -> Markup {
    html! {
        ul.legend { @for subject in report.loaded() {
            li { i style={ "background:var(--" (colour_of(report, &subject.name) % COLOURS + 1) ")" } {} (subject.name) }
        } }
    }
}

fn notes(report: &Report) -> Markup {
    let notes = report.notes();
    html! {
        @if !notes.is_empty() {
            h2 { "What makes figures doubtful here" }
            dl { @for note in notes { dt { (note.name()) } dd { (sentence(note.meaning())) } } }
        }
    }
}

/// Where the figures come from.
fn origin(report: &Report) -> Markup {
    let method = &report.method;
    html! {
        h2 { "How it was measured" }
        dl {
            dt { "machine" } dd { (report.machine.line()) }
            dt { "programs" } dd { (report.machine.versions()) }
            @if let Some(component) = &report.component {
                dt { "component" }
                dd { (component.file) ", " (bytes(component.bytes)) ", version " (component.version) ", answers " (component.status) }
            }
            @for subject in &report.subjects { dt { (subject.name) } dd { (sentence(&subject.what)) } }
            dt { "method" }
            dd {
                (method.rounds) " rounds; in each, all subjects one after the other in an order that rotates; each loop "
                (method.seconds) " s after " (method.warm_up_seconds) " s of warm-up. The node has its limits, metrics and access log on."
            }
        }
        pre { "$ " (report.command) }
    }
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn a_page_needs_nothing_else_and_what_comes_from_outside_is_text() {
        let mut report = report();
        report.command = "eyot bench '<script>alert(1)</script>'".to_owned();
        let page = page(&report).unwrap();
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "{page}");
        let own = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!own.contains("src=") && !own.contains("href=") && !own.contains("url("), "{own}");
        assert_eq!(page.matches("<svg ").count(), 3, "CPU time, throughput, latency");
    }

    #[test]
    fn every_colour_of_a_chart_has_its_rule() {
        let page = page(&report()).unwrap();
        let named = page.split("=\"#0000").skip(1).map(|rest| &rest[..2]);
        for value in named {
            assert!(page.contains(&format!("[fill=\"#0000{value}\"]")), "{value}");
        }
    }
}
