//! eyot.toml.

use std::path::Path;

use super::super::{Build, Methods, Node, Target};
use super::{LimitTable, Worker, assert_faults, faults, folder, worker_faults};

pub(super) const WHOLE: &str = r#"
name = "api"
component = "dist/api.wasm"
origins = ["shop"]
egress = ["https://api.example.com", "*.example.com:8443", "http://x.test:8080"]
auth = "members"
isolate = "reuse"
allow_addresses = ["10.0.0.0/8", "::1"]

[build]
command = "make"

[env]
LOG = "debug"

[config]
"greeting.de" = "Hallo"

[limits]
cpu_time = "50ms"

[[route]]
host = "Bücher.example"
path = "/users/{id}"
methods = ["GET", "PURGE"]
auth = "admins"

[[route]]
host = "*.example.com"
"#;

#[test]
fn a_whole_file_is_read_into_typed_values() {
    let root = folder(&[("eyot.toml", WHOLE)]);
    let worker = Worker::load(root.path(), &LimitTable::builtin()).unwrap();
    assert_eq!(worker.name, "api");
    assert_eq!(worker.component, root.path().join("dist/api.wasm"));
    assert_eq!(worker.build, Build::Command("make".into()));
    assert_eq!((worker.env["LOG"].as_str(), worker.config["greeting.de"].as_str()), ("debug", "Hallo"));
    assert_eq!((worker.origins.as_slice(), worker.auth.as_deref()), (&["shop".to_owned()][..], Some("members")));
    assert_eq!((worker.egress.len(), worker.allow_addresses.len(), worker.reuse), (3, 2, true));
    assert_eq!(worker.limits.cpu_time, std::time::Duration::from_millis(50));
    let route = &worker.routes[0];
    let host = route.host.as_ref().map(ToString::to_string);
    assert_eq!((host.as_deref(), &*route.path.to_string()), (Some("xn--bcher-kva.example"), "/users/{id}"));
    assert_eq!(route.target, Target::Worker("api".into()));
    assert_eq!((route.auth.as_deref(), route.place.line, route.place.column), (Some("admins"), 22, 1));
    assert_eq!((&*worker.routes[1].path.to_string(), &worker.routes[1].methods), ("/*", &Methods::Any));
}

#[test]
fn the_file_and_its_folder_both_name_the_worker() {
    let root = folder(&[("eyot.toml", "name = \"a\"\n"), ("a.wasm", "")]);
    for path in [root.path().to_owned(), root.path().join("eyot.toml")] {
        let worker = Worker::load(&path, &LimitTable::builtin()).unwrap();
        assert_eq!((worker.folder.as_path(), worker.component), (root.path(), root.path().join("a.wasm")));
        assert_eq!(worker.build, Build::None);
    }
}

#[test]
fn a_folder_of_cargo_is_built_by_cargo() {
    let manifest = "[package]\nname = \"my-api\"\n[lib]\ncrate-type = [\"cdylib\"]\n";
    let root = folder(&[("eyot.toml", "name = \"a\"\n"), ("Cargo.toml", manifest)]);
    let worker = Worker::load(root.path(), &LimitTable::builtin()).unwrap();
    assert_eq!(worker.build, Build::Cargo);
    assert!(worker.component.ends_with(Path::new("wasm32-wasip2/release/my_api.wasm")), "{:?}", worker.component);
    assert!(worker.component.is_absolute());
    let found = worker_faults(&[("eyot.toml", "name = \"a\"\n"), ("Cargo.toml", "[workspace]\n")]);
    assert_faults(&found, &["eyot.toml:1:1: eyot.toml: Cargo.toml does not tell where the component lies"]);
}

#[test]
fn all_faults_of_a_file_are_reported_together_at_their_places() {
    let text = r#"nam = "api"
name = "My_Api"
component = 5
origins = ["Shop", 7]
egress = ["ftp://a", "https://b.example/path"]
allow_addresses = []
build = { comand = "x" }

[env]
PORT = 8080
"A=B" = "x"

[[route]]
host = "example.com:80"
path = "users"
methods = ["get", "TRACE", "PUT", "PUT"]
worker = "other"

[[route]]
methods = []
"#;
    assert_faults(
        &worker_faults(&[("eyot.toml", text)]),
        &[
            "eyot.toml:1:1: unknown key `nam` in eyot.toml",
            "eyot.toml:2:8: bad `name` \"My_Api\": a name is 1 to 63 lower-case letters",
            "eyot.toml:3:13: `component` must be the path of a component, not the integer 5",
            "eyot.toml:4:12: bad `origins` \"Shop\"",
            "eyot.toml:4:20: `origins` must be a list of names of origins, not the integer 7",
            "eyot.toml:5:11: bad `egress` \"ftp://a\": its scheme",
            "eyot.toml:5:22: bad `egress` \"https://b.example/path\": a destination is a host",
            "eyot.toml:6:19: `allow_addresses` allows nobody",
            "eyot.toml:7:9: [build]: `command` is missing",
            "eyot.toml:7:11: unknown key `comand` in [build]",
            "eyot.toml:10:8: `PORT` must be a string, not the integer 8080",
            "eyot.toml:11:1: bad `env` \"A=B\"",
            "eyot.toml:14:8: bad `host` \"example.com:80\": it has a port",
            "eyot.toml:15:8: bad `path` \"users\": it does not start with `/`",
            "eyot.toml:16:12: bad `methods` \"get\": methods are written in upper case",
            "eyot.toml:16:19: bad `methods` \"TRACE\"",
            "eyot.toml:16:35: PUT is listed twice in `methods`",
            "eyot.toml:17:1: unknown key `worker` in [[route]]",
            "eyot.toml:20:11: `methods` is empty",
        ],
    );
}

