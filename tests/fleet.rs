//! A fleet from outside: nodes that name the same NATS server serve the same, agree on who does what is due, and go on when it goes away.

mod harness;
#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "deploy/operator.rs"]
mod operator;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use harness::servers::{Server, Synced};
use harness::{LISTENERS, Node, eyot, fixtures, until};
use operator::{Operator, asked, manifest};
use serde_json::Value;

const NAMES: [&str; 3] = ["edge-a", "edge-b", "edge-c"];

/// So often each node deploys, while the others do.
const ROUNDS: usize = 10;

/// A deployment is served by all nodes within this time, once they have compiled it.
const SOON: Duration = Duration::from_secs(1);

fn member(server: &Server, name: &str) -> Node {
    let fleet = server.declared("fleet");
    let fleet = format!("{fleet}name = \"{name}\"\n");
    Node::start_exactly(&format!("store = \"store\"\nstate = \"state\"\n{fleet}{LISTENERS}"), &[])
}

fn members(server: &Server) -> Vec<Node> {
    NAMES.iter().map(|name| member(server, name)).collect()
}

/// Until every node has a version, compiled.
fn until_all_have(nodes: &[Node], worker: &str, version: u64) {
    for node in nodes {
        let path = format!("/v1/workers/{worker}/versions/{version}");
        until("a version comes", || Operator::first(node).get(&path).status == 200);
    }
}

/// Has a version serve, and says how long it took until the last node served it.
fn deployed(nodes: &[Node], by: usize, worker: &str, is: &str) -> Duration {
    let operator = Operator::first(&nodes[by]);
    let version = operator.version(worker, is);
    until_all_have(nodes, worker, version);
    operator.serve(worker, version);
    let began = Instant::now();
    for node in nodes {
        until(is, || served(node, worker).as_deref() == Some(is));
    }
    began.elapsed()
}

/// Which version answers, if one does.
fn served(node: &Node, worker: &str) -> Option<String> {
    let answer = node.get_from(&format!("{worker}.example"), "/config?key=is");
    (answer.status == 200).then(|| answer.json().as_str().expect("a text").to_owned())
}

/// What `eyot nodes` says.
fn nodes_of(node: &Node) -> Vec<Value> {
    let mut command = eyot();
    command.args(["nodes", "--json", "--admin", &format!("http://{}", node.admin.expect("an admin listener"))]);
    let output = command.env("EYOT_TOKEN_FILE", node.folder.path().join("store/admin.token")).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    told["nodes"].as_array().expect("a list").clone()
}

fn readiness(node: &Node) -> String {
    let url = format!("http://{}/readyz", node.admin.expect("an admin listener"));
    let answer = harness::client().get(url).send().expect("an answer");
    assert_eq!(answer.status(), 200);
    answer.text().expect("text")
}

/// The eyot.toml of a worker that works off a queue and counts in its keys and values.
fn jobs(lines: &str) -> String {
    format!(
        "name = \"jobs\"\nkv = [\"seen\"]\n[[queue]]\nname = \"jobs\"\nlease = \"2s\"\nbatch = 1\n{lines}\n\
         [[route]]\nhost = \"jobs.example\"\npath = \"/*\"\n"
    )
}

/// Deploys a worker with this eyot.toml, until all nodes serve it.
fn deploy(nodes: &[Node], worker: &str, manifest: &str) {
    let operator = Operator::first(&nodes[0]);
    let added = operator.add(worker, manifest, &fixtures::queue());
    assert_eq!(added.status, 201, "{}", added.body);
    operator.serve(worker, added.json()["version"].as_u64().expect("a number"));
    for node in nodes {
        until("it serves", || node.get_from(&format!("{worker}.example"), "/seen?key=nothing").status == 200);
    }
}

fn seen(node: &Node, key: &str) -> u64 {
    let answer = node.get_from("jobs.example", &format!("/seen?key={key}"));
    answer.json().as_str().map_or(0, |text| text.parse().unwrap_or(1))
}

