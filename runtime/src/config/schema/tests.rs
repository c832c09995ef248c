use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Described;
use crate::config::limits::shape;
use crate::config::reader::KNOWN;
use crate::config::{LimitTable, Node, Worker};

const NODE: &str = r#"
[[listener]]
tls = { x = 1 }
[[listener.certificate]]
[admin]
[acme]
external_account = { x = 1 }
[[worker]]
[[route]]
redirect = { x = 1 }
respond = { x = 1 }
[[origin]]
[[auth]]
source = { x = 1 }
[[auth.key]]
[telemetry]
[queues]
[kv]
[fleet]
"#;

const WORKER: &str = r#"
[build]
[[queue]]
[[schedule]]
[[service]]
[rollout]
[auth]
source = { x = 1 }
[[auth.key]]
[[route]]
"#;

/// The keys that the reader asks for when it meets every table there is, by the tables' names.
fn keys_read(described: Described) -> BTreeMap<String, BTreeSet<String>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("read.toml");
    std::fs::write(&file, if described == Described::Node { NODE } else { WORKER }).unwrap();
    KNOWN.take();
    match described {
        Described::Node => _ = Node::read(&file, None),
        Described::Worker => _ = Worker::read(&file, &LimitTable::builtin()),
    }
    let known = KNOWN.take().into_iter();
    known.map(|(table, keys)| (table, keys.into_iter().map(str::to_owned).collect())).collect()
}

/// The same of the schema. Tables of free keys and limits have no keys to compare.
fn keys_described(described: Described) -> BTreeMap<String, BTreeSet<String>> {
    fn walk(schema: &Value, name: &str, found: &mut BTreeMap<String, BTreeSet<String>>) {
        for choice in schema["anyOf"].as_array().into_iter().chain(schema["oneOf"].as_array()).flatten() {
            walk(choice, name, found);
        }
        let Some(properties) = schema["properties"].as_object() else { return };
        found.entry(name.to_owned()).or_default().extend(properties.keys().cloned());
        for (key, property) in properties.iter().filter(|(key, _)| *key != "limits") {
            walk(property, &format!("[{key}]"), found);
            walk(&property["items"], &format!("[[{key}]]"), found);
        }
    }
    let mut found = BTreeMap::new();
    let root = if described == Described::Node { "node.toml" } else { "eyot.toml" };
    walk(described.schema().as_value(), root, &mut found);
    found
}

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

#[test]
fn the_schemas_describe_exactly_the_keys_that_are_read() {
    for described in [Described::Node, Described::Worker] {
        let mut read = keys_read(described);
        // Tables of free keys, and the file of the built-in limits.
        let is_free = |table: &str| matches!(table, "limits.toml" | "[limits]" | "[headers]" | "[env]" | "[config]");
        let limit = |table: &str| shape(table.strip_prefix('[')?.strip_suffix(']')?);
        read.retain(|table, _| !is_free(table) && limit(table).is_none());
        assert_eq!(read, keys_described(described), "{described:?}");
    }
}

#[test]
fn the_published_schemas_are_the_ones_of_this_version() {
    for (described, name) in [(Described::Node, "node.json"), (Described::Worker, "eyot.json")] {
        let (file, schema) = (schemas().join(name), described.text());
        if std::env::var_os("EYOT_WRITE_DOCS").is_some() {
            std::fs::write(&file, &schema).unwrap();
        }
        assert!(std::fs::read_to_string(&file).unwrap() == schema, "{} is stale: EYOT_WRITE_DOCS=1", file.display());
    }
}

/// Every eyot.toml below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            files(&path, found);
        } else if path.ends_with("eyot.toml") {
            found.push(path);
        }
    }
}

/// The faults that the schema finds.
fn faults(described: Described, text: &str) -> Vec<String> {
    let validator = jsonschema::validator_for(described.schema().as_value()).unwrap();
    validator.iter_errors(&toml::from_str(text).unwrap()).map(|fault| fault.to_string()).collect()
}

#[test]
fn every_example_is_as_the_schemas_say() {
    let root = schemas().parent().unwrap().parent().unwrap().to_owned();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let node = readme.split("```toml\n# node.toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(faults(Described::Node, node), [""; 0], "{node}");
    let mut found = Vec::new();
    files(&root.join("examples"), &mut found);
    assert!(found.len() >= 5, "{found:?}");
    for file in found {
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(faults(Described::Worker, &text), [""; 0], "{}", file.display());
    }
}

#[test]
fn what_is_wrong_is_wrong_by_the_schema_too() {
    let (node, worker) = (Described::Node, Described::Worker);
    let is_valid = |described, text: &str| faults(described, text).is_empty();
    let listener = "[[listener]]\naddress = \"127.0.0.1:8080\"\n";
    assert!(is_valid(node, listener));
    for wrong in ["", "listener = []", "[[listener]]\naddress = 8080", &format!("adress = 1\n{listener}")] {
        assert!(!is_valid(node, wrong), "{wrong}");
    }
    for wrong in ["[limits]\nmemory = 128", "[limits]\nmemori = \"1MiB\"", "[limits.memory]\nscope = \"node\""] {
        assert!(!is_valid(node, &format!("{listener}{wrong}")), "{wrong}");
    }
    assert!(is_valid(node, &format!("{listener}[limits.memory]\nscope = \"invocation\"\nmax = \"1GiB\"")));
    let name = "name = \"shop\"\n";
    for good in ["", "isolate = \"reuse\"", "auth = \"users\"", "[limits]\nmemory = \"64MiB\""] {
        assert!(is_valid(worker, &format!("{name}{good}")), "{good}");
    }
    for wrong in ["isolate = \"warm\"", "auth = 1", "[limits]\nnode_memory = \"1GiB\"", "[[route]]\nworker = \"a\""] {
        assert!(!is_valid(worker, &format!("{name}{wrong}")), "{wrong}");
    }
    assert!(!is_valid(worker, "name = \"Not_a_Label\""));
}