#[test]
fn a_fault_says_what_to_do() {
    let root = folder(&[("eyot.toml", "nam = \"api\"\n[env]\nPORT = 80\n")]);
    let error = Worker::load(root.path(), &LimitTable::builtin()).unwrap_err();
    let helps: Vec<&str> = error.0.iter().filter_map(|fault| fault.help.as_deref()).collect();
    assert_eq!(helps.len(), error.0.len());
    assert!(
        helps.iter().any(|help| help.starts_with("did you mean `name`? known keys: allow_addresses, auth, ")),
        "{helps:?}"
    );
    assert!(helps.contains(&"add `name = \"shop\"`"), "{helps:?}");
    assert!(helps.contains(&"put it in quotes: \"80\""), "{helps:?}");
}

#[test]
fn a_route_may_demand_the_way_to_authenticate_that_its_own_file_defines() {
    let text = |demanded: &str| {
        format!(
            "name = \"a\"\n[auth]\nname = \"users\"\nkey = [{{ algorithm = \"ES256\", file = \"k\" }}]\n\
             [[route]]\npath = \"/\"\nauth = \"{demanded}\"\n"
        )
    };
    let found = |demanded| {
        let node = "[[listener]]\naddress = \"127.0.0.1:0\"\n[[worker]]\npath = \"a\"\n";
        let root = folder(&[("node.toml", node), ("a/eyot.toml", &text(demanded)), ("a/a.wasm", ""), ("a/k", "")]);
        let result = Node::load(&root.path().join("node.toml"), None);
        result.map_or_else(|error| faults(root.path(), &error), |_| Vec::new())
    };
    assert_eq!(found("users"), Vec::<String>::new());
    assert_eq!(found("guests").len(), 1);
}

#[test]
fn a_component_that_nothing_makes_must_be_there() {
    let found = worker_faults(&[("eyot.toml", "name = \"a\"\n")]);
    assert_faults(&found, &["eyot.toml:1:8: there is no component "]);
    let found = worker_faults(&[("eyot.toml", "name = \"a\"\ncomponent = \"b.wasm\"\n")]);
    assert_faults(&found, &["eyot.toml:2:13: there is no component "]);
    let root = folder(&[("eyot.toml", "name = \"a\"\nbuild.command = \"make\"\n")]);
    assert!(Worker::load(root.path(), &LimitTable::builtin()).is_ok());
}

#[test]
fn tables_and_lists_of_the_wrong_type_are_faults() {
    let text = "name = \"a\"\norigins = \"shop\"\nenv = 1\nroute = { path = \"/\" }\nbuild = []\nlimits = [1]\nconfig = \"x\"\n";
    assert_faults(
        &worker_faults(&[("eyot.toml", text), ("a.wasm", "")]),
        &[
            "eyot.toml:2:11: `origins` must be a list of names of origins, not the string \"shop\"",
            "eyot.toml:3:7: `env` must be a table, not the integer 1",
            "eyot.toml:4:9: `route` must be a list of tables, not a table",
            "eyot.toml:5:9: `build` must be a table, not a list",
            "eyot.toml:6:10: `limits` must be a table, not a list",
            "eyot.toml:7:10: `config` must be a table, not the string \"x\"",
        ],
    );
}

#[test]
fn queues_are_read_with_their_values_and_what_is_left_out_is_as_the_page_says() {
    let text = r#"name = "a"
sends = ["mailer/mail"]
[[queue]]
name = "all"
producers = ["shop"]
batch = 1000
batch_bytes = "16MiB"
batch_wait = "1h"
concurrency = 64
attempts = 1000
retry = "1ms"
retry_max = "1day"
lease = "12h"
retention = "366days"
dead_letter = "gone"
[[queue]]
name = "plain"
"#;
    let root = folder(&[("eyot.toml", text), ("a.wasm", "")]);
    let worker = Worker::load(root.path(), &LimitTable::builtin()).unwrap();
    let [all, plain] = &worker.queues[..] else { panic!("{:?}", worker.queues) };
    assert_eq!((all.batch, all.batch_bytes, all.concurrency, all.attempts), (1000, 16 << 20, 64, 1000));
    assert_eq!((&*all.dead_letter, all.producers.as_slice()), ("gone", &["shop".to_owned()][..]));
    assert_eq!((all.lease.as_secs(), all.retention.as_secs()), (12 * 3600, 366 * 24 * 3600));
    assert_eq!((&*plain.dead_letter, plain.batch, plain.attempts, plain.lease.as_secs()), ("plain-dead", 10, 5, 60));
    assert_eq!((&*worker.sends[0].worker, &*worker.sends[0].queue), ("mailer", "mail"));
}

