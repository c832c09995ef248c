//! `eyot limits`: every limit with its effective value, and where it came from.

use std::path::PathBuf;

use anstyle::{AnsiColor, Style};

use super::say;
use crate::config::{LimitRow, LimitTable, Source, Value};
use crate::failure::Failure;

/// Show every limit: its default, how far a worker may go, and where the value came from.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(after_help = "Examples:
  eyot limits                                 what is built in
  eyot limits --config node.toml              what holds on that node
  eyot limits --limits my.toml --json         with a file of overrides, for scripts
  eyot limits --markdown                      the table of the documentation")]
pub(super) struct Limits {
    /// File that overrides individual limits, as for `eyot serve`.
    #[arg(long, value_name = "FILE")]
    pub limits: Option<PathBuf>,
    /// A node.toml, whose `[limits]` overrides individual limits; nothing else in it is read.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print every field as JSON.
    #[arg(long, conflicts_with = "markdown")]
    pub json: bool,
    /// Print a Markdown table.
    #[arg(long)]
    pub markdown: bool,
}

impl Limits {
    /// Prints the table to stdout.
    ///
    /// # Errors
    /// When a file of overrides has faults, shown with their places, or when stdout cannot be written.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let table = self.table()?;
        let text = match (self.json, self.markdown) {
            (true, _) => json(&table)?,
            (_, true) => markdown(&table),
            _ => terminal(&table),
        };
        say::result(&text)
    }

    /// The effective limits, in the order in which a node applies them.
    fn table(&self) -> anyhow::Result<LimitTable> {
        let mut table = LimitTable::builtin();
        if let Some(file) = &self.limits {
            table.override_from_file(file)?;
        }
        if let Some(file) = &self.config {
            table.override_from_node(file)?;
        }
        Ok(table)
    }
}

/// The columns of both tables for people.
const COLUMNS: [&str; 6] = ["limit", "default", "max", "scope", "code", "set by"];

fn cells(row: &LimitRow) -> [String; 6] {
    let max = row.max.map_or_else(|| "–".to_owned(), |max| max.to_string());
    let source = match row.max_source == row.source || row.max_source == Source::BuiltIn {
        true => row.source.to_string(),
        false => format!("{}; max: {}", row.source, row.max_source),
    };
    let scope = row.scope.as_str().to_owned();
    [row.key.clone(), row.default.to_string(), max, scope, row.code.clone(), source]
}

fn terminal(table: &LimitTable) -> String {
    let rows: Vec<[String; 6]> = table.rows.iter().map(cells).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([COLUMNS[column].len()]).max().unwrap_or(0)
    };
    let mut text = String::new();
    let mut line = |cells: [&str; 6], styles: [Style; 6]| {
        let parts = cells.iter().zip(styles).enumerate().map(|(column, (cell, style))| {
            // Numbers are compared by eye when they end in one column.
            let padded = match column {
                1 | 2 => format!("{cell:>0$}", width(column)),
                5 => (*cell).to_owned(),
                _ => format!("{cell:<0$}", width(column)),
            };
            format!("{style}{padded}{style:#}")
        });
        text.push_str(parts.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    };
    line(COLUMNS, [Style::new().bold(); 6]);
    for (cells, row) in rows.iter().zip(&table.rows) {
        let dim = Style::new().dimmed();
        let changed = |source: &Source| match source {
            Source::BuiltIn => Style::new(),
            _ => AnsiColor::Yellow.on_default().bold(),
        };
        let key = AnsiColor::Cyan.on_default();
        let max = if row.max.is_some() { changed(&row.max_source) } else { dim };
        line(cells.each_ref().map(String::as_str), [key, changed(&row.source), max, dim, Style::new(), dim]);
    }
    text
}

fn markdown(table: &LimitTable) -> String {
    let mut text =
        String::from("| limit | default | max | scope | code | status | why | where the number comes from |\n");
    text.push_str("| --- | ---: | ---: | --- | --- | --- | --- | --- |\n");
    for row in &table.rows {
        let [key, default, max, scope, code, _] = cells(row);
        let code = if code.is_empty() { String::new() } else { format!("`{code}`") };
        let status = Failure::status_of_limit(&row.code).map(|status| status.to_string()).unwrap_or_default();
        let (why, reference) = (row.why.replace('|', "\\|"), row.reference.replace('|', "\\|"));
        text.push_str(&format!(
            "| `{key}` | {default} | {max} | {scope} | {code} | {status} | {why} | {reference} |\n"
        ));
    }
    text
}