#[test]
fn a_deploy_on_one_node_is_served_by_all_within_a_second_and_no_request_is_lost() {
    let Some(server) = Server::nats(Synced::Always) else { return };
    let nodes = members(&server);
    deployed(&nodes, 0, "shop", "one");
    let (over, asked_for) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        for node in &nodes {
            let (over, asked_for) = (&over, &asked_for);
            scope.spawn(move || {
                while !over.load(Relaxed) {
                    assert!(served(node, "shop").is_some(), "the old version answers until the new one does");
                    asked_for.fetch_add(1, Relaxed);
                }
            });
        }
        for (number, by) in [1, 2, 0].into_iter().enumerate() {
            slowest = slowest.max(deployed(&nodes, by, "shop", &format!("next-{number}")));
        }
        over.store(true, Relaxed);
    });
    println!("served by all after {slowest:?} at most; {} requests meanwhile, none failed", asked_for.into_inner());
    assert!(slowest < SOON, "{slowest:?}");
    // Going back and taking away are changes like others.
    let back = Operator::first(&nodes[1]).send("POST", "/v1/workers/shop/rollback", &serde_json::json!({}));
    assert_eq!(back.status, 201, "{}", back.body);
    nodes.iter().for_each(|node| until("it is back", || asked(node, "shop") == "next-1"));
    assert_eq!(Operator::first(&nodes[2]).send("DELETE", "/v1/workers/shop", &Value::Null).status, 200);
    nodes.iter().for_each(|node| until("it is gone", || served(node, "shop").is_none()));
    let told = nodes_of(&nodes[0]);
    assert_eq!(told.iter().map(|node| node["name"].as_str().unwrap_or_default()).collect::<Vec<_>>(), NAMES);
    assert!(nodes.iter().all(|node| readiness(node) == "ready\n" && node.metric("eyot_fleet_connected", "") == 1.0));
}

#[test]
fn of_two_nodes_that_deploy_at_once_one_is_first_and_all_serve_the_same() {
    let Some(server) = Server::nats(Synced::Always) else { return };
    let nodes = members(&server);
    deployed(&nodes, 0, "shop", "zero");
    std::thread::scope(|scope| {
        for (index, node) in nodes.iter().enumerate() {
            scope.spawn(move || {
                let operator = Operator::first(node);
                for round in 0..ROUNDS {
                    // Numbers are agreed on, whoever is first.
                    let version = operator.version("shop", &format!("{index}-{round}"));
                    let answer = operator.deploy("shop", &[(version, 100.0)]);
                    assert!(
                        answer.status == 201 || answer.json()["code"] == "raced",
                        "{} {}",
                        answer.status,
                        answer.body
                    );
                }
            });
        }
    });
    let agree = || {
        let all: Vec<_> = nodes.iter().map(|node| asked(node, "shop")).collect();
        all.iter().all(|is| *is == all[0])
    };
    until("all serve the same", agree);
    let versions = |node: &Node| {
        let all = Operator::first(node).get("/v1/workers/shop/versions?limit=100").json();
        let all = all["versions"].as_array().expect("a list").clone();
        all.iter().map(|one| (one["version"].as_u64(), one["id"].as_str().map(str::to_owned))).collect::<Vec<_>>()
    };
    until("all have all versions", || nodes.iter().all(|node| versions(node).len() == 1 + NAMES.len() * ROUNDS));
    assert!(nodes.iter().all(|node| versions(node) == versions(&nodes[0])), "one number, one version");
}