#[test]
fn services_are_read_with_their_values_and_what_is_left_out_is_as_the_page_says() {
    let text = r#"name = "a"
callers = ["b", "c"]
[[service]]
worker = "all"
timeout = "10m"
retries = 5
retry_budget = "50%"
breaker = "12.5%"
breaker_calls = 1000
breaker_wait = "1ms"
[[service]]
worker = "plain"
"#;
    let root = folder(&[("eyot.toml", text), ("a.wasm", "")]);
    let worker = Worker::load(root.path(), &LimitTable::builtin()).unwrap();
    assert_eq!(worker.callers, ["b", "c"]);
    let [all, plain] = &worker.services[..] else { panic!("{:?}", worker.services) };
    assert_eq!((all.timeout.unwrap().as_secs(), all.retries, all.breaker_calls), (600, 5, 1000));
    assert_eq!((all.retry_budget, all.breaker, all.breaker_wait.as_millis()), (0.5, Some(0.125), 1));
    assert_eq!((plain.timeout, plain.retries, plain.breaker, plain.breaker_calls), (None, 0, None, 20));
    assert_eq!((plain.retry_budget, plain.breaker_wait.as_secs()), (0.2, 5));
}

#[test]
fn what_no_service_can_be_is_a_fault_at_its_place() {
    let text = r#"name = "a"
callers = ["b", "b", "B"]
[[service]]
worker = "one"
timeout = "11m"
retries = 6
retry_budget = "20"
breaker = "100%"
breaker_calls = 0
[[service]]
worker = "two"
retry_budget = "20%"
breaker_calls = 10
breaker_wait = "1s"
[[service]]
worker = "two"
[[service]]
worker = "a"
[[service]]
timeout = "1s"
"#;
    let starts = [
        "eyot.toml:2:17: it stands in `callers` twice",
        "eyot.toml:2:22: bad `callers` \"B\"",
        "eyot.toml:5:11: bad `timeout` \"11m\": it is 10 minutes at most",
        "eyot.toml:6:11: `retries` is 6, and may be 0 to 5",
        "eyot.toml:7:16: bad `retry_budget` \"20\"",
        "eyot.toml:8:11: bad `breaker` \"100%\"",
        "eyot.toml:9:17: `breaker_calls` is 0, and may be 1 to 1000",
        "eyot.toml:12:16: `retry_budget` says nothing without `retries`",
        "eyot.toml:13:17: `breaker_calls` says nothing without `breaker`",
        "eyot.toml:14:16: `breaker_wait` says nothing without `breaker`",
        "eyot.toml:16:10: there are two [[service]] with worker = `two`",
        "eyot.toml:18:10: a worker is no service of its own",
        "eyot.toml:19:1: ",
    ];
    assert_faults(&worker_faults(&[("eyot.toml", text), ("a.wasm", "")]), &starts);
}

#[test]
fn what_no_queue_and_no_schedule_can_be_is_a_fault_at_its_place() {
    let text = r#"name = "a"
sends = ["mail", "mailer/mail", "mailer/mail"]
[[queue]]
name = "one"
batch = 1001
batch_bytes = "17MiB"
concurrency = 0
lease = "999ms"
retention = "0s"
[[queue]]
name = "two"
retry = "10s"
retry_max = "9s"
dead_letter = "two"
[[queue]]
name = "two"
[[schedule]]
name = "both"
cron = "0 3 * * *"
at = "2027-01-01T00:00:00Z"
[[schedule]]
name = "words"
cron = "0 3 * * *"
overlap = "never"
catch_up = "some"
"#;
    let starts = [
        "eyot.toml:2:10: bad `sends` \"mail\": it names no worker",
        "eyot.toml:2:33: it stands in `sends` twice",
        "eyot.toml:5:9: `batch` is 1001, and may be 1 to 1000",
        "eyot.toml:6:15: bad `batch_bytes` \"17MiB\"",
        "eyot.toml:7:15: `concurrency` is 0, and may be 1 to 64",
        "eyot.toml:8:9: bad `lease` \"999ms\"",
        "eyot.toml:9:13: bad `retention` \"0s\"",
        "eyot.toml:13:13: `retry_max` is less than `retry`",
        "eyot.toml:14:15: a queue cannot be that of its own dead letters",
        "eyot.toml:16:8: there are two [[queue]] with the name `two`",
        "eyot.toml:20:6: a schedule has either `cron` or `at`",
        "eyot.toml:24:11: bad `overlap` \"never\"",
        "eyot.toml:25:12: bad `catch_up` \"some\"",
    ];
    assert_faults(&worker_faults(&[("eyot.toml", text), ("a.wasm", "")]), &starts);
}
