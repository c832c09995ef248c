//! `eyot check PATH`: workers are built and looked at, and nothing else is touched.

mod harness;

use std::path::Path;

use harness::{eyot, fixtures};

/// A folder with one worker of this eyot.toml.
fn folder(manifest: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("eyot.toml"), manifest).expect("a file");
    folder
}

fn check(path: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let output =
        eyot().arg("check").arg(path).args(arguments).envs(environment.iter().copied()).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_worker_that_does_not_build_ends_with_2_and_has_a_place() {
    let worker = folder("name = \"w\"\n[build]\ncommand = \"echo the reason; exit 3\"\n");
    let (code, output, errors) = check(worker.path(), &["--json"], &[]);
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("the reason"), "{errors}");
    let report: serde_json::Value = serde_json::from_str(&output).expect("JSON");
    let fault = &report["faults"][0];
    assert!(fault["place"]["file"].as_str().expect("a file").ends_with("eyot.toml"), "{report}");
    assert_eq!((&fault["place"]["line"], &fault["place"]["column"]), (&1.into(), &8.into()), "{report}");
    assert!(fault["message"].as_str().expect("a message").contains("w does not build"), "{report}");
}

#[test]
fn a_build_that_lacks_its_target_is_told_how_to_get_it() {
    let said = "error[E0463]: can't find crate for `core`";
    let worker =
        folder(&format!("name = \"w\"\n[build]\ncommand = '''echo \"{}\"; exit 1'''\n", said.replace('`', "\\`")));
    let (code, _, errors) = check(worker.path(), &[], &[]);
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("rustup target add wasm32-wasip2"), "{errors}");
}

#[test]
fn nothing_is_written_and_no_folder_for_state_is_needed() {
    let worker = folder(&fixtures::manifest(""));
    let state = tempfile::tempdir().expect("a folder");
    let given = state.path().to_str().expect("text");
    let (code, output, errors) = check(worker.path(), &["--state", given], &[]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(output.contains("fixture@"), "{output}");
    assert_eq!(std::fs::read_dir(state.path()).expect("a folder").count(), 0, "something was written");
    // Neither by its variables: what is empty or relative is not set (XDG Base Directory Specification).
    let hello = folder(&fixtures::worker("hello", &fixtures::hello(), ""));
    let (code, _, errors) = check(hello.path(), &[], &[("XDG_CACHE_HOME", ""), ("HOME", "")]);
    assert_eq!(code, Some(0), "{errors}");
}

#[test]
fn a_node_needs_a_folder_for_state_and_takes_no_relative_one() {
    let hello = folder(&fixtures::worker("hello", &fixtures::hello(), ""));
    let mut command = eyot();
    command.args(["serve", "--addr", "127.0.0.1:0"]).arg(fixtures::hello()).current_dir(hello.path());
    let output = command.env("XDG_CACHE_HOME", "cache").env("HOME", "").output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("XDG_CACHE_HOME") && errors.contains("--state"), "{errors}");
    assert!(!hello.path().join("cache").exists(), "{errors}");
}

#[test]
fn a_node_without_workers_is_said_to_be_well() {
    let folder = folder("");
    let node = folder.path().join("node.toml");
    std::fs::write(
        &node,
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[[route]]\npath = \"/\"\nrespond = { body = \"x\" }\n",
    )
    .expect("a file");
    let output = eyot().args(["check", "--config"]).arg(node).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("no workers"), "{text:?}");
}
