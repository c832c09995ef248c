//! The table of limits: limits.toml, built in, then overridden key by key.

use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::diagnostic::{Diagnostic, Diagnostics, Place};
use super::limit_reader::{example, override_row, read_row, read_value};
use super::limits::{Kind, Scope, Value, WORKER_SHAPES, WorkerLimits, shape, shapes};
use super::phrase::suggestion;
use super::reader::{Source as File, Table};

/// Where an effective value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// limits.toml, compiled in.
    BuiltIn,
    /// `--limits FILE`.
    File(PathBuf),
    /// `[limits]` of node.toml.
    Node(PathBuf),
    /// An option of the command line.
    CommandLine,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BuiltIn => f.pad("built in"),
            Self::File(path) => f.pad(&format!("--limits {}", path.display())),
            Self::Node(path) => f.pad(&path.display().to_string()),
            Self::CommandLine => f.pad("the command line"),
        }
    }
}

/// One row of limits.toml with its effective values.
#[derive(Clone, Debug)]
pub struct LimitRow {
    /// The key.
    pub key: String,
    /// Its unit.
    pub kind: Kind,
    /// What holds when a worker says nothing.
    pub default: Value,
    /// How far a worker may go, or, where workers have no say, what the node can do at all. `None`: no bound is known.
    pub max: Option<Value>,
    /// What it is counted for.
    pub scope: Scope,
    /// What the failure is called; empty where the client only sees a closed connection.
    pub code: String,
    /// Why it is there.
    pub why: String,
    /// Where the number comes from.
    pub reference: String,
    /// Who set `default` last.
    pub source: Source,
    /// Who set `max` last.
    pub max_source: Source,
}

/// Every limit, in the order of limits.toml.
#[derive(Clone, Debug)]
pub struct LimitTable {
    /// The rows.
    pub rows: Vec<LimitRow>,
}

/// A value that a worker sets for itself, with the place where it does, so that a fault can point there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitOverride {
    /// The key of the limit.
    pub key: String,
    /// What the worker asks for.
    pub value: Value,
    /// Where it was written.
    pub place: Place,
}

impl LimitTable {
    /// The table that is compiled in.
    ///
    /// # Panics
    /// When limits.toml of the source tree does not fit the code. A test of this file reads it, so no such binary is made.
    #[must_use]
    pub fn builtin() -> Self {
        match Self::from_text(include_str!("../../../limits.toml")) {
            Ok(table) => table,
            Err(faults) => panic!("limits.toml, as it was compiled in, is wrong:\n{faults}"),
        }
    }

    /// The row of a key.
    #[must_use]
    pub fn row(&self, key: &str) -> Option<&LimitRow> {
        self.rows.iter().find(|row| row.key == key)
    }

    /// Overrides single keys by a file of the same form as limits.toml, or with plain `key = value` for defaults.
    ///
    /// # Errors
    /// Every fault of the file; the table is then as before.
    pub fn override_from_file(&mut self, path: &Path) -> Result<(), Diagnostics> {
        let file = File::read(path)?;
        let mut changed = self.clone();
        if let Some(root) = file.parse() {
            changed.override_from(Table::new(&file, &root, "the file of limits"), &Source::File(path.to_owned()));
        }
        Diagnostics::check(file.into_faults())?;
        *self = changed;
        Ok(())
    }

    /// Overrides single keys by `[limits]` of a node.toml and looks at nothing else in it, so that limits can be shown for
    /// a node whose workers are not built yet.
    ///
    /// # Errors
    /// Every fault of `[limits]`; the table is then as before.
    pub fn override_from_node(&mut self, path: &Path) -> Result<(), Diagnostics> {
        let file = File::read(path)?;
        let mut changed = self.clone();
        if let Some(root) = file.parse() {
            let root = Table::new(&file, &root, "node.toml");
            if let Some(limits) = root.table("limits", "{ memory = \"64MiB\" }") {
                changed.override_from(limits, &Source::Node(path.to_owned()));
            }
            root.take_entries();
        }
        Diagnostics::check(file.into_faults())?;
        *self = changed;
        Ok(())
    }

