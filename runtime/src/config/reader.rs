//! A typed reader of TOML tables that goes on after a fault, so that all faults of a file are reported together.
//!
//! The `toml` crate parses, serde types the leaves; this file adds what neither does: faults are gathered, each has its
//! place, and a table that is dropped reports every key that nobody asked for.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Read as _;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::diagnostic::{Diagnostic, Place};
use super::phrase::{found, printable, quoted, suggestion};

/// A configuration file is written by hand; what is larger than this is some other file.
pub(super) const LARGEST_FILE: u64 = 4 << 20;

/// Nobody reads more, and finding the line of each takes a walk through the file.
const MOST_FAULTS: usize = 100;

/// A string that is not what its key asks for: why, and what to write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) why: String,
    pub(crate) help: String,
}

impl Wrong {
    pub(super) fn new(why: impl Into<String>, help: impl Into<String>) -> Self {
        Self { why: why.into(), help: help.into() }
    }
}

/// A key of a table: its name, what its value must be, and a value to show as an example.
#[derive(Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) example: &'static str,
}

pub(super) const fn key(name: &'static str, what: &'static str, example: &'static str) -> Key {
    Key { name, what, example }
}

/// One file's text and the faults found in it so far.
pub(super) struct Source {
    file: PathBuf,
    text: String,
    /// Where each line begins: a file that names thousands of things has a place for each.
    lines: OnceCell<Vec<usize>>,
    faults: RefCell<Vec<Diagnostic>>,
    /// The files that this one names, with their places.
    named: RefCell<Vec<(PathBuf, Place)>>,
    /// The text came from another machine: files that it names are not ours to look at.
    pub(super) is_from_afar: bool,
}

impl Source {
    pub(super) fn read(file: &Path) -> Result<Self, Diagnostic> {
        let fault =
            |why: &dyn Display, help: &str| Diagnostic::new(Place::file(file), format!("cannot be read: {why}"), help);
        let mut bytes = Vec::new();
        let read = std::fs::File::open(file).and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes));
        read.map_err(|error| fault(&error, "check the path and the permissions"))?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(fault(&"it is larger than 4 MiB", "is this the right file?"));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
            let place = Self::new(file, valid.clone()).place(valid.len());
            Diagnostic::new(place, "this is not UTF-8", "TOML is UTF-8 text: save the file in that encoding")
        })?;
        Ok(Self::new(file, text))
    }

    pub(super) fn new(file: &Path, text: String) -> Self {
        let (lines, faults, named) = (OnceCell::new(), RefCell::default(), RefCell::default());
        Self { file: file.to_owned(), text, lines, faults, named, is_from_afar: false }
    }

    /// The root table, or `None` where the text is not TOML: then all its syntax faults have been noted, and nothing else is
    /// looked at, since what would be found missing may only be hidden by them.
    pub(super) fn parse(&self) -> Option<Spanned<DeTable<'_>>> {
        let (root, errors) = DeTable::parse_recoverable(&self.text);
        for error in &errors {
            let span = error.span().unwrap_or(self.text.len()..self.text.len());
            self.fault(span, format!("not TOML: {}", error.message()), "see https://toml.io for the syntax");
        }
        errors.is_empty().then_some(root)
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// A path of this file, made absolute: a relative one starts at the file's folder, not where the process happens to be.
    pub(super) fn absolute(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = self.file.parent().unwrap_or(Path::new("")).join(path);
        std::path::absolute(&path).unwrap_or(path)
    }

    pub(super) fn place(&self, offset: usize) -> Place {
        let ends = || self.text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = self.lines.get_or_init(|| std::iter::once(0).chain(ends()).collect());
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line = lines.partition_point(|start| *start <= before.len());
        let start = lines.get(line - 1).copied().unwrap_or(0);
        // A byte order mark is no character of the first line.
        let column = before[start..].trim_start_matches('\u{feff}').chars().count() + 1;
        Place { file: self.file.clone(), line, column }
    }

    pub(super) fn fault(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        if self.faults.borrow().len() <= MOST_FAULTS {
            self.add([Diagnostic::new(self.place(span.start), message, help)]);
        }
    }

    /// A value that has the right type but not the right form.
    pub(super) fn wrong(&self, span: Range<usize>, name: &str, value: &str, wrong: Wrong) {
        self.fault(span, format!("bad `{name}` {}: {}", quoted(value), wrong.why), wrong.help);
    }

    pub(super) fn add(&self, faults: impl IntoIterator<Item = Diagnostic>) {
        let mut found = self.faults.borrow_mut();
        for fault in faults {
            if found.len() == MOST_FAULTS {
                let message = format!("there are more than {MOST_FAULTS} faults, of which these are some");
                found.push(Diagnostic::new(Place::file(&self.file), message, "correct them and look again"));
            }
            if found.len() < MOST_FAULTS {
                found.push(fault);
            }
        }
    }

    /// Notes that another file is named here.
    pub(super) fn names(&self, file: PathBuf, span: &Range<usize>) {
        let place = self.place(span.start);
        self.named.borrow_mut().push((file, place));
    }

    pub(super) fn take_named(&self) -> Vec<(PathBuf, Place)> {
        self.named.take()
    }

    pub(super) fn into_faults(self) -> Vec<Diagnostic> {
        self.faults.into_inner()
    }
}

