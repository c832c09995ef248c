//! Workers that call each other, from outside: by name, in the process, with the limits of each, and told apart from who may not.

mod harness;

use std::time::{Duration, Instant};

use harness::{Answer, Node, escaped, fixtures, until};
use serde_json::{Value, json};

/// A node.toml and the workers of a node, each the fixture with the lines of its eyot.toml, at NAME.test.
fn parts(workers: &[(&str, &str)]) -> (String, Vec<(String, String)>) {
    let files = workers.iter().map(|(name, lines)| {
        // The route is a table: it stands behind the keys.
        let first_table = if lines.starts_with('[') { Some(0) } else { lines.find("\n[") };
        let (keys, tables) = lines.split_at(first_table.unwrap_or(lines.len()));
        let route = format!("[[route]]\nhost = \"{name}.test\"\npath = \"/*\"");
        let lines = format!("{keys}\n{route}\n{tables}");
        (format!("{name}/eyot.toml"), fixtures::worker(name, &fixtures::fixture(), &lines))
    });
    let listed: String = workers.iter().map(|(name, _)| format!("[[worker]]\npath = \"{name}\"\n")).collect();
    (format!("store = \"store\"\n{listed}"), files.collect())
}

fn node(workers: &[(&str, &str)]) -> Node {
    let (configuration, files) = parts(workers);
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    Node::start(&configuration, &files)
}

/// Worker `shop` calls worker `prices`.
fn shop(service: &str, prices: &str) -> Node {
    node(&[
        ("shop", &format!("[[service]]\nworker = \"prices\"\n{service}")),
        ("prices", &format!("callers = [\"shop\"]\n{prices}")),
    ])
}

/// The path at which the fixture asks for this URL, and tells of it.
fn fetching(url: &str, more: &str) -> String {
    format!("/fetch?text=1&url={}&{more}", escaped(url))
}

/// What the worker `shop` tells of its calls of another.
fn calls(node: &Node, worker: &str, path: &str, more: &str) -> Vec<Value> {
    let answer = node.get_from("shop.test", &fetching(&format!("http://{worker}.worker.internal{path}"), more));
    assert_eq!(answer.status, 200, "{path}: {} {}", answer.code(), answer.body);
    answer.json().as_array().expect("a list").clone()
}

fn call(node: &Node, path: &str, more: &str) -> Value {
    calls(node, "prices", path, more).remove(0)
}

fn outcomes(node: &Node, outcome: &str) -> f64 {
    node.metric("eyot_service_calls_total", &format!("outcome=\"{outcome}\",service=\"prices\",worker=\"shop\""))
}

#[test]
fn a_worker_calls_another_by_name_and_gets_its_answer() {
    let node = shop("", "");
    let told = call(&node, "/echo", "method=POST&body=three%20apples&fields=x-note:fresh");
    assert_eq!(told["status"], 200);
    let text = told["text"].as_str().expect("a text");
    let (head, body) = text.split_once('\n').expect("a head and a body");
    assert_eq!(body, "three apples");
    let head: Value = serde_json::from_str(head).expect("JSON");
    assert!(head.to_string().contains("prices.worker.internal"), "{head}");
    assert!(head.to_string().contains("x-note"), "{head}");
    let names = told["names"].to_string();
    assert!(
        !names.contains("x-request-id") && !names.contains("date"),
        "what its client gets is the node's to say: {names}"
    );
    let forged = call(&node, "/bad-header?set=x-request-id&value=forged", "");
    assert!(forged["status"] == 200 && !forged["names"].to_string().contains("x-request-id"), "{forged}");
    assert_eq!(outcomes(&node, "answered"), 2.0);
    let spellings =
        ["http://PRICES.worker.internal/", "http://prices.worker.internal./", "http://prices.worker.internal:80/"];
    for url in spellings {
        let told = node.get_from("shop.test", &fetching(&format!("{url}echo"), "")).json();
        let text = told[0]["text"].as_str().unwrap_or_else(|| panic!("{url}: {told}"));
        assert!(text.contains("\"prices.worker.internal\""), "it has one name: {text}");
    }
}

#[test]
fn a_call_opens_no_socket() {
    let node = shop("[limits]\nsubrequests_concurrent = 20", "");
    let sockets = || {
        let opened = std::fs::read_dir(format!("/proc/{}/fd", node.id())).expect("the node runs");
        let links = opened.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
    };
    call(&node, "/status", "");
    let before = sockets();
    std::thread::scope(|scope| {
        let calling = scope.spawn(|| calls(&node, "prices", "/sleep?ms=1500", "n=20&parallel=1"));
        until("all run", || node.metric("eyot_isolates_in_use", "") == 21.0);
        // The test asks the worker and the operator's listener, each by a connection or two.
        assert!(sockets() <= before + 4, "{} after {before}", sockets());
        assert!(calling.join().expect("it is answered").iter().all(|one| one["status"] == 200));
    });
}

