//! Limits of keys and values: each at its bound and one past it.

use serde_json::Value;

use crate::harness::{Node, fixtures};

fn node(limits: &str) -> Node {
    let lines = format!("kv = [\"n\"]\n[[route]]\npath = \"/*\"\n[limits]\n{limits}");
    let manifest = fixtures::worker("shop", &fixtures::fixture(), &lines);
    Node::start("store = \"store\"\n[[worker]]\npath = \"shop\"\n", &[("shop/eyot.toml", &manifest)])
}

/// What comes of it: nothing, or the name of an error and the limit that it tells.
fn outcome(node: &Node, target: &str) -> Option<(String, String)> {
    let answer = node.get(target);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let Value::Object(told) = answer.json() else { return None };
    let text = |name: &str| Some(told.get(name)?.as_str()?.to_owned());
    Some((text("error")?, text("why").unwrap_or_default()))
}

fn refuses(node: &Node, target: &str, error: &str, limit: &str) {
    let (found, why) = outcome(node, target).unwrap_or_else(|| panic!("{target} is done"));
    assert_eq!(found, error, "{why}");
    assert!(why.contains(limit), "{why}");
}

#[test]
pub fn a_key_up_to_kv_key_is_taken_and_one_byte_more_is_refused_to_the_worker() {
    let node = node("kv_key = \"8B\"");
    assert_eq!(outcome(&node, "/kv-put?ns=n&key=12345678&value=v"), None);
    refuses(&node, "/kv-put?ns=n&key=123456789&value=v", "too-large", "kv_key");
}

#[test]
pub fn a_value_up_to_kv_value_is_taken_and_one_byte_more_is_refused_to_the_worker() {
    let node = node("kv_value = \"1KiB\"");
    assert_eq!(outcome(&node, "/kv-put?ns=n&key=k&bytes=1024"), None);
    refuses(&node, "/kv-put?ns=n&key=k&bytes=1025", "too-large", "kv_value");
}

#[test]
pub fn metadata_up_to_kv_metadata_is_taken_and_one_byte_more_is_refused_to_the_worker() {
    let node = node("kv_metadata = \"4B\"");
    assert_eq!(outcome(&node, "/kv-put?ns=n&key=k&value=v&metadata=1234"), None);
    refuses(&node, "/kv-put?ns=n&key=k&value=v&metadata=12345", "too-large", "kv_metadata");
}

#[test]
pub fn a_worker_keeps_up_to_kv_total_and_one_byte_more_is_refused_to_it() {
    let node = node("kv_total = \"1KiB\"");
    // An entry counts 128 bytes besides its key and its value.
    assert_eq!(outcome(&node, "/kv-put?ns=n&key=k&bytes=895"), None);
    refuses(&node, "/kv-put?ns=n&key=k&bytes=896", "full", "kv_total");
    assert_eq!(outcome(&node, "/kv-put?ns=n&key=k&bytes=895"), None);
}

#[test]
pub fn one_call_names_up_to_kv_batch_keys_and_one_more_is_refused_to_the_worker() {
    let node = node("kv_batch = 4");
    assert_eq!(outcome(&node, "/kv-get-many?ns=n&keys=4"), None);
    refuses(&node, "/kv-get-many?ns=n&keys=5", "too-many", "kv_batch");
}

#[test]
pub fn an_invocation_asks_kv_operations_times_and_once_more_is_refused_to_it() {
    let node = node("kv_operations = 5");
    assert_eq!(outcome(&node, "/kv-put?ns=n&key=k&value=v&times=5"), None);
    refuses(&node, "/kv-put?ns=n&key=k&value=v&times=6", "too-many", "kv_operations");
}
