//! Faults of configuration, all of a file together.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::file::read_regular;
use super::reader::LARGEST_FILE;

/// A place in a file. Line and column count from 1; 0 where there is none.
#[derive(Clone, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl Place {
    /// The file as a whole, for faults that no line of it is to blame for, such as that it cannot be read.
    pub fn file(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), line: 0, column: 0 }
    }

    /// Whether no file is to blame: the fault is one of the command line, or of the machine.
    fn is_nowhere(&self) -> bool {
        self.file.as_os_str().is_empty()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        Ok(())
    }
}

/// One fault: where, what is wrong, what to do.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Diagnostic {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A fault together with its way out, because a fault that leaves its reader helpless is only half reported.
    pub fn new(place: Place, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { place, message: without_controls(message.into()), help: Some(without_controls(help.into())) }
    }

    fn render(&self, renderer: &Renderer, text: Option<&str>) -> String {
        let title = Level::ERROR.primary_title(self.message.as_str());
        let line = self.place.line.checked_sub(1).and_then(|line| text?.lines().nth(line));
        let group = match line {
            Some(line) => title.element(
                Snippet::source(line)
                    .line_start(self.place.line)
                    .path(self.place.file.display().to_string())
                    .annotation(AnnotationKind::Primary.span(token_at(line, self.place.column))),
            ),
            None if self.place.is_nowhere() => Group::with_title(title),
            None => title.element(annotate_snippets::Origin::path(self.place.to_string())),
        };
        let group: Group<'_> = match &self.help {
            Some(help) => group.element(Level::HELP.message(help.as_str())),
            None => group,
        };
        renderer.render(&[group])
    }
}

/// Every fault that was found. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Default, serde::Serialize, thiserror::Error)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// The faults for a terminal: each with its source line, a caret under the place, and what to do.
    ///
    /// The files are read again: keeping every text for the rare fault would cost more than reading it twice.
    /// The text holds colours; print it with `anstream`, which takes them out where no terminal shows them.
    #[must_use]
    pub fn render(&self) -> String {
        let renderer = Renderer::styled();
        let mut files: HashMap<&Path, Option<String>> = HashMap::new();
        let mut text = String::new();
        for diagnostic in &self.0 {
            let file = diagnostic.place.file.as_path();
            let source = match diagnostic.place.line {
                0 => None,
                _ => files.entry(file).or_insert_with(|| source_text(file)).as_deref(),
            };
            text.push_str(&diagnostic.render(&renderer, source));
            text.push_str("\n\n");
        }
        text
    }

    /// `Ok` where no fault was found; otherwise all of them.
    pub(super) fn check(faults: Vec<Diagnostic>) -> Result<(), Self> {
        if faults.is_empty() { Ok(()) } else { Err(Self::together(faults)) }
    }

    /// Each fault once, those of one file in the order of its lines.
    pub(crate) fn together(mut faults: Vec<Diagnostic>) -> Self {
        let mut files: Vec<PathBuf> = Vec::new();
        for fault in &faults {
            if !files.contains(&fault.place.file) {
                files.push(fault.place.file.clone());
            }
        }
        faults.sort_by_key(|fault| {
            let file = files.iter().position(|file| *file == fault.place.file);
            (file, fault.place.line, fault.place.column)
        });
        // A file that two workers share is read for each of them, and its faults are found twice.
        let mut once: Vec<Diagnostic> = Vec::new();
        for fault in faults {
            if !once.contains(&fault) {
                once.push(fault);
            }
        }
        Self(once)
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(fault: Diagnostic) -> Self {
        Self(vec![fault])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.0 {
            match diagnostic.place.is_nowhere() {
                true => writeln!(f, "{}", diagnostic.message)?,
                false => writeln!(f, "{}: {}", diagnostic.place, diagnostic.message)?,
            }
            if let Some(help) = &diagnostic.help {
                writeln!(f, "  help: {help}")?;
            }
        }
        Ok(())
    }
}

/// The text of a configuration file, unless something else has its name by now.
fn source_text(file: &Path) -> Option<String> {
    String::from_utf8(read_regular(file, LARGEST_FILE).ok()?).ok()
}

