//! The OpenAPI document against what the API does, by tests that are generated from it (schemathesis).

use std::process::Command;

use serde_json::json;

use crate::harness::{LISTENERS, Node, eyot, python};
use crate::operator::{Operator, configuration, first_token};

/// A fixed seed, so that a failure can be seen again; `EYOT_TESTS_SEED` gives another one.
const SEED: &str = "20261129";

#[test]
fn no_generated_request_gets_a_server_error_or_an_answer_that_is_not_documented() {
    let Some(programs) = python::programs("schemathesis==4.32.5") else { return };
    let configuration = format!("secrets_key = \"key\"\n{}\n{LISTENERS}", configuration(""));
    let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let node = Node::start_by(eyot(), &configuration, &[("key", key)], "off");
    let operator = Operator::first(&node);
    for is in ["one", "two"] {
        operator.version("shop", is);
    }
    assert_eq!(operator.deploy("shop", &[(1, 90.0), (2, 10.0)]).status, 201);
    operator.send("PUT", "/v1/workers/shop/secrets/API_KEY", &json!({ "value": "x" }));

    let folder = tempfile::tempdir().unwrap();
    let token = first_token(&node);
    let auth = format!("[auth.openapi.token]\nbearer = \"{token}\"\n");
    std::fs::write(folder.path().join("schemathesis.toml"), auth).unwrap();
    let seed = std::env::var("EYOT_TESTS_SEED").unwrap_or_else(|_| SEED.to_owned());
    let (examples, seconds) = match std::env::var_os("EYOT_FULL") {
        Some(_) => ("500", "1200"),
        None => ("15", "60"),
    };
    // Two of its checks ask for what no schema can say: that each text which is valid as a text is an eyot.toml, or names something.
    let output = Command::new(programs.join("schemathesis"))
        .current_dir(folder.path())
        .arg("run")
        .arg(format!("http://{}/openapi.json", node.admin.unwrap()))
        .args(["--checks", "all", "--exclude-checks", "positive_data_acceptance"])
        // It has no end.
        .args(["--exclude-path", "/v1/tail"])
        .args(["--max-examples", examples, "--max-time", seconds, "--seed", &seed, "--continue-on-failure"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("Tested: "), "{told}");
    assert_eq!(operator.get("/v1/workers").status, 200, "its token holds to the end");
    assert!(!node.log().contains("panicked"), "{}", node.log());
}
