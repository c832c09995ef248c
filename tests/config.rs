//! Bad input: one message each with file, line and column, all faults of a file together, exit code 2, nothing half started.

mod harness;

use harness::{eyot, fixtures};

struct Run {
    code: Option<i32>,
    errors: String,
    output: String,
}

fn check(configuration: &str, files: &[(&str, &str)], arguments: &[&str]) -> Run {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in files.iter().chain([&("node.toml", configuration)]) {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, content).expect("files");
    }
    let output = eyot()
        .args(["check", "--config", "node.toml"])
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .expect("it runs");
    Run {
        code: output.status.code(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
    }
}

const LISTENER: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\n";

#[test]
fn a_good_configuration_is_well() {
    let manifest = fixtures::manifest("[[route]]\npath = \"/*\"");
    let run = check(&format!("{LISTENER}[[worker]]\npath = \"w\""), &[("w/eyot.toml", &manifest)], &[]);
    assert_eq!(run.code, Some(0), "{}", run.errors);
    assert!(run.output.contains("fixture@"), "{}", run.output);
}

#[test]
fn all_faults_of_a_file_are_told_together_with_their_places() {
    let configuration = "\
[[listener]]
adress = \"127.0.0.1:0\"

[[origin]]
name = \"api\"
url = 7

[[route]]
path = \"/x\"
origin = \"apii\"

[limits]
cpu_time = 50
memroy = \"1MiB\"
";
    let run = check(configuration, &[], &["--json"]);
    assert_eq!(run.code, Some(2), "{}", run.errors);
    let report: serde_json::Value = serde_json::from_str(run.output.trim()).expect("JSON");
    let lines: Vec<_> =
        report["faults"].as_array().expect("faults").iter().map(|fault| fault["place"]["line"].as_u64()).collect();
    for line in [2, 6, 10, 13, 14] {
        assert!(lines.contains(&Some(line)), "line {line} in {report:#}");
    }
    assert!(run.errors.contains("did you mean") || report.to_string().contains("did you mean"), "{report:#}");
}

#[test]
fn routes_that_cannot_be_told_apart_name_both_lines() {
    let configuration = format!(
        "{LISTENER}\
[[route]]
path = \"/a/{{x}}\"
respond = {{ body = \"one\" }}
[[route]]
path = \"/a/{{y}}\"
respond = {{ body = \"two\" }}
"
    );
    let run = check(&configuration, &[], &[]);
    assert_eq!(run.code, Some(2), "{}", run.errors);
    assert!(run.errors.contains("node.toml:3") || run.errors.contains(":4"), "{}", run.errors);
    assert!(run.errors.contains(":6") || run.errors.contains(":7"), "{}", run.errors);
}

#[test]
fn a_host_or_path_that_no_request_can_have_is_a_fault_at_its_place() {
    for (key, value) in [
        ("path", "/a;b"),
        ("path", "/%C0%AE"),
        ("path", "/%01"),
        ("path", "/a/../b"),
        ("path", "/a/%zz"),
        ("host", "a!b.example"),
        ("host", "a.example:80"),
        ("host", "a..example"),
    ] {
        let run = check(&format!("{LISTENER}[[route]]\n{key} = \"{value}\"\nrespond = {{ body = \"x\" }}\n"), &[], &[]);
        assert_eq!(run.code, Some(2), "{value}: {}", run.errors);
        let column = key.len() + 4;
        assert!(run.errors.contains(&format!("node.toml:4:{column}")), "{value}: {}", run.errors);
    }
    let route = "[[route]]\npath = \"/a%2Fb\"\nhost = \"my_app.example\"\nrespond = { body = \"x\" }\n";
    let run = check(&format!("{LISTENER}{route}"), &[], &[]);
    assert_eq!(run.code, Some(0), "{}", run.errors);
}

#[test]
fn a_component_that_cannot_serve_is_told_with_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, expected) in [("core-module", "core module"), ("no-handler", "exports neither")] {
        let component = fixtures::text(name, folder.path());
        let manifest = fixtures::worker("bad", &component, "[[route]]\npath = \"/*\"");
        let run = check(&format!("{LISTENER}[[worker]]\npath = \"w\""), &[("w/eyot.toml", &manifest)], &[]);
        assert_eq!(run.code, Some(2), "{}", run.errors);
        assert!(run.errors.contains(expected) && run.errors.contains(name), "{}", run.errors);
    }
}

#[test]
fn more_isolates_than_a_node_can_have_are_refused_where_they_are_asked_for() {
    let run = check(&format!("{LISTENER}[limits]\nnode_concurrency = 5001\n"), &[], &[]);
    assert_eq!(run.code, Some(2), "{}", run.errors);
    assert!(run.errors.contains("node.toml:4:20") && run.errors.contains("at most 5000"), "{}", run.errors);
    let run = check(&format!("{LISTENER}[limits]\nnode_concurrency = 5000\n"), &[], &[]);
    assert_eq!(run.code, Some(0), "{}", run.errors);
}

#[test]
fn a_missing_file_of_the_configuration_is_told() {
    let output = eyot().args(["serve", "--config", "/nonexistent/node.toml"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/node.toml"));
}

#[test]
fn the_limits_of_the_product_are_shown_as_json() {
    let output = eyot().args(["limits", "--json"]).output().expect("it runs");
    let table: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = table.to_string();
    for key in ["cpu_time", "memory", "queue_wait", "worker_memory_exceeded"] {
        assert!(text.contains(key), "{key} in {text}");
    }
}
