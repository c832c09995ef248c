//! The rooms of `runtime/src` stand in one order, and a room imports only rooms before it.

use std::fs;
use std::path::Path;

/// The order of `runtime/src/lib.rs`.
fn order(lib: &str) -> Vec<String> {
    lib.lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .filter(|room| *room != "node")
        .map(str::to_owned)
        .collect()
}

fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).expect("the sources can be read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn a_room_imports_only_rooms_before_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rooms = order(&fs::read_to_string(source.join("lib.rs")).expect("lib.rs can be read"));
    assert!(rooms.len() >= 10, "the list of rooms in lib.rs was not understood: {rooms:?}");
    let mut files = Vec::new();
    sources(&source, &mut files);
    let mut faults = Vec::new();
    for file in files {
        let place = file.strip_prefix(&source).expect("below the sources");
        let first = place.components().next().expect("not empty").as_os_str().to_string_lossy().into_owned();
        let Some(own) = rooms.iter().position(|room| *room == first || format!("{room}.rs") == first) else {
            continue; // lib.rs, main.rs and node.rs may name every room.
        };
        let text = fs::read_to_string(&file).expect("a source can be read");
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for later in &rooms[own + 1..] {
                if line.contains(&format!("crate::{later}::")) || line.contains(&format!("crate::{later};")) {
                    faults.push(format!("{}:{}: {first} imports {later}", place.display(), number + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
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