#[test]
fn large_bodies_pass_through_and_are_never_held_whole() {
    let node =
        shop("[limits]\nmemory = \"16MiB\"\ncpu_time = \"20s\"", "[limits]\nmemory = \"16MiB\"\ncpu_time = \"20s\"");
    let url = escaped("http://prices.worker.internal/big-body?mib=64");
    let told = node.get_from("shop.test", &format!("/fetch?url={url}")).json();
    assert_eq!(told[0], json!({ "status": 200, "bytes": 64 << 20, "error": null }));
}

#[test]
fn the_other_worker_learns_who_calls_it_and_who_has_asked() {
    let node = shop("", "");
    assert_eq!(call(&node, "/caller", "")["text"], "\"shop\"\n");
    assert_eq!(node.get_from("prices.test", "/caller").json(), Value::Null, "a client is no worker");
    let client: Value =
        serde_json::from_str(call(&node, "/client", "")["text"].as_str().expect("a text")).expect("JSON");
    assert_eq!(client["address"], "127.0.0.1");
    assert_ne!(client["port"], 0, "the client that has asked the shop");
}

#[test]
fn whoever_works_off_a_queue_calls_on_behalf_of_nobody() {
    let (mut configuration, mut files) = parts(&[("prices", "callers = [\"jobs\"]")]);
    let lines = "kv = [\"seen\"]\n[[queue]]\nname = \"jobs\"\n[[service]]\nworker = \"prices\"\n\
                 [[route]]\nhost = \"jobs.test\"\npath = \"/*\"";
    configuration.push_str("[[worker]]\npath = \"jobs\"\n");
    files.push(("jobs/eyot.toml".to_owned(), fixtures::worker("jobs", &fixtures::queue(), lines)));
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let node = Node::start(&configuration, &files);
    assert_eq!(node.get_from("jobs.test", "/send?queue=jobs&body=ask%20prices").status, 200);
    let line = || node.log().lines().find(|line| line.contains("address:")).map(str::to_owned);
    until("it is told who has asked", || line().is_some());
    let line = line().unwrap_or_default();
    assert!(line.contains("address:127.0.0.1,") && line.contains("port:0,"), "this node, by no connection: {line}");
}

#[test]
fn who_is_not_listed_calls_nobody_and_the_log_says_what_to_add() {
    let node = node(&[
        ("shop", "[[service]]\nworker = \"prices\"\n[[service]]\nworker = \"nobody\""),
        ("prices", "callers = [\"other\"]"),
        ("other", "callers = [\"shop\"]"),
    ]);
    for (worker, told) in [
        ("prices", "worker prices does not list shop; add callers = [\\\"shop\\\"] to its eyot.toml"),
        ("nobody", "no worker nobody serves here"),
        (
            "other",
            "worker other is not among what this worker may call; add [[service]] worker = \\\"other\\\" to eyot.toml",
        ),
    ] {
        assert_eq!(calls(&node, worker, "/status", "").remove(0)["error"], "HttpRequestDenied", "{worker}");
        until(told, || node.log().replace('"', "\\\"").replace("\\\\", "\\").contains(told));
    }
    assert_eq!(outcomes(&node, "denied"), 1.0);
    for url in ["https://prices.worker.internal/", "http://prices.worker.internal:81/"] {
        assert_eq!(node.get_from("shop.test", &fetching(url, "")).json()[0]["error"], "HttpRequestDenied", "{url}");
    }
}

#[test]
fn what_the_other_worker_fails_at_is_an_answer_as_a_client_would_get_it() {
    let node = shop("", "[limits]\ncpu_time = \"100ms\"\nconcurrency = 1\nqueue = 0\nrequest_body = \"10B\"");
    for (path, status, code) in [("/trap", 500, "worker_trapped"), ("/spin", 500, "worker_cpu_exceeded")] {
        let told = call(&node, path, "");
        assert_eq!((&told["status"], &told["failure"]), (&json!(status), &json!(code)), "{path}");
        assert_eq!(node.metric("eyot_failures_total", &format!("code=\"{code}\",target=\"prices\"")), 1.0);
        // It is answered before all that the isolate has had is cleared, which keeps its permit.
        until("its isolate is gone", || node.metric("eyot_isolates_in_use", "") == 0.0);
    }
    let told = call(&node, "/read-body", "method=POST&body=more%20than%20ten%20bytes");
    assert_eq!((&told["status"], &told["failure"]), (&json!(413), &json!("request_body_too_large")));
    let told = calls(&node, "prices", "/sleep?ms=300", "n=2&parallel=1");
    let mut statuses: Vec<_> = told.iter().map(|one| one["status"].as_u64()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [Some(200), Some(503)], "it has one permit, and no queue");
    assert_eq!(outcomes(&node, "failed"), 3.0, "413 is the caller's fault");
}