/// Messages quote what stands in files, and must not move a terminal's cursor or add lines to a log.
fn without_controls(text: String) -> String {
    match text.contains(char::is_control) {
        false => text,
        true => text.chars().map(|c| if c.is_control() { c.escape_debug().to_string() } else { c.into() }).collect(),
    }
}

/// The bytes of what stands at a column: a quoted string, a header, or a bare word. The column is only a hint here, since
/// the file may have changed since it was parsed.
fn token_at(line: &str, column: usize) -> std::ops::Range<usize> {
    let start = line.char_indices().nth(column.saturating_sub(1)).map_or(line.len(), |(at, _)| at);
    let rest = &line[start..];
    let length = match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => rest[1..].find(quote).map_or(rest.len(), |end| end + 2),
        Some('[') => rest.rfind(']').map_or(rest.len(), |end| end + 1),
        Some('{') => rest.rfind('}').map_or(rest.len(), |end| end + 1),
        Some(first) => rest
            .find(|c: char| c.is_whitespace() || matches!(c, '=' | ',' | ']' | '}' | '#'))
            .unwrap_or(rest.len())
            .max(first.len_utf8()),
        None => 0,
    };
    start..start + length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendered_fault_shows_its_line_a_caret_and_the_help() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node.toml");
        std::fs::write(&file, "# first\nstat = \"x\"\n").unwrap();
        let place = Place { file, line: 2, column: 1 };
        let text = Diagnostics::from(Diagnostic::new(place, "unknown key `stat`", "did you mean `state`?")).render();
        let text = anstream::adapter::strip_str(&text).to_string();
        for part in
            ["error: unknown key `stat`", "node.toml:2:1", "2 | stat = \"x\"", "  | ^^^^", "did you mean `state`?"]
        {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_fault_without_a_place_shows_none() {
        let faults = Diagnostics::from(Diagnostic::new(Place::default(), "the port is in use", "choose another"));
        let text = anstream::adapter::strip_str(&faults.render()).to_string();
        assert!(!text.contains("-->") && text.contains("help: choose another"), "{text}");
        assert_eq!(faults.to_string(), "the port is in use\n  help: choose another\n");
    }

    #[test]
    fn a_fault_of_a_file_that_is_gone_or_has_changed_is_still_rendered() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        let fault = |line, column| Diagnostic::new(Place { file: file.clone(), line, column }, "m\u{1b}[31m", "h");
        let gone = Diagnostics::from(fault(3, 1)).render();
        assert!(gone.contains("x.toml:3:1"), "{gone}");
        std::fs::write(&file, "é \"\u{301}日本\n\n[\n'").unwrap();
        for line in 0..7 {
            for column in 0..9 {
                assert!(Diagnostics(vec![fault(line, column)]).render().contains("x.toml"));
            }
        }
    }

    #[test]
    fn a_fault_without_a_place_has_no_empty_one() {
        let fault = Diagnostics::from(Diagnostic::new(Place::default(), "m", "h"));
        assert!(!fault.render().contains("-->"), "{}", fault.render());
        assert_eq!(fault.to_string(), "m\n  help: h\n");
    }

    #[test]
    fn rendering_waits_for_no_pipe_and_reads_no_endless_file() {
        for file in ["/dev/zero", "/dev/stdin", "/proc/self/task"] {
            let fault = Diagnostic::new(Place { file: file.into(), line: 3, column: 1 }, "m", "h");
            assert!(Diagnostics::from(fault).render().contains(file));
        }
    }

    #[test]
    fn faults_stand_in_the_order_of_their_lines_and_display_one_line_each() {
        let fault = |file: &str, line| Diagnostic::new(Place { file: file.into(), line, column: 1 }, "m", "h");
        let all = Diagnostics::check(vec![fault("b", 2), fault("a", 1), fault("b", 1), fault("b", 2)]).unwrap_err();
        let text = "b:1:1: m\n  help: h\nb:2:1: m\n  help: h\na:1:1: m\n  help: h\n";
        assert_eq!(all.to_string(), text);
        assert_eq!(Diagnostics::check(Vec::new()), Ok(()));
    }
}