/// A table whose keys are known: each read names one, and when the table is dropped, what was not named is a fault.
///
/// So a reader names every key before it gives up on a table: after a fault it goes on, and decides at its end.
pub(super) struct Table<'a> {
    pub(super) source: &'a Source,
    entries: &'a DeTable<'a>,
    /// How it is called in messages, such as "[[route]]".
    name: String,
    span: Range<usize>,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    pub(super) fn new(source: &'a Source, table: &'a Spanned<DeTable<'a>>, name: &str) -> Self {
        Self { source, entries: table.get_ref(), name: name.to_owned(), span: table.span(), known: RefCell::default() }
    }

    fn inner(&self, entries: &'a DeTable<'a>, span: Range<usize>, name: String) -> Self {
        Self { source: self.source, entries, name, span, known: RefCell::default() }
    }

    /// Where the table begins: its header, or its opening brace.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// A fault of the table as a whole.
    pub(super) fn fault(&self, message: impl Display, help: impl Into<String>) {
        self.source.fault(self.span(), format!("{}: {message}", self.name), help);
    }

    /// The value as it stands, for keys that take more than one type.
    pub(super) fn value(&self, name: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.borrow_mut().push(name);
        self.entries.get(name)
    }

    pub(super) fn optional<T: DeserializeOwned>(&self, key: Key) -> Option<Spanned<T>> {
        self.leaf(key, self.value(key.name)?)
    }

    pub(super) fn required<T: DeserializeOwned>(&self, key: Key) -> Option<Spanned<T>> {
        self.demand(key);
        self.optional(key)
    }

    /// A string that is parsed on; a fault of `parse` is reported at the string.
    pub(super) fn optional_with<T>(&self, key: Key, parse: impl Fn(&str) -> Result<T, Wrong>) -> Option<Spanned<T>> {
        self.parsed(key, self.value(key.name)?, &parse)
    }

    pub(super) fn required_with<T>(&self, key: Key, parse: impl Fn(&str) -> Result<T, Wrong>) -> Option<Spanned<T>> {
        self.demand(key);
        self.optional_with(key, parse)
    }

    /// A list of strings, each of them parsed on. `None` where the key does not stand there.
    pub(super) fn list_with<T>(&self, key: Key, parse: impl Fn(&str) -> Result<T, Wrong>) -> Option<Vec<Spanned<T>>> {
        let value = self.value(key.name)?;
        let DeValue::Array(items) = value.get_ref() else {
            self.mistyped(key, value, None);
            return Some(Vec::new());
        };
        Some(items.iter().filter_map(|item| self.parsed(key, item, &parse)).collect())
    }

    /// The same where nothing may stand there twice.
    pub(super) fn list_once<T: PartialEq>(&self, key: Key, parse: impl Fn(&str) -> Result<T, Wrong>) -> Vec<T> {
        let items = self.list_with(key, parse).unwrap_or_default();
        for (index, item) in items.iter().enumerate() {
            if items[..index].iter().any(|other| other.get_ref() == item.get_ref()) {
                let message = format!("it stands in `{}` twice", key.name);
                self.source.fault(item.span(), message, "remove one of the two");
            }
        }
        items.into_iter().map(Spanned::into_inner).collect()
    }

    /// A number within these bounds.
    pub(super) fn count(&self, key: Key, bounds: RangeInclusive<u32>) -> Option<u32> {
        let found = self.optional::<u32>(key)?;
        if !bounds.contains(found.get_ref()) {
            let (least, most) = bounds.into_inner();
            let message = format!("`{}` is {}, and may be {least} to {most}", key.name, found.get_ref());
            self.source.fault(found.span(), message, format!("write, for example, {} = {}", key.name, key.example));
            return None;
        }
        Some(found.into_inner())
    }

    pub(super) fn table(&self, name: &'static str, example: &'static str) -> Option<Self> {
        let value = self.value(name)?;
        match value.get_ref() {
            DeValue::Table(entries) => Some(self.inner(entries, value.span(), format!("[{name}]"))),
            _ => {
                self.mistyped(key(name, "a table", example), value, None);
                None
            }
        }
    }

    /// The tables of `[[name]]`; none where the key does not stand there.
    pub(super) fn tables(&self, name: &'static str) -> Vec<Self> {
        let Some(value) = self.value(name) else { return Vec::new() };
        let header = format!("[[{name}]]");
        let DeValue::Array(items) = value.get_ref() else {
            let help = format!("there may be several of them: write {header} with double brackets");
            self.source.fault(value.span(), format!("`{name}` must be a list of tables, not {}", found(value)), help);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::Table(entries) => tables.push(self.inner(entries, item.span(), header.clone())),
                _ => {
                    let message = format!("`{name}` must be a list of tables, but one is {}", found(item));
                    self.source.fault(item.span(), message, format!("write {header} and the keys below it"));
                }
            }
        }
        tables
    }

    /// Whether `[[name]]` stands nowhere, not even as something of another type.
    pub(super) fn has_none(&self, name: &'static str) -> bool {
        self.value(name).is_none_or(|value| matches!(value.get_ref(), DeValue::Array(items) if items.is_empty()))
    }

    /// A table of free keys and strings, such as an environment.
    pub(super) fn strings(&self, name: &'static str, example: &'static str) -> BTreeMap<String, Spanned<String>> {
        let Some(table) = self.table(name, example) else { return BTreeMap::new() };
        let entries = table.take_entries().into_iter();
        entries
            .filter_map(|(entry, value)| match value.get_ref() {
                DeValue::String(text) => {
                    Some((entry.get_ref().to_string(), Spanned::new(entry.span(), text.to_string())))
                }
                _ => {
                    let message = format!("`{}` must be a string, not {}", printable(entry.get_ref()), found(value));
                    let help = match value.get_ref() {
                        DeValue::Integer(number) => format!("put it in quotes: \"{number}\""),
                        _ => format!("[{name}] holds strings only: put the value in quotes"),
                    };
                    self.source.fault(value.span(), message, help);
                    None
                }
            })
            .collect()
    }

    /// Everything in the table, for a reader that has its own list of keys.
    pub(super) fn take_entries(mut self) -> Vec<(&'a Spanned<std::borrow::Cow<'a, str>>, &'a Spanned<DeValue<'a>>)> {
        let entries = std::mem::replace(&mut self.entries, empty());
        entries.iter().collect()
    }

    fn demand(&self, key: Key) {
        if !self.entries.contains_key(key.name) {
            self.fault(
                format!("`{}` is missing: {}", key.name, key.what),
                format!("add `{} = {}`", key.name, key.example),
            );
        }
    }

    fn leaf<T: DeserializeOwned>(&self, key: Key, value: &Spanned<DeValue<'_>>) -> Option<Spanned<T>> {
        match T::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(typed) => Some(Spanned::new(value.span(), typed)),
            Err(error) => {
                let why = error.message();
                self.mistyped(key, value, (!why.starts_with("invalid type")).then_some(why));
                None
            }
        }
    }

    fn parsed<T>(
        &self,
        key: Key,
        value: &Spanned<DeValue<'_>>,
        parse: &impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<Spanned<T>> {
        let text: Spanned<String> = self.leaf(key, value)?;
        match parse(text.get_ref()) {
            Ok(parsed) => Some(Spanned::new(text.span(), parsed)),
            Err(wrong) => {
                self.source.wrong(text.span(), key.name, text.get_ref(), wrong);
                None
            }
        }
    }

    pub(super) fn mistyped(&self, key: Key, value: &Spanned<DeValue<'_>>, why: Option<&str>) {
        let mut message = format!("`{}` must be {}, not {}", key.name, key.what, found(value));
        if let Some(why) = why {
            message = format!("{message} ({why})");
        }
        self.source.fault(value.span(), message, format!("write, for example, `{} = {}`", key.name, key.example));
    }
}

impl Drop for Table<'_> {
    fn drop(&mut self) {
        let mut known = self.known.take();
        known.sort_unstable();
        known.dedup();
        #[cfg(test)]
        KNOWN.with_borrow_mut(|all| all.entry(self.name.clone()).or_default().extend(known.iter().copied()));
        for entry in self.entries.keys().filter(|entry| !known.contains(&entry.get_ref().as_ref())) {
            let message = format!("unknown key `{}` in {}", printable(entry.get_ref()), self.name);
            self.source.fault(entry.span(), message, suggestion(entry.get_ref(), "known keys", known.iter().copied()));
        }
    }
}

#[cfg(test)]
thread_local! {
    /// The keys that were asked for in each table that has been read.
    pub(super) static KNOWN: RefCell<BTreeMap<String, std::collections::BTreeSet<&'static str>>> = RefCell::default();
}

fn empty() -> &'static DeTable<'static> {
    static EMPTY: std::sync::OnceLock<DeTable<'static>> = std::sync::OnceLock::new();
    EMPTY.get_or_init(DeTable::new)
}