#[test]
fn what_the_other_worker_uses_is_not_the_callers() {
    let node =
        shop("[limits]\ncpu_time = \"100ms\"\nmemory = \"8MiB\"", "[limits]\ncpu_time = \"5s\"\nmemory = \"128MiB\"");
    assert_eq!(call(&node, "/spin-ms?ms=400", "")["status"], 200);
    assert_eq!(call(&node, "/grow?mib=64", "")["status"], 200);
}

#[test]
fn a_call_ends_at_its_time_and_with_whoever_waits_for_it() {
    let node = shop("timeout = \"200ms\"", "");
    let began = Instant::now();
    let told = call(&node, "/sleep?ms=20000", "");
    assert_eq!((&told["status"], &told["failure"]), (&json!(504), &json!("worker_timeout")));
    assert!(began.elapsed() < Duration::from_secs(5));
    // The guest may ask for less, not for more.
    let began = Instant::now();
    assert_eq!(call(&node, "/sleep?ms=20000", "first-byte=60000")["status"], 504);
    assert!(began.elapsed() < Duration::from_secs(5));
    drop(node);

    let node = shop("[limits]\nwall_time = \"300ms\"", "");
    let url = fetching("http://prices.worker.internal/sleep?ms=20000", "");
    let began = Instant::now();
    let answer = node.get_from("shop.test", &url);
    // It is the same moment for both: the caller may hear of the other's end before its own.
    assert!(answer.code() == "worker_timeout" || answer.json()[0]["failure"] == "worker_timeout", "{}", answer.body);
    assert!(began.elapsed() < Duration::from_secs(5), "the caller has no more time");
    until("the other one has ended, too", || node.metric("eyot_isolates_in_use", "") == 0.0);
}