#[test]
fn a_node_that_joins_has_what_the_fleet_has_and_brings_what_it_had() {
    let Some(server) = Server::nats(Synced::Always) else { return };
    let first = member(&server, "edge-a");
    let operator = Operator::first(&first);
    operator.serve("shop", operator.version("shop", "fleet"));
    // It was a node by itself, and has two workers.
    let alone = operator::node("");
    let operator = Operator::first(&alone);
    operator.serve("shop", operator.version("other", "mine").max(operator.version("shop", "mine")));
    operator.serve("other", 1);
    let configuration = alone.folder.path().join("node.toml");
    let fleet = server.declared("fleet");
    let fleet = format!("store = \"store\"\nstate = \"state\"\n{fleet}name = \"edge-b\"\n{LISTENERS}");
    std::fs::write(configuration, fleet).expect("it can be written");
    let joined = alone.again("-TERM");
    until("what it had is the fleet's", || served(&first, "other").as_deref() == Some("mine"));
    // Both have a version 1 of `shop`, which are two: that is told, and the one that it has serves on.
    joined.wait_for_log("is another one here than in the fleet");
    assert_eq!((asked(&first, "shop"), asked(&joined, "shop")), ("fleet".to_owned(), "mine".to_owned()));
}

#[test]
fn what_is_due_runs_once_in_a_fleet() {
    let Some(server) = Server::nats(Synced::Always) else { return };
    let nodes = members(&server);
    deploy(&nodes, "jobs", &jobs("[[schedule]]\nname = \"tick\"\ncron = \"* * * * * *\""));
    let runs = |node: &Node| seen(node, "runs:tick");
    until("it has run", || runs(&nodes[0]) >= 8);
    let mut done: BTreeMap<String, u64> = BTreeMap::new();
    let mut elsewhere = 0;
    for node in &nodes {
        let history = Operator::first(node).get("/v1/workers/jobs/schedules/tick/runs?limit=1000").json();
        for run in history["runs"].as_array().expect("a list") {
            match run["outcome"].as_str() {
                Some("done") => *done.entry(run["due"].as_str().expect("text").to_owned()).or_default() += 1,
                Some("elsewhere") => elsewhere += 1,
                _ => {}
            }
        }
    }
    println!("{} times, each once; {elsewhere} left to another node", done.len());
    assert!(done.len() >= 8 && done.values().all(|times| *times == 1), "{done:?}");
    assert!(elsewhere >= done.len() as u64, "the others have left it");
}

