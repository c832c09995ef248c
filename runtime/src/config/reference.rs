//! Names that lead from one table to another: each must be defined once, and each use must find it.

use std::collections::BTreeMap;

use toml::Spanned;

use super::diagnostic::{Diagnostic, Place};
use super::phrase::suggestion;
use super::reader::{Source, Table};

/// What a name is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Worker,
    Origin,
    Auth,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Origin => "origin",
            Self::Auth => "auth",
        }
    }
}

/// A use of a name, kept until all definitions have been read.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    kind: Kind,
    name: String,
    place: Place,
}

impl Reference {
    pub(super) fn new(source: &Source, kind: Kind, name: &Spanned<String>) -> Self {
        Self { kind, name: name.get_ref().clone(), place: source.place(name.span().start) }
    }
}

/// The definitions of one kind.
pub(super) struct Names {
    kind: Kind,
    defined: BTreeMap<String, Place>,
    /// False when a definition could not be read: then a name that is not found may be that one's.
    complete: bool,
}

impl Names {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, defined: BTreeMap::new(), complete: true }
    }

    /// These are defined, and no others.
    pub(super) fn known<'n>(kind: Kind, names: impl IntoIterator<Item = &'n str>) -> Self {
        let defined = names.into_iter().map(|name| (name.to_owned(), Place::default())).collect();
        Self { kind, defined, complete: true }
    }

    /// Notes the `name` of a table; a name that is taken is a fault where it stands for the second time.
    pub(super) fn define(&mut self, table: &Table<'_>, name: Option<&Spanned<String>>) {
        match name {
            None => self.complete = false,
            Some(name) => {
                let fault = self.define_at(name.get_ref(), table.source.place(name.span().start));
                table.source.add(fault);
            }
        }
    }

    pub(super) fn define_at(&mut self, name: &str, place: Place) -> Option<Diagnostic> {
        let word = self.kind.word();
        if let Some(first) = self.defined.get(name) {
            let message = format!("there are two {word}s with the name `{name}`; the first is at {first}");
            return Some(Diagnostic::new(place, message, "give one of them another name"));
        }
        self.defined.insert(name.to_owned(), place);
        None
    }

    pub(super) fn incomplete(&mut self) {
        self.complete = false;
    }

    /// The faults of the uses that lead to nothing.
    pub(super) fn check<'r>(&self, references: impl IntoIterator<Item = &'r Reference>) -> Vec<Diagnostic> {
        let word = self.kind.word();
        let mut faults = Vec::new();
        for reference in references.into_iter().filter(|reference| reference.kind == self.kind) {
            let known = self.defined.contains_key(&reference.name);
            if known || !self.complete {
                continue;
            }
            let help = match self.defined.is_empty() {
                true => format!("node.toml defines no {word}s: add [[{word}]]"),
                false => {
                    suggestion(&reference.name, &format!("known {word}s"), self.defined.keys().map(String::as_str))
                }
            };
            let message = format!("there is no {word} `{}`", reference.name);
            faults.push(Diagnostic::new(reference.place.clone(), message, help));
        }
        faults
    }
}
