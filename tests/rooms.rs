//! The rooms of `runtime/src` stand in one order, and a room imports only rooms before it.
//!
//! What counts is every path from the root of the crate, wherever it stands: in a `use` (grouped or not), in an expression, in a
//! macro, behind `crate::` or behind as many `super::` as lead to the root.

use std::fs;
use std::path::{Path, PathBuf};

/// Wires the rooms, so it may name every room but the last one, which alone may name it.
const NODE: &str = "node";

/// Gathers what rooms show to the fuzz targets. It may name any room, and none may name it.
const FUZZING: &str = "fuzzing";

/// The order of `runtime/src/lib.rs`.
fn order(lib: &str) -> Vec<String> {
    lib.lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .filter(|room| ![NODE, FUZZING].contains(room))
        .map(str::to_owned)
        .collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the sources can be read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// A word, or one other character, and its line.
type Token = (String, usize);

/// The words of a source, without its comments and texts.
fn tokens(source: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '"' => text(rest),
            'r' if rest.starts_with("r\"") || rest.starts_with("r#\"") => raw_text(rest),
            // A character, unless it is a lifetime.
            '\'' if rest.starts_with("'\\") => 3 + rest[3..].find('\'').unwrap_or(0),
            '\'' if rest.chars().nth(2) == Some('\'') => rest.char_indices().nth(3).map_or(rest.len(), |(at, _)| at),
            _ if first.is_alphanumeric() || first == '_' => {
                let end = rest.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(rest.len());
                tokens.push((rest[..end].to_owned(), line));
                end
            }
            _ => {
                if !first.is_whitespace() {
                    tokens.push((first.to_string(), line));
                }
                first.len_utf8()
            }
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// The length of a text that begins here.
fn text(rest: &str) -> usize {
    let mut escaped = false;
    let end = rest[1..].find(|next| {
        let ends = next == '"' && !escaped;
        escaped = next == '\\' && !escaped;
        ends
    });
    end.map_or(rest.len(), |end| end + 2)
}

/// The same for `r"…"` and `r#"…"#`.
fn raw_text(rest: &str) -> usize {
    let end = if rest.starts_with("r#") { "\"#" } else { "\"" };
    let begin = rest.find('"').expect("its beginning was seen") + 1;
    rest[begin..].find(end).map_or(rest.len(), |at| begin + at + end.len())
}

/// The outermost modules that a file names, each with its line. `depth` is how many `super` lead from the file to the root.
fn named(tokens: &[Token], depth: usize) -> Vec<Token> {
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|(token, _)| token == text);
    let path = |at: usize| is(at, ":") && is(at + 1, ":");
    // For each open brace, whether it is that of a module.
    let mut braces: Vec<bool> = Vec::new();
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        match tokens[at].0.as_str() {
            "{" => braces.push(at >= 2 && is(at - 2, "mod")),
            "}" => drop(braces.pop()),
            "crate" if path(at + 1) => entries(tokens, at + 3, &mut found),
            "super" if at < 3 || !is(at - 3, "super") => {
                let mut next = at;
                while is(next, "super") && path(next + 1) {
                    next += 3;
                }
                let inner = braces.iter().filter(|module| **module).count();
                if (next - at) / 3 >= depth + inner {
                    entries(tokens, next, &mut found);
                }
            }
            _ => {}
        }
    }
    found
}

/// The first words of a path, or of each path of a group, from the root.
fn entries(tokens: &[Token], at: usize, found: &mut Vec<Token>) {
    let Some((first, _)) = tokens.get(at) else { return };
    if first != "{" {
        found.push(tokens[at].clone());
        return;
    }
    let (mut nested, mut begins) = (0, true);
    for token in &tokens[at..] {
        match token.0.as_str() {
            "{" => nested += 1,
            "}" if nested == 1 => return,
            "}" => nested -= 1,
            "," if nested == 1 => begins = true,
            _ if nested == 1 && begins => {
                found.push(token.clone());
                begins = false;
            }
            _ => {}
        }
    }
}

/// How many `super` lead from this file, below the sources, to the root of the crate.
fn depth(place: &Path) -> usize {
    place.components().count() - usize::from(place.ends_with("mod.rs"))
}