#[test]
fn without_its_server_a_fleet_serves_on_says_so_and_catches_up() {
    let Some(mut server) = Server::nats(Synced::Always) else { return };
    let nodes = members(&server);
    deployed(&nodes, 0, "shop", "one");
    deploy(&nodes, "jobs", &jobs(""));
    let away = Duration::from_secs(if std::env::var_os("EYOT_FULL").is_some() { 60 } else { 5 });
    server.kill();
    until("it is said", || nodes.iter().all(|node| readiness(node).contains("the fleet's server is away")));
    let (began, mut requests, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    while began.elapsed() < away {
        for node in &nodes {
            assert_eq!(served(node, "shop").as_deref(), Some("one"));
            let asked = Instant::now();
            let refused = node.get_from("jobs.example", "/send?body=note");
            slowest = slowest.max(asked.elapsed());
            assert_eq!(refused.json()["error"], "unavailable", "{}", refused.body);
            requests += 2;
        }
    }
    println!("{requests} requests in {away:?} without the server, none lost; a send has its error after {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert!(nodes.iter().all(|node| node.metric("eyot_fleet_connected", "") == 0.0));
    let operator = Operator::first(&nodes[1]);
    let refused = operator.add("shop", &manifest("shop", "two", ""), &fixtures::fixture());
    assert_eq!((refused.status, &refused.json()["code"]), (503, &"store_unavailable".into()), "{}", refused.body);
    // One is started again meanwhile, with what it has.
    let [first, second, third] = <[Node; 3]>::try_from(nodes).unwrap_or_else(|_| panic!("three"));
    let third = third.again("-TERM");
    assert_eq!(asked(&third, "shop"), "one");
    server.start();
    let nodes = [first, second, third];
    until("it is back", || nodes.iter().all(|node| readiness(node) == "ready\n"));
    assert!(deployed(&nodes, 2, "shop", "two") < SOON);
    until("sends go on", || nodes[0].get_from("jobs.example", "/send?body=note").json()["ids"].is_array());
}

#[test]
fn a_server_that_has_lost_its_disk_is_given_what_the_nodes_have() {
    let Some(mut server) = Server::nats(Synced::Always) else { return };
    let first = member(&server, "edge-a");
    let operator = Operator::first(&first);
    operator.serve("shop", operator.version("shop", "one"));
    server.kill();
    server.lose_its_disk();
    server.start();
    let second = member(&server, "edge-b");
    until("the second has it from the first", || served(&second, "shop").as_deref() == Some("one"));
    let operator = Operator::first(&second);
    operator.serve("shop", operator.version("shop", "two"));
    until("and the first from the second", || served(&first, "shop").as_deref() == Some("two"));
}

/// The other part of F19 of the failure cases.
#[test]
fn what_was_due_on_a_node_that_is_killed_meanwhile_runs_on_another_once() {
    let Some(server) = Server::nats(Synced::Always) else { return };
    let mut nodes = members(&server);
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(15);
    let schedule =
        format!("[[schedule]]\nname = \"sleep-15000\"\nat = \"{soon}\"\n[limits]\nevent_wall_time = \"60s\"");
    deploy(&nodes, "jobs", &jobs(&schedule));
    let runs = |node: &Node| {
        let told = Operator::first(node).get("/v1/workers/jobs/schedules/sleep-15000/runs").json();
        told["runs"].as_array().expect("a list").clone()
    };
    let outcome = |run: &Value| run["outcome"].as_str().map(str::to_owned);
    let is_running = |node: &Node| runs(node).iter().any(|run| run["began"].is_string() && outcome(run).is_none());
    until("one of them runs it", || nodes.iter().any(is_running));
    until("the others have left it", || {
        nodes.iter().filter(|node| runs(node).iter().any(|run| outcome(run).as_deref() == Some("elsewhere"))).count()
            == 2
    });
    let at = nodes.iter().position(is_running).expect("it runs for a while");
    nodes.remove(at).stop("-KILL");
    let killed = Instant::now();
    let done = || {
        let all = nodes.iter().flat_map(runs);
        all.filter(|run| outcome(run).as_deref() == Some("done")).count()
    };
    while done() == 0 {
        assert!(killed.elapsed() < Duration::from_secs(90), "it runs on another one");
        std::thread::park_timeout(Duration::from_millis(200));
    }
    println!("done on another node {:?} after the kill, itself 15 s long", killed.elapsed());
    std::thread::park_timeout(Duration::from_secs(6));
    assert_eq!(done(), 1);
}

#[test]
fn what_a_node_had_that_was_killed_is_worked_off_by_the_others_within_its_lease() {
    let Some(server) = Server::nats(Synced::Always) else { return };
    let mut nodes = members(&server);
    deploy(&nodes, "jobs", &jobs("concurrency = 2\n[limits]\nevent_wall_time = \"60s\""));
    // Each node has two of them, which take their time.
    for _ in 0..6 {
        let sent = nodes[0].get_from("jobs.example", "/send?body=sleep%201500");
        assert_eq!(sent.status, 200, "{}", sent.body);
    }
    until("they are out", || nodes.iter().all(|node| node.metric("eyot_isolates_in_use", "") >= 1.0));
    let mut killed = nodes.remove(1);
    killed.stop("-KILL");
    let began = Instant::now();
    let done = || seen(&nodes[0], "body:sleep%201500");
    until("all is worked off", || {
        let held = Operator::first(&nodes[0]).get("/v1/workers/jobs/queues").json();
        held["queues"].as_array().expect("a list").iter().all(|queue| queue["messages"] == 0)
    });
    println!("{} deliveries on the two that are left, all done {:?} after the kill", done(), began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(20));
}