#[test]
fn a_deadline_goes_on_to_those_that_are_called_in_turn() {
    let node = node(&[
        ("shop", "[[service]]\nworker = \"prices\"\ntimeout = \"400ms\""),
        ("prices", "callers = [\"shop\"]\n[[service]]\nworker = \"rates\""),
        ("rates", "callers = [\"prices\"]"),
    ]);
    let inner = fetching("http://rates.worker.internal/sleep?ms=20000", "");
    let began = Instant::now();
    let told = call(&node, &inner, "");
    // It is the same moment for both: the one in the middle may hear of the other's end before its own.
    let is_over = |told: &Value| told["failure"] == "worker_timeout";
    let inner = told["text"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    assert!(is_over(&told) || inner.is_some_and(|inner| is_over(&inner[0])), "{told}");
    assert!(began.elapsed() < Duration::from_secs(5));
    until("all have ended", || node.metric("eyot_isolates_in_use", "") == 0.0);
    assert_eq!(node.metric("eyot_service_calls_total", "service=\"rates\""), 1.0);
}

#[test]
fn a_call_that_failed_is_made_again_where_that_is_safe() {
    let node = shop("retries = 2", "kv = [\"n\"]");
    assert_eq!(call(&node, "/fail-first?ns=n&key=a&n=2", "")["status"], 200, "the third time");
    assert_eq!((outcomes(&node, "failed"), outcomes(&node, "retried"), outcomes(&node, "answered")), (2.0, 2.0, 1.0));
    assert_eq!(call(&node, "/fail-first?ns=n&key=b&n=3", "")["status"], 503, "three times in all");
    assert_eq!(call(&node, "/fail-first?ns=n&key=c&n=1", "method=POST")["status"], 503, "POST is not idempotent");
    assert_eq!(call(&node, "/fail-first?ns=n&key=d&n=1", "method=PUT&body=once")["status"], 503, "its content is gone");
    assert_eq!(outcomes(&node, "retried"), 4.0);
}

#[test]
fn retries_have_a_budget_so_that_they_are_no_flood() {
    let node = shop("retries = 5\nretry_budget = \"10%\"\n[limits]\nsubrequests = 1000\ncpu_time = \"20s\"", "");
    let told = calls(&node, "prices", "/status?code=500", "n=300&parallel=1");
    assert!(told.iter().all(|one| one["status"] == 500));
    let retried = outcomes(&node, "retried");
    // A hundred for whoever seldom calls, and a tenth of the calls; by 5 retries each it would be 1500.
    assert!((50.0..=160.0).contains(&retried), "{retried}");
}

#[test]
fn a_breaker_opens_when_most_calls_fail_and_closes_when_they_do_not() {
    let node = shop("breaker = \"50%\"\nbreaker_calls = 4\nbreaker_wait = \"300ms\"", "kv = [\"n\"]");
    for _ in 0..5 {
        assert_eq!(call(&node, "/status?code=500", "")["status"], 500);
    }
    assert_eq!(call(&node, "/status", "")["error"], "DestinationUnavailable", "nothing is asked any more");
    assert_eq!(outcomes(&node, "rejected"), 1.0);
    until("it is tried again", || call(&node, "/status", "")["status"] == 200);
    let told: Vec<_> = (0..10).map(|_| call(&node, "/status", "")["status"].clone()).collect();
    assert!(told.iter().all(|status| *status == 200), "{told:?}");
}

#[test]
fn what_could_not_be_called_opens_no_breaker() {
    let breaker = "breaker = \"10%\"\nbreaker_calls = 2\nbreaker_wait = \"10m\"";
    let node = node(&[("shop", &format!("[[service]]\nworker = \"prices\"\n{breaker}"))]);
    for _ in 0..10 {
        assert_eq!(call(&node, "/status", "")["error"], "HttpRequestDenied", "it is told what is wrong each time");
    }
    assert_eq!((outcomes(&node, "denied"), outcomes(&node, "rejected")), (10.0, 0.0));
}

#[test]
fn a_caller_of_wasi_0_3_is_charged_its_own_time_alone() {
    let route = |name: &str| format!("[[route]]\nhost = \"{name}.test\"\npath = \"/*\"");
    let shop = format!("{}\n[[service]]\nworker = \"prices\"\n[limits]\ncpu_time = \"150ms\"", route("shop"));
    let prices = format!("callers = [\"shop\"]\n{}\n[limits]\ncpu_time = \"5s\"", route("prices"));
    let files = [
        ("shop/eyot.toml", &*fixtures::worker("shop", &fixtures::fixture3(), &shop)),
        ("prices/eyot.toml", &*fixtures::worker("prices", &fixtures::fixture(), &prices)),
    ];
    let node = Node::start("[[worker]]\npath = \"shop\"\n[[worker]]\npath = \"prices\"\n", &files);
    let path = format!("/fetch?url={}", escaped("http://prices.worker.internal/spin-ms?ms=500"));
    let answer = node.get_from("shop.test", &path);
    assert_eq!(answer.status, 200, "{} {}", answer.code(), answer.body);
    assert!(answer.body.contains("200"), "{}", answer.body);
    assert_eq!(outcomes(&node, "answered"), 1.0);
}

#[test]
fn a_call_is_written_down_in_the_trace_and_by_the_id_of_its_request() {
    let (configuration, files) =
        parts(&[("shop", "[[service]]\nworker = \"prices\""), ("prices", "callers = [\"shop\"]")]);
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let node = Node::start_logged(&configuration, &files);
    let path = fetching("http://prices.worker.internal/status", "");
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = node.request("GET", &path).header("host", "shop.test").header("traceparent", traceparent);
    let answer = Answer::of(request.header("x-request-id", "request-7"));
    assert_eq!(answer.status, 200);
    let written = || -> Vec<Value> {
        let log = node.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["request_id"] == "request-7" && line["status"] == 200).collect()
    };
    until("both are written down", || written().len() == 2);
    let lines = written();
    let of = |worker: &str| lines.iter().find(|line| line["worker"] == worker).expect("a line").clone();
    let (shop, prices) = (of("shop"), of("prices"));
    assert_eq!((&shop["caller"], &prices["caller"]), (&Value::Null, &json!("shop")));
    assert_eq!(prices["host"], "prices.worker.internal");
    for line in [shop, prices] {
        assert_eq!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    }
}

#[test]
fn a_call_leads_to_whatever_version_serves_then() {
    let (_, files) = parts(&[
        ("shop", "[[service]]\nworker = \"prices\""),
        ("prices", "callers = [\"shop\"]\n[config]\nanswer = \"old\""),
    ]);
    let folder = tempfile::tempdir().expect("a folder");
    for (path, text) in &files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("it can be written");
    }
    let node = Node::dev(folder.path(), &[]);
    let config = || call(&node, "/config?key=answer", "")["text"].clone();
    assert_eq!(config(), "\"old\"\n");
    let (path, text) = &files[1];
    std::fs::write(folder.path().join(path), text.replace("\"old\"", "\"new\"")).expect("it can be written");
    until("the new one answers", || config() == "\"new\"\n");
}
