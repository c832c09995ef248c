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
    for (name, expected) in [("core-module", "core module"), ("no-handler", "exports none of")] {
        let component = fixtures::text(name, folder.path());
        let manifest = fixtures::worker("bad", &component, "[[route]]\npath = \"/*\"");
        let run = check(&format!("{LISTENER}[[worker]]\npath = \"w\""), &[("w/eyot.toml", &manifest)], &[]);
        assert_eq!(run.code, Some(2), "{}", run.errors);
        assert!(run.errors.contains(expected) && run.errors.contains(name), "{}", run.errors);
    }
}

#[test]
fn a_key_that_cannot_verify_is_told_once_where_it_is_named() {
    let configuration = format!(
        "{LISTENER}\
[[auth]]
name = \"users\"
[[auth.key]]
algorithm = \"HS256\"
file = \"public.pem\"
[[route]]
path = \"/*\"
auth = \"users\"
respond = {{ body = \"in\" }}
"
    );
    let pem = "\n-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n";
    let run = check(&configuration, &[("public.pem", pem)], &["--json"]);
    assert_eq!(run.code, Some(2), "{}", run.errors);
    let report: serde_json::Value = serde_json::from_str(run.output.trim()).expect("JSON");
    let faults = report["faults"].as_array().expect("faults");
    assert_eq!(faults.len(), 1, "{report:#}");
    assert_eq!((&faults[0]["place"]["line"], &faults[0]["place"]["column"]), (&7.into(), &8.into()), "{report:#}");
    let message = faults[0]["message"].as_str().expect("text");
    assert!(message.contains("public.pem: HS256 needs a secret, and this is a PEM file"), "{message}");
}

#[test]
fn more_isolates_than_a_node_can_have_are_refused_where_they_are_asked_for() {
    let run = check(&format!("{LISTENER}[limits]\nnode_concurrency = 2501\n"), &[], &[]);
    assert_eq!(run.code, Some(2), "{}", run.errors);
    assert!(run.errors.contains("node.toml:4:20") && run.errors.contains("at most 2500"), "{}", run.errors);
    let run = check(&format!("{LISTENER}[limits]\nnode_concurrency = 2500\nwaiting_isolates = 0\n"), &[], &[]);
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

/// Runs a command on a configuration in a folder, with files that hold neither a certificate nor a key.
fn run_in(folder: &std::path::Path, command: &str, configuration: &str) -> Run {
    std::fs::write(folder.join("node.toml"), configuration).expect("a file");
    for name in ["chain.pem", "key.pem", "ca.pem", "users.pem"] {
        std::fs::write(folder.join(name), "nothing of use").expect("a file");
    }
    let mut run = eyot();
    run.args([command, "--config", "node.toml"]).current_dir(folder);
    let output = run.output().expect("it runs");
    Run {
        code: output.status.code(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
    }
}

/// Faults that are found when a file is parsed, when certificates and keys are read, when components are inspected, when origins are made and
/// when routes are put into one table.
const OF_EVERY_KIND: &str = r#"statee = "x"

[[listener]]
address = "127.0.0.1:0"
tls = { certificate = "chain.pem", key = "key.pem" }

[[worker]]
path = "w"

[[origin]]
name = "o"
url = "https://o.example"
certificate_authority = "ca.pem"

[[origin]]
name = "p"
url = "http://p.example"
preserve_host = true
http2 = true

[[auth]]
name = "a"
[[auth.key]]
algorithm = "ES256"
file = "users.pem"

[[route]]
path = "/a/{x}"
origin = "o"
auth = "a"

[[route]]
path = "/a/{y}"
worker = "bad"
"#;

#[test]
fn check_and_serve_tell_the_faults_of_every_kind_together_each_at_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let component = fixtures::text("core-module", folder.path());
    std::fs::create_dir(folder.path().join("w")).expect("a folder");
    let manifest = fixtures::worker("bad", &component, "");
    std::fs::write(folder.path().join("w/eyot.toml"), manifest).expect("a file");
    let check = run_in(folder.path(), "check", OF_EVERY_KIND);
    assert_eq!(check.code, Some(2), "{}", check.errors);
    for (place, what) in [
        ("node.toml:1:1", "unknown key `statee`"),
        ("node.toml:5:23", "chain.pem: "),
        ("node.toml:5:42", "key.pem: "),
        ("node.toml:13:", "certificate_authority"),
        ("node.toml:18:", "preserve_host"),
        ("node.toml:25:", "auth `a`"),
        ("node.toml:32:1", "/a/{y}"),
        ("w/eyot.toml:2:", "core module"),
    ] {
        assert!(check.errors.contains(place) && check.errors.contains(what), "{place} {what} in {}", check.errors);
    }
    assert_eq!(check.errors.matches("core module").count(), 1, "{}", check.errors);
    assert!(!check.errors.contains("cannot serve"), "{}", check.errors);
    let serve = run_in(folder.path(), "serve", OF_EVERY_KIND);
    assert_eq!((serve.code, serve.errors), (Some(2), check.errors));
}

#[test]
fn a_file_that_is_not_there_is_told_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let configuration =
        "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = { certificate = \"none.pem\", key = \"key.pem\" }";
    let run = run_in(folder.path(), "check", configuration);
    assert_eq!(run.errors.matches("none.pem:").count(), 1, "{}", run.errors);
    assert!(run.errors.contains("private key"), "{}", run.errors);
}

#[test]
fn an_address_that_is_taken_is_told_at_its_line_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let configuration = format!("{LISTENER}\n[[listener]]\naddress = \"{address}\"\n[[route]]\nrespond = {{}}");
    let run = run_in(folder.path(), "serve", &configuration);
    assert_eq!(run.code, Some(2), "{}", run.errors);
    for part in ["node.toml:5:11", "the port is in use", "choose another port"] {
        assert!(run.errors.contains(part), "{part} in {}", run.errors);
    }
}

#[test]
fn too_many_isolates_for_the_address_space_are_told_with_the_file_that_asks_for_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let configuration = format!("{LISTENER}\n[[route]]\nrespond = {{}}\n[limits]\nnode_concurrency = 20000");
    let run = run_in(folder.path(), "check", &configuration);
    if run.code == Some(0) {
        return; // There is room for them on this machine.
    }
    assert!(run.errors.contains("node.toml") && run.errors.contains("node_concurrency = 20000"), "{}", run.errors);
}
