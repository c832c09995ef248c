//! How many workers call one another.

use serde_json::Value;

use crate::harness::{Node, escaped, fixtures};

#[test]
pub(crate) fn workers_call_one_another_call_depth_times_and_once_more_is_refused_to_the_worker() {
    let worker = |name: &str, other: &str| {
        let lines = format!(
            "callers = [\"{other}\"]\n[[service]]\nworker = \"{other}\"\n[[route]]\nhost = \"{name}.test\"\npath = \"/*\""
        );
        (format!("{name}/eyot.toml"), fixtures::worker(name, &fixtures::fixture(), &lines))
    };
    let files = [worker("a", "b"), worker("b", "a")];
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let workers = "[[worker]]\npath = \"a\"\n[[worker]]\npath = \"b\"\n";
    let node = Node::start(&format!("{workers}[limits]\ncall_depth = 3"), &files);
    // Each asks the other, as often as is said.
    let path = |calls: usize| {
        (0..calls).rev().fold("/status".to_owned(), |inner, call| {
            let worker = ["b", "a"][call % 2];
            format!("/fetch?text=1&url={}", escaped(&format!("http://{worker}.worker.internal{inner}")))
        })
    };
    let innermost = |calls: usize| {
        let mut told = node.get_from("a.test", &path(calls)).json();
        while let Some(Ok(inner)) = told[0]["text"].as_str().map(serde_json::from_str::<Value>) {
            told = inner;
        }
        told[0].clone()
    };
    assert_eq!(innermost(3)["status"], 200);
    assert_eq!(innermost(4)["error"], "LoopDetected");
}