    /// Sets one limit as an option of the command line does. False, and nothing is set, where the limit cannot be 0.
    #[must_use]
    pub fn set(&mut self, key: &str, value: Value) -> bool {
        if value.is_zero() && !shape(key).is_some_and(|shape| shape.may_be_zero) {
            return false;
        }
        for row in self.rows.iter_mut().filter(|row| row.key == key) {
            row.default = value;
            row.source = Source::CommandLine;
        }
        true
    }

    /// The limits of one worker: its own values where it sets them, the defaults elsewhere.
    ///
    /// # Errors
    /// Values past their `max`, and keys in which workers have no say.
    pub fn worker_limits(&self, overrides: &[LimitOverride]) -> Result<WorkerLimits, Diagnostics> {
        let faults = overrides.iter().filter_map(|own| self.check_worker(own)).collect();
        Diagnostics::check(faults)?;
        let own = |key| overrides.iter().rev().find(|own| own.key == key).map(|own| own.value);
        Ok(WorkerLimits::from_values(|key| own(key).unwrap_or_else(|| self.default_of(key))))
    }

    fn check_worker(&self, own: &LimitOverride) -> Option<Diagnostic> {
        let LimitOverride { key, value, place } = own;
        let fault = |message: String, help: String| Some(Diagnostic::new(place.clone(), message, help));
        let row = self.row(key).filter(|row| row.scope.is_of_worker());
        let (Some(row), Some(shape)) = (row, WORKER_SHAPES.iter().find(|shape| shape.key == key)) else {
            let help = suggestion(key, "limits of workers", WORKER_SHAPES.iter().map(|shape| shape.key));
            return match self.row(key) {
                Some(_) => fault(format!("`{key}` is a limit of the node, workers have no say in it"), help),
                None => fault(format!("unknown limit `{key}`"), help),
            };
        };
        if value.is_zero() && !shape.may_be_zero {
            return fault(format!("`{key}` cannot be 0"), format!("write {}", example(shape)));
        }
        match row.max {
            Some(max) if !value.is_within(max) => fault(
                format!("`{key}` = {value} is past the max of {max} ({})", row.max_source),
                format!("write at most {max}, or have the operator raise the max: {key} = {{ max = … }} in node.toml"),
            ),
            _ => None,
        }
    }

    /// Rows are complete once the table is built in, and overriding adds and removes none.
    pub(super) fn default_of(&self, key: &str) -> Value {
        self.row(key).map_or(Value::Off, |row| row.default)
    }

    pub(super) fn override_from(&mut self, table: Table<'_>, source: &Source) {
        let file = table.source;
        for (name, value) in table.take_entries() {
            let Some(shape) = shape(name.get_ref()) else {
                let message = format!("unknown limit `{}`", name.get_ref().escape_debug());
                file.fault(name.span(), message, suggestion(name.get_ref(), "limits", shapes().map(|shape| shape.key)));
                continue;
            };
            let Some(row) = self.rows.iter_mut().find(|row| row.key == shape.key) else { continue };
            match value.get_ref() {
                DeValue::Table(_) => override_row(row, shape, file, value, source),
                _ => {
                    if let Some(value) = read_value(file, shape, shape.key, value) {
                        row.default = value;
                        row.source = source.clone();
                    }
                }
            }
            if let Some(max) = row.max.filter(|max| !row.default.is_within(*max)) {
                let message = format!("the default of `{}`, {}, is past its max, {max}", row.key, row.default);
                let help = match row.scope.is_of_worker() {
                    true => format!("set both: {} = {{ default = …, max = … }}", row.key),
                    false => format!("write at most {max}"),
                };
                file.fault(value.span(), message, help);
            }
        }
    }

    fn from_text(text: &str) -> Result<Self, Diagnostics> {
        let file = File::new(Path::new("limits.toml"), text.to_owned());
        let mut rows: Vec<(usize, LimitRow)> = Vec::new();
        if let Some(root) = file.parse() {
            let root = Table::new(&file, &root, "limits.toml");
            for shape in shapes() {
                match root.table(shape.key, "{ … }") {
                    Some(table) => rows.extend(read_row(&table, shape).map(|row| (table.span().start, row))),
                    None => root.fault(format!("`{}` is missing", shape.key), "every limit of the code has a row"),
                }
            }
        }
        Diagnostics::check(file.into_faults())?;
        rows.sort_by_key(|(at, _)| *at);
        Ok(Self { rows: rows.into_iter().map(|(_, row)| row).collect() })
    }
}
