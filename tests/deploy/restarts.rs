//! What a node serves after it has ended: what it served before.

use crate::operator::{Operator, asked, node, whole_configuration};

#[test]
fn a_node_that_is_killed_serves_what_was_acknowledged() {
    let node = node("");
    let operator = Operator::first(&node);
    operator.serve("shop", operator.version("shop", "one"));
    operator.serve("shop", operator.version("shop", "two"));
    operator.serve("blog", operator.version("blog", "three"));
    operator.version("blog", "four");
    let node = node.again("-KILL");
    assert_eq!((asked(&node, "shop").as_str(), asked(&node, "blog").as_str()), ("two", "three"));
    let operator = Operator::first(&node);
    operator.serve("blog", 2);
    assert_eq!(asked(&node, "blog"), "four");
}

#[test]
fn a_worker_that_no_longer_fits_the_configuration_is_named_and_the_others_serve() {
    let node = node("[[origin]]\nname = \"api\"\nurl = \"http://127.0.0.1:9\"\n");
    let operator = Operator::first(&node);
    operator.serve("shop", operator.version("shop", "one"));
    operator.serve("blog", operator.version_with("blog", "two", "origins = [\"api\"]"));
    std::fs::write(node.folder.path().join("node.toml"), whole_configuration("")).unwrap();
    let node = node.again("-TERM");
    assert_eq!(asked(&node, "shop"), "one");
    assert_eq!(node.get_from("blog.example", "/").status, 404);
    let operator = Operator::first(&node);
    let status = operator.get("/v1/status").json();
    assert_eq!(status["faulty"][0]["worker"], "blog", "{status:#}");
    assert!(status["faulty"][0]["faults"][0]["message"].as_str().unwrap().contains("`api`"), "{status:#}");
    operator.serve("blog", operator.version("blog", "three"));
    assert_eq!(asked(&node, "blog"), "three");
}

#[test]
fn a_second_node_cannot_have_the_same_store() {
    let node = node("");
    let other = whole_configuration("").replace("\"store\"", &format!("{:?}", node.folder.path().join("store")));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("node.toml"), other).unwrap();
    let output =
        crate::harness::eyot().args(["serve", "--config"]).arg(folder.path().join("node.toml")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is in use by"), "{output:?}");
}
