//! Any bytes as node.toml, eyot.toml and a file of limits: the answer is values, or faults with places.

use std::fs;
use std::path::Path;

use super::{LimitTable, Node, Worker};

/// Between node.toml and its worker's eyot.toml, in one input. Without it the input is both.
const APART: &[u8] = b"\n--- worker/eyot.toml\n";

/// Reads the input as each kind of file.
///
/// # Panics
/// When a fault has no place in its file, no help, or cannot be shown.
pub fn configuration(input: &[u8]) {
    let at = input.windows(APART.len()).position(|window| window == APART);
    let (node, worker) = at.map_or((input, input), |at| (&input[..at], &input[at + APART.len()..]));
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("worker")).expect("a folder of the worker");
    for (name, content) in
        [("node.toml", node), ("worker/eyot.toml", worker), ("worker/w.wasm", b""), ("key", b"secret")]
    {
        fs::write(folder.path().join(name), content).expect("a file can be written");
    }
    read(folder.path(), node);
    read_worker(&folder.path().join("worker"), worker);
}

/// Reads the text of `root`'s node.toml as what stands at the top.
fn read(root: &Path, text: &[u8]) {
    let file = root.join("node.toml");
    let faults = Node::read(&file, None).faults;
    check(&file, text, &super::Diagnostics(faults));
    for result in [LimitTable::builtin().override_from_file(&file), LimitTable::builtin().override_from_node(&file)] {
        if let Err(faults) = result {
            assert!(!faults.0.is_empty());
            check(&file, text, &faults);
        }
    }
}

fn read_worker(folder: &Path, text: &[u8]) {
    let reading = Worker::read(folder, &LimitTable::builtin());
    assert!(reading.worker.is_some() || reading.faults.is_err(), "nothing was read, and nothing is wrong");
    if let Err(faults) = reading.faults {
        assert!(!faults.0.is_empty());
        check(&folder.join("eyot.toml"), text, &faults);
    }
}

/// What every fault of a file has, whatever is wrong with it.
pub(super) fn check(file: &Path, text: &[u8], faults: &super::Diagnostics) {
    let lines = text.split(|byte| *byte == b'\n').count();
    for fault in faults.0.iter().filter(|fault| fault.place.file == file) {
        assert!(fault.place.line <= lines && fault.help.is_some(), "{fault:?}");
        assert!(!fault.message.contains(|character: char| character.is_control()), "{fault:?}");
    }
    assert!(faults.0.is_empty() || !faults.render().is_empty());
}
