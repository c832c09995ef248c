//! Secrets: known to the worker that asks for them, and to nobody else.

use serde_json::json;

use crate::harness::{Node, eyot, fixtures};
use crate::operator::{Operator, configuration, node};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn with_key() -> Node {
    let configuration = format!("secrets_key = \"key\"\n{}\n{}", configuration(""), crate::harness::LISTENERS);
    Node::start_by(eyot(), &configuration, &[("key", KEY)], "off")
}

fn put(operator: &Operator, name: &str, value: &str) -> u16 {
    operator.send("PUT", &format!("/v1/workers/shop/secrets/{name}"), &json!({ "value": value })).status
}

#[test]
fn a_secret_is_what_the_worker_asks_for_and_a_new_value_needs_no_deploy() {
    let node = with_key();
    let operator = Operator::first(&node);
    let version = operator.version_with("shop", "one", "secrets = [\"API_KEY\"]");
    let early = operator.deploy("shop", &[(version, 100.0)]);
    assert_eq!(early.status, 422, "{}", early.body);
    assert!(early.body.contains("API_KEY"), "{}", early.body);
    assert_eq!(put(&operator, "API_KEY", "first-value"), 200);
    operator.serve("shop", version);
    let asked = || node.get_from("shop.example", "/config?key=API_KEY").json();
    assert_eq!(asked(), "first-value");
    assert_eq!(put(&operator, "API_KEY", "second-value"), 200);
    assert_eq!(asked(), "second-value");
    assert_eq!(put(&operator, "OTHER", "not-asked-for"), 200);
    let all = node.get_from("shop.example", "/config").body;
    assert!(all.contains("second-value") && !all.contains("not-asked-for"), "{all}");

    let in_use = operator.request("DELETE", "/v1/workers/shop/secrets/API_KEY").send().unwrap();
    assert_eq!(in_use.status(), 409);
    assert_eq!(operator.request("DELETE", "/v1/workers/shop/secrets/OTHER").send().unwrap().status(), 204);

    let node = node.again("-TERM");
    assert_eq!(node.get_from("shop.example", "/config?key=API_KEY").json(), "second-value");
    let operator = Operator::first(&node);
    let shown = format!(
        "{}{}{}{}",
        operator.get("/v1/workers/shop/secrets").body,
        operator.get("/v1/audit").body,
        operator.get("/v1/workers/shop").body,
        node.log()
    );
    assert!(shown.contains("API_KEY") && !shown.contains("-value"), "{shown}");
    for file in std::fs::read_dir(node.folder.path().join("store")).unwrap() {
        let file = file.unwrap().path();
        let bytes = std::fs::read(&file).unwrap_or_default();
        assert!(!bytes.windows(6).any(|part| part == b"-value"), "{} holds a secret", file.display());
    }
}

#[test]
fn a_node_without_a_key_keeps_no_secrets_and_says_so() {
    let node = node("");
    let operator = Operator::first(&node);
    let answer = operator.send("PUT", "/v1/workers/shop/secrets/A", &json!({ "value": "x" }));
    assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("secrets_unavailable")));
    assert!(answer.body.contains("secrets_key"), "{}", answer.body);
}

#[test]
fn a_node_with_another_key_does_not_start_and_names_the_right_one() {
    let node = with_key();
    assert_eq!(put(&Operator::first(&node), "A", "x"), 200);
    let folder = node.folder.path().to_owned();
    let mut node = node;
    node.stop("-TERM");
    std::fs::write(folder.join("key"), KEY.replace('0', "f")).unwrap();
    let output = eyot().args(["serve", "--config"]).arg(folder.join("node.toml")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("was sealed with key"), "{told}");
}

#[test]
fn secrets_of_a_worker_of_node_toml_stand_in_the_environment() {
    let manifest = fixtures::worker("own", &fixtures::fixture(), "secrets = [\"api-key\"]\n[[route]]\npath = \"/*\"");
    let configuration = format!("[[worker]]\npath = \"own\"\n{}", crate::harness::LISTENERS);
    let mut command = eyot();
    command.env("EYOT_SECRET_API_KEY", "from outside");
    let node = Node::start_by(command, &configuration, &[("own/eyot.toml", &manifest)], "off");
    assert_eq!(node.get("/config?key=api-key").json(), "from outside");
}
