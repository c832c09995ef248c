//! Tests of whole files: what is read, and which faults are reported at which places.

mod form;
mod limits;
mod mutation;
mod backend;
mod node;
mod worker;

use std::path::Path;

use super::{Diagnostics, LimitTable, Node, Read, Reading, Worker};

impl Node {
    /// What is read, if it has no fault.
    fn load(path: &Path, limits_file: Option<&Path>) -> Result<Self, Diagnostics> {
        let Read { node, faults } = Self::read(path, limits_file);
        Diagnostics::check(faults)?;
        Ok(node.expect("what has no fault is a node"))
    }
}

impl Worker {
    /// What is read, if it has no fault.
    fn load(folder_or_file: &Path, limits: &LimitTable) -> Result<Self, Diagnostics> {
        let Reading { worker, faults, .. } = Self::read(folder_or_file, limits);
        faults?;
        Ok(worker.expect("what has no fault is a worker"))
    }
}

/// A folder with files, which goes away.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    root
}

/// Each fault as `file:line:column: message`, the folder left out.
fn faults(root: &Path, faults: &Diagnostics) -> Vec<String> {
    let short = |text: String| text.replace(&format!("{}/", root.display()), "");
    faults.0.iter().map(|fault| short(format!("{}: {}", fault.place, fault.message))).collect()
}

fn node_faults(files: &[(&str, &str)]) -> Vec<String> {
    let root = folder(files);
    let error = Node::load(&root.path().join("node.toml"), None).unwrap_err();
    faults(root.path(), &error)
}

fn worker_faults(files: &[(&str, &str)]) -> Vec<String> {
    let root = folder(files);
    let error = Worker::load(root.path(), &LimitTable::builtin()).unwrap_err();
    faults(root.path(), &error)
}

/// Exactly these faults, in this order; an expected one may be only the beginning.
#[track_caller]
fn assert_faults(found: &[String], expected: &[&str]) {
    let same =
        found.len() == expected.len() && found.iter().zip(expected).all(|(found, start)| found.starts_with(start));
    assert!(same, "found\n{}\n\nexpected\n{}", found.join("\n"), expected.join("\n"));
}

#[test]
fn all_syntax_faults_of_a_file_are_reported_at_their_places() {
    let found = worker_faults(&[("eyot.toml", "name = \"a\"\nx = \ny = 5 6\nz = \"open\n[[route]\n")]);
    assert!(found.len() >= 3 && found.iter().all(|fault| fault.contains(": not TOML: ")), "{found:#?}");
    for line in ["eyot.toml:2:", "eyot.toml:3:", "eyot.toml:4:", "eyot.toml:5:"] {
        assert!(found.iter().any(|fault| fault.starts_with(line)), "no {line} in {found:#?}");
    }
}

#[test]
fn a_key_that_stands_twice_is_a_fault_at_its_second_place() {
    assert_faults(
        &worker_faults(&[("eyot.toml", "name = \"a\"\nname = \"b\"\n")]),
        &["eyot.toml:2:1: not TOML: duplicate key"],
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault_of_the_file() {
    let root = folder(&[]);
    let found = |path: &str| {
        let error = Worker::load(&root.path().join(path), &LimitTable::builtin()).unwrap_err();
        faults(root.path(), &error)
    };
    assert_faults(&found("none.toml"), &["none.toml: cannot be read: "]);
    std::fs::write(root.path().join("latin.toml"), b"a = 1\nname = \"\xe9\"\n").unwrap();
    assert_faults(&found("latin.toml"), &["latin.toml:2:9: this is not UTF-8"]);
    std::fs::write(root.path().join("large.toml"), vec![b' '; 5 << 20]).unwrap();
    assert_faults(&found("large.toml"), &["large.toml: cannot be read: it is larger"]);
    assert_faults(&found(""), &["eyot.toml: cannot be read"]);
}

#[test]
fn a_file_with_more_faults_than_anybody_reads_shows_the_first_hundred() {
    let text: String = (0..100_000).map(|number| format!("k{number} = 1\n")).collect();
    let found = worker_faults(&[("eyot.toml", &text)]);
    assert_eq!(found.len(), 101);
    assert_faults(&found[..1], &["eyot.toml: there are more than 100 faults"]);
}

#[test]
fn columns_count_characters_and_a_byte_order_mark_is_none() {
    assert_faults(
        &worker_faults(&[
            ("eyot.toml", "\u{feff}nam = 1\r\nenv = { \"é日本\" = 7 }\r\nname = \"a\"\n"),
            ("a.wasm", ""),
        ]),
        &["eyot.toml:1:1: unknown key `nam`", "eyot.toml:2:17: `é日本` must be a string, not the integer 7"],
    );
}
