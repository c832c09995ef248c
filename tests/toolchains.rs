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

/// It answers, again and again, and sees what was asked; a body reaches it whole.
fn serves(component: &std::path::Path, name: &str) {
    let node = Node::single(component, &[]);
    for _ in 0..3 {
        let answer = node.get_from("shop.example.com:8080", "/path?a=b");
        assert_eq!(answer.status, 200, "{}: {}", answer.code(), answer.body);
        for line in
            [&format!("toolchain: {name}"), "authority: shop.example.com:8080", "path: /path?a=b", "scheme: http"]
        {
            assert!(answer.body.lines().any(|printed| printed == line), "{line:?} in\n{}", answer.body);
        }
    }
    let answer = Answer::of(node.request("POST", "/").body("12345"));
    assert!(answer.body.contains("body: 5 bytes"), "{}", answer.body);
}

#[test]
fn raw_wasip2_runs() {
    serves(&fixtures::foreign("wasip2"), "wasip2");
}

#[test]
fn raw_wasip3_runs() {
    serves(&fixtures::foreign("wasip3"), "wasip3");
}

#[test]
fn wstd_runs() {
    serves(&fixtures::foreign("wstd"), "wstd");
}

#[test]
fn axum_on_wstd_runs() {
    serves(&fixtures::foreign("axum-on-wstd"), "axum-on-wstd");
}

#[test]
fn spin_sdk_runs() {
    serves(&fixtures::foreign("spin-sdk"), "spin-sdk");
}

#[test]
fn javascript_runs() {
    if let Some(component) = foreign("javascript") {
        serves(&component, "javascript");
    }
}

#[test]
fn python_runs() {
    if let Some(component) = foreign("python") {
        serves(&component, "python");
    }
}
