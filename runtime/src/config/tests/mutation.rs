//! Damaged files: whatever is wrong with them, the answer is values or faults with places, and never a panic.

use std::path::Path;

use super::super::fuzz::check;
use super::node::{FILES, WHOLE};
use super::{LimitTable, Node, Worker, folder, worker};

/// A small deterministic generator (Marsaglia's xorshift), so that a failure comes again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

/// Writes the text as node.toml, as a file of limits and as eyot.toml, and reads it as each.
fn read_as_everything(root: &Path, text: &[u8]) {
    for name in ["node.toml", "eyot.toml"] {
        std::fs::write(root.join(name), text).unwrap();
    }
    let results = [
        Node::load(&root.join("node.toml"), None).map(|_| ()),
        Worker::load(root, &LimitTable::builtin()).map(|_| ()),
        LimitTable::builtin().override_from_file(&root.join("node.toml")),
        LimitTable::builtin().override_from_node(&root.join("node.toml")),
    ];
    for faults in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(!faults.0.is_empty());
        for name in ["node.toml", "eyot.toml"] {
            check(&root.join(name), text, faults);
        }
    }
}

#[test]
fn a_file_cut_anywhere_never_panics() {
    let root = folder(&FILES);
    for end in (0..WHOLE.len()).step_by(3) {
        read_as_everything(root.path(), &WHOLE.as_bytes()[..end]);
    }
}

#[test]
fn a_file_with_changed_bytes_never_panics() {
    let root = folder(&FILES);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let pieces: [&[u8]; 16] = [
        b"\"",
        b"'",
        b"[",
        b"]",
        b"[[",
        b"{",
        b"}",
        b"=",
        b"\n",
        b"\\u0000",
        b"-1",
        b"\"\"",
        b"\xff",
        "é".as_bytes(),
        b"\x1b",
        b".",
    ];
    for _ in 0..600 {
        let mut text = WHOLE.as_bytes().to_vec();
        for _ in 0..=random.below(4) {
            let at = random.below(text.len());
            let until = (at + random.below(12)).min(text.len());
            let piece = pieces[random.below(pieces.len())];
            text.splice(at..until, piece.iter().copied());
        }
        read_as_everything(root.path(), &text);
    }
}

const VALUES: [&str; 13] = [
    "5",
    "-1.5",
    "true",
    "\"\"",
    "\"\\u0000\\u001b\"",
    "[]",
    "[[]]",
    "{}",
    "{ a = 1 }",
    "1979-05-27",
    "inf",
    "0x10",
    "[{}]",
];

/// The text with the value of each key in turn put in place of its own.
fn changed(text: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Some((key, _)) = line.split_once(" = ") else { continue };
        for value in VALUES {
            let own = format!("{key} = {value}");
            let lines = text.lines().enumerate().map(|(other, line)| if other == number { own.as_str() } else { line });
            texts.push(lines.collect::<Vec<_>>().join("\n"));
        }
    }
    texts
}

#[test]
fn a_value_of_any_type_in_any_place_never_panics() {
    let root = folder(&FILES);
    for text in changed(WHOLE).iter().chain(&changed(worker::WHOLE)) {
        read_as_everything(root.path(), text.as_bytes());
    }
}

#[test]
fn a_fault_of_one_key_makes_no_other_key_unknown() {
    let root = folder(&FILES);
    let node = root.path().join("node.toml");
    let check = |text: &str, result: Result<(), super::Diagnostics>| {
        for fault in result.err().into_iter().flat_map(|faults| faults.0) {
            let message = fault.message.replace("unknown key `a`", "");
            assert!(!message.starts_with("unknown key"), "{message} in\n{text}");
        }
    };
    for text in changed(WHOLE) {
        std::fs::write(&node, &text).unwrap();
        check(&text, Node::load(&node, None).map(|_| ()));
    }
    for text in changed(worker::WHOLE) {
        std::fs::write(root.path().join("eyot.toml"), &text).unwrap();
        check(&text, Worker::load(root.path(), &LimitTable::builtin()).map(|_| ()));
    }
}