/// Values twice: as they are written in files, and as numbers (bytes, milliseconds, counts) that scripts can compare;
/// `null` where there is no bound.
fn json(table: &LimitTable) -> serde_json::Result<String> {
    let number = |value: Value| match value {
        Value::Bytes(number) | Value::Count(number) => serde_json::json!(number),
        Value::Time(time) => serde_json::json!(time.as_secs_f64() * 1000.0),
        Value::Off => serde_json::Value::Null,
    };
    let unit = |row: &LimitRow| match row.kind {
        crate::config::Kind::Bytes => "bytes",
        crate::config::Kind::Time => "milliseconds",
        crate::config::Kind::Count => "count",
    };
    let rows: Vec<serde_json::Value> = table
        .rows
        .iter()
        .map(|row| {
            serde_json::json!({
                "key": row.key,
                "unit": unit(row),
                "default": row.default.to_string(),
                "default_value": number(row.default),
                "max": row.max.map(|max| max.to_string()),
                "max_value": row.max.map(number),
                "scope": row.scope,
                "code": row.code,
                "why": row.why,
                "source": row.reference,
                "set_by": row.source.to_string(),
                "max_set_by": row.max.map(|_| row.max_source.to_string()),
            })
        })
        .collect();
    Ok(serde_json::to_string_pretty(&rows)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_every_limit_aligned_and_who_changed_it() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("node.toml");
        std::fs::write(&config, "nonsense = 1\n[limits]\nmemory = \"64MiB\"\n").unwrap();
        let limits = Limits { config: Some(config.clone()), ..Limits::default() };
        let text = anstream::adapter::strip_str(&terminal(&limits.table().unwrap())).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), LimitTable::builtin().rows.len() + 1);
        let column = lines[0].find("scope").unwrap();
        assert!(lines[1].starts_with("memory ") && lines[1].ends_with(&*config.display().to_string()), "{}", lines[1]);
        let memory = ["memory", "64MiB", "512MiB", "invocation", "worker_memory_exceeded"];
        assert!(lines[1].split_whitespace().take(5).eq(memory), "{}", lines[1]);
        for line in &lines[1..] {
            let scope: String = line.chars().skip(column).take_while(|c| c.is_ascii_lowercase()).collect();
            assert!(["node", "connection", "worker", "invocation", "origin"].contains(&&*scope), "{line}");
        }
    }

    #[test]
    fn the_arguments_fit_together_and_the_help_has_examples() {
        let mut command = <Limits as clap::Args>::augment_args(clap::Command::new("limits"));
        command.clone().debug_assert();
        assert!(command.render_long_help().to_string().contains("eyot limits --markdown"));
        assert!(command.try_get_matches_from(["limits", "--json", "--markdown"]).is_err());
    }

    #[test]
    fn json_holds_every_field_of_every_limit() {
        let rows: serde_json::Value = serde_json::from_str(&json(&LimitTable::builtin()).unwrap()).unwrap();
        let rows = rows.as_array().unwrap();
        let row = |key: &str| rows.iter().find(|row| row["key"] == key).unwrap();
        assert_eq!(row("memory")["default"], "128MiB");
        assert_eq!(row("memory")["default_value"], 128 << 20);
        assert_eq!(row("memory")["set_by"], "built in");
        assert_eq!(row("cpu_time")["default_value"], 100.0);
        assert_eq!(row("stream_total")["default_value"], serde_json::Value::Null);
        assert_eq!(row("drain")["max"], serde_json::Value::Null);
        assert!(rows.iter().all(|row| !row["why"].as_str().unwrap().is_empty() && row["source"].is_string()));
    }

    #[test]
    fn markdown_has_a_line_for_every_limit() {
        let text = markdown(&LimitTable::builtin());
        assert!(text.contains("| `cpu_time` | 100ms | 30s | invocation | `worker_cpu_exceeded` |"), "{text}");
        assert_eq!(text.lines().count(), LimitTable::builtin().rows.len() + 2);
    }

    #[test]
    fn a_faulty_file_is_shown_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("my.toml");
        std::fs::write(&file, "memory = 5\n").unwrap();
        let error = Limits { limits: Some(file), ..Limits::default() }.table().unwrap_err();
        let faults: &crate::config::Diagnostics =
            error.downcast_ref().expect("diagnostics, which end with exit code 2");
        assert!(faults.render().contains("my.toml:1:10"), "{}", faults.render());
    }
}