#[test]
fn a_room_imports_only_rooms_before_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rooms = order(&fs::read_to_string(source.join("lib.rs")).expect("lib.rs can be read"));
    assert!(rooms.len() >= 10, "the list of rooms in lib.rs was not understood: {rooms:?}");
    let last = rooms.last().expect("not empty");
    let mut files = Vec::new();
    sources(&source, &mut files);
    let (mut faults, mut seen) = (Vec::new(), 0);
    for file in files {
        let place = file.strip_prefix(&source).expect("below the sources");
        let first = place.components().next().expect("not empty").as_os_str().to_string_lossy().into_owned();
        let first = first.trim_end_matches(".rs");
        let text = fs::read_to_string(&file).expect("a source can be read");
        for (room, line) in named(&tokens(&text), depth(place)) {
            seen += 1;
            let allowed = match (rooms.iter().position(|room| room == first), rooms.iter().position(|own| *own == room))
            {
                // lib.rs and main.rs are no rooms.
                (None, _) if first != NODE => true,
                (None, _) => room != *last,
                (Some(_), None) if room == NODE => first == *last,
                // A glob, or another name for the root, would hide what is imported.
                (Some(_), None) => false,
                (Some(own), Some(imported)) => imported <= own,
            };
            if !allowed {
                faults.push(format!("{}:{line}: {first} imports {room}", place.display()));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(seen > 150, "only {seen} imports were understood");
}

#[test]
fn every_way_to_name_another_room_is_seen() {
    let names = |source: &str, depth: usize| -> Vec<String> {
        named(&tokens(source), depth).into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names("use crate::{dispatch, http::{self, Body}, node::Node};", 2), ["dispatch", "http", "node"]);
    assert_eq!(names("use crate\n    ::admin::Panel;", 2), ["admin"]);
    assert_eq!(names("fn f() { crate::cli::say(format!(\"{}\", crate::node::x())) }", 2), ["cli", "node"]);
    assert_eq!(names("use super::super::ingress::Cores;", 2), ["ingress"]);
    assert_eq!(names("use super::super::{ingress, admin};", 2), ["ingress", "admin"]);
    assert_eq!(names("use super::pool::Pool; mod tests { use super::super::pool; }", 2), [""; 0]);
    assert_eq!(names("mod tests { use super::super::super::cli; }", 2), ["cli"]);
    assert_eq!(names("use crate::*;", 2), ["*"]);
    assert_eq!(names("// crate::cli\nlet _ = \"crate::cli \\\" crate::cli\"; let _ = r#\"crate::cli\"#;", 2), [""; 0]);
    assert_eq!(names("let _ = ('\"', '\\'', crate::cli::x);", 2), ["cli"]);
}

#[test]
fn the_architecture_page_names_the_rooms_in_the_order_of_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rooms = order(&fs::read_to_string(root.join("src/lib.rs")).expect("lib.rs can be read"));
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("the page can be read");
    assert!(page.contains(&rooms.join(" < ")), "ARCHITECTURE.md should hold the line: {}", rooms.join(" < "));
}

#[test]
fn every_dependency_is_named_in_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("Cargo.toml can be read");
    let manifest: toml::Table = manifest.parse().expect("it is TOML");
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    let text: String = files.iter().map(|file| fs::read_to_string(file).expect("a source can be read")).collect();
    let dependencies = manifest["dependencies"].as_table().expect("a table").keys();
    let unused: Vec<_> = dependencies.filter(|name| !text.contains(&format!("{}::", name.replace('-', "_")))).collect();
    assert!(unused.is_empty(), "no source names {unused:?}: remove them from Cargo.toml");
}

#[test]
fn fuzz_targets_take_what_was_built_for_the_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let profile = |manifest: &str| -> toml::Value {
        let manifest = fs::read_to_string(root.join(manifest)).expect("a manifest can be read");
        manifest.parse::<toml::Table>().expect("a manifest is TOML")["profile"]["dev"].clone()
    };
    assert_eq!(profile("fuzz/Cargo.toml"), profile("Cargo.toml"), "every dependency would be built twice");
}
