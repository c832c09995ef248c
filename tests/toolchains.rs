//! Components of other toolchains run unchanged under `eyot serve X.wasm`.

mod harness;

use std::path::PathBuf;

use harness::{Answer, Node, fixtures, root};

/// A component of `tests/guests/build --foreign`. Without it the test says that it was skipped; CI does not let it.
fn foreign(name: &str) -> Option<PathBuf> {
    let path = root().join("tests/guests/target/foreign").join(format!("{name}.wasm"));
    if path.is_file() {
        return Some(path);
    }
    let why = format!("skipped: there is no {name}.wasm; make it with `tests/guests/build --foreign`");
    assert!(std::env::var_os("EYOT_TESTS_SKIP_NOTHING").is_none(), "{why}");
    eprintln!("{why}");
    None
}

/// It answers, again and again, and sees what was asked.
fn serves(component: &std::path::Path, arguments: &[&str], name: &str) -> Node {
    let node = Node::single(component, arguments);
    for _ in 0..3 {
        let answer = node.get("/");
        assert_eq!(answer.status, 200, "{}: {}", answer.code(), answer.body);
        assert!(answer.body.to_lowercase().contains(name), "{}", answer.body);
    }
    node
}

#[test]
fn raw_wasip2_runs() {
    serves(&fixtures::guest("raw-wasip2"), &[], "wasip2");
}

#[test]
fn raw_wasip3_runs() {
    serves(&fixtures::guest("raw-wasip3"), &[], "wasip3");
}

#[test]
fn wstd_runs_and_reads_a_body() {
    let node = serves(&fixtures::guest("wstd-guest"), &[], "wstd");
    let answer = Answer::of(node.request("POST", "/body").body("12345"));
    assert!(answer.body.contains('5'), "{}", answer.body);
}

#[test]
fn axum_on_wstd_runs() {
    serves(&fixtures::guest("axum-on-wstd"), &[], "axum");
}

#[test]
fn spin_sdk_runs() {
    serves(&fixtures::guest("spin-sdk-guest"), &[], "spin");
}

#[test]
fn javascript_runs() {
    if let Some(component) = foreign("javascript") {
        serves(&component, &[], "javascript");
    }
}

#[test]
fn python_runs() {
    if let Some(component) = foreign("python") {
        serves(&component, &[], "python");
    }
}
