//! The files by which systemd and Kubernetes run a node fit the node.

mod harness;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use harness::eyot;
use serde_json::Value;

fn file(path: &str) -> PathBuf {
    harness::root().join("packaging").join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(file(path)).expect("a file")
}

/// The lines of a unit, by their keys.
fn unit(path: &str) -> BTreeMap<String, Vec<String>> {
    let mut keys = BTreeMap::<_, Vec<_>>::new();
    for (key, value) in text(path).lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='))
    {
        keys.entry(key.to_owned()).or_default().push(value.to_owned());
    }
    keys
}

/// A limit that is effective with these arguments.
fn limit(name: &str, arguments: &[&str]) -> String {
    let output = eyot().arg("limits").args(arguments).output().expect("it runs");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    let row = table.lines().find(|line| line.split_whitespace().next() == Some(name));
    let row = row.unwrap_or_else(|| panic!("no limit {name}:\n{table}"));
    row.split_whitespace().nth(1).expect("a value").to_owned()
}

fn time(text: &str) -> Duration {
    humantime::parse_duration(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn bytes(text: &str) -> u64 {
    let text = text.replace("Mi", "MiB").replace("MiBB", "MiB").replace("Gi", "GiB").replace("GiBB", "GiB");
    text.parse::<bytesize::ByteSize>().unwrap_or_else(|error| panic!("{text}: {error}")).as_u64()
}

/// After what is left of logs and spans has been written, too.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Every document of kubernetes.yaml.
fn manifests() -> Vec<Value> {
    serde_saphyr::from_multiple(&text("container/kubernetes.yaml")).expect("YAML")
}

fn manifest(kind: &str) -> Value {
    manifests().into_iter().find(|one| one["kind"] == kind).unwrap_or_else(|| panic!("a {kind}"))
}

fn checked(node: &str, folder: &std::path::Path) -> String {
    std::fs::write(folder.join("node.toml"), node).expect("a file");
    let output = eyot().args(["check", "--config"]).arg(folder.join("node.toml")).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn systemd_waits_for_as_long_as_a_node_drains_and_leaves_room_for_two() {
    let service = unit("systemd/eyot.service");
    let value = |key: &str| service[key].last().expect("a value").as_str();
    let drains = time(&limit("drain", &[])) + time(&limit("drain_delay", &[]));
    assert!(time(value("TimeoutStopSec")) >= drains + LAST_WORDS);
    assert_eq!((value("Type"), value("NotifyAccess"), value("KillMode")), ("notify", "main", "mixed"));
    let memory = bytes(&value("MemoryMax").replace('G', "GiB"));
    assert!(memory > bytes(&limit("process_memory", &[])) * 2, "two processes serve in an upgrade");
    assert!(value("ExecStart").contains("--state ${STATE_DIRECTORY}"), "an upgrade needs a state folder");
}

#[test]
fn each_socket_of_the_unit_is_a_listener_of_the_configuration_beside_it() {
    let sockets = unit("systemd/eyot.socket");
    let node = text("systemd/node.toml");
    for address in &sockets["ListenStream"] {
        assert!(node.contains(&format!("address = \"{address}\"")), "{address}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let key = rcgen::generate_simple_self_signed(["shop.test".to_owned()]).expect("a certificate");
    std::fs::create_dir(folder.path().join("tls")).expect("a folder");
    std::fs::write(folder.path().join("tls/chain.pem"), key.cert.pem()).expect("a file");
    std::fs::write(folder.path().join("tls/key.pem"), key.signing_key.serialize_pem()).expect("a file");
    checked(&node, folder.path());
}

#[test]
fn systemd_itself_finds_nothing_wrong_with_the_units() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["eyot.service", "eyot.socket"] {
        // The binary is not installed here.
        let binary = eyot().get_program().to_str().expect("text").to_owned();
        let unit = text(&format!("systemd/{name}")).replace("ExecStart=/usr/bin/eyot", &format!("ExecStart={binary}"));
        std::fs::write(folder.path().join(name), unit).expect("a file");
    }
    let paths = ["eyot.service", "eyot.socket"].map(|name| folder.path().join(name));
    let verified = match Command::new("systemd-analyze").args(["verify", "--man=no"]).args(paths).output() {
        Ok(output) => output,
        Err(error) => {
            let why = format!("SKIPPED: systemd-analyze cannot be run: {error}");
            assert!(std::env::var_os("EYOT_TESTS_SKIP_NOTHING").is_none(), "{why}");
            eprintln!("{why}");
            return;
        }
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    // It looks at what is installed here, too.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("eyot")).collect();
    assert!(ours.is_empty() && verified.status.success(), "{said}");
}

#[test]
fn kubernetes_waits_for_as_long_as_a_node_drains_and_asks_it_what_it_answers() {
    let (configuration, deployment) = (manifest("ConfigMap"), manifest("Deployment"));
    let folder = tempfile::tempdir().expect("a folder");
    let node = configuration["data"]["node.toml"].as_str().expect("a text");
    checked(node, folder.path());
    let arguments = ["--config", folder.path().join("node.toml").to_str().expect("text")].map(str::to_owned);
    let effective = |name: &str| limit(name, &arguments.each_ref().map(String::as_str));
    let pod = &deployment["spec"]["template"]["spec"];
    let grace = Duration::from_secs(pod["terminationGracePeriodSeconds"].as_u64().expect("a number"));
    assert!(grace >= time(&effective("drain")) + time(&effective("drain_delay")) + LAST_WORDS, "{grace:?}");
    let container = &pod["containers"][0];
    let memory = bytes(container["resources"]["limits"]["memory"].as_str().expect("a size"));
    assert!(memory >= bytes(&effective("process_memory")) + bytes("512MiB"), "room for what compiles");
    for (probe, what) in [("startupProbe", "ready"), ("readinessProbe", "ready"), ("livenessProbe", "live")] {
        let command = container[probe]["exec"]["command"].as_array().expect("a command");
        assert_eq!(command[1..], [Value::from("probe"), Value::from(what)], "{probe}");
        assert!(container[probe]["timeoutSeconds"].as_u64() > Some(1), "{probe} waits for as long as it is answered");
    }
    // Not ready for long enough before nothing is taken any more.
    let period = container["readinessProbe"]["periodSeconds"].as_u64().expect("a number");
    assert!(time(&effective("drain_delay")) > Duration::from_secs(period));
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert!(node.contains(&format!("0.0.0.0:{}", container["ports"][0]["containerPort"])));
}

#[test]
fn the_container_runs_as_nobody_and_is_asked_by_a_probe_that_is_there() {
    let file = text("container/Containerfile");
    let line = |name: &str| file.lines().rfind(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}"));
    assert_eq!(line("USER"), "USER 65532:65532");
    assert_eq!(line("STOPSIGNAL"), "STOPSIGNAL SIGTERM");
    assert!(line("HEALTHCHECK").ends_with("CMD [\"/usr/bin/eyot\", \"probe\", \"live\"]"));
    let user = &manifest("Deployment")["spec"]["template"]["spec"]["securityContext"];
    assert_eq!((&user["runAsUser"], &user["runAsNonRoot"]), (&Value::from(65532), &Value::from(true)));
}
