//! Queues from outside: a message that was accepted is worked off, at least once, or stands among the dead letters; whatever its worker does,
//! and whatever becomes of the node.

mod harness;
#[path = "queue/kills.rs"]
mod kills;
#[path = "queue/operators.rs"]
mod operators;

use std::time::{Duration, Instant};

use harness::servers::Server;
use harness::{Answer, Node, eyot, fixtures, until};
use serde_json::{Value, json};

/// A node with these workers, each with the lines of its eyot.toml, at NAME.test.
fn node(workers: &[(&str, &str)]) -> Node {
    node_with("", workers)
}

/// The same with more in its node.toml.
fn node_with(more: &str, workers: &[(&str, &str)]) -> Node {
    let files: Vec<_> = workers
        .iter()
        .map(|(name, lines)| {
            let lines = format!("kv = [\"seen\"]\n{lines}\n[[route]]\nhost = \"{name}.test\"\npath = \"/*\"");
            (format!("{name}/eyot.toml"), fixtures::worker(name, &fixtures::queue(), &lines))
        })
        .collect();
    let listed: String = workers.iter().map(|(name, _)| format!("[[worker]]\npath = \"{name}\"\n")).collect();
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    Node::start(&format!("store = \"store\"\n{more}\n{listed}"), &files)
}

/// A node with one worker, `jobs`, that has one queue of that name.
fn jobs(lines: &str) -> Node {
    node(&[("jobs", &format!("[[queue]]\nname = \"jobs\"\nretry = \"50ms\"\n{lines}"))])
}

/// The same, with its messages on a server.
fn jobs_on(server: &Server, lines: &str) -> Node {
    let lines = format!("[[queue]]\nname = \"jobs\"\nretry = \"50ms\"\n{lines}");
    node_with(&server.declared("queues"), &[("jobs", &lines)])
}

fn ask(node: &Node, worker: &str, what: &str) -> Value {
    let answer: Answer = node.get_from(&format!("{worker}.test"), what);
    assert_eq!(answer.status, 200, "{what}: {} {}", answer.code(), answer.body);
    answer.json()
}

/// Sends to the queue `jobs` of the worker `jobs`; answers the ids.
fn send(node: &Node, body: &str, more: &str) -> Vec<String> {
    let told = ask(node, "jobs", &format!("/send?body={}&{more}", body.replace(' ', "%20")));
    let ids = told["ids"].as_array().unwrap_or_else(|| panic!("{body}: {told}"));
    ids.iter().map(|id| id.as_str().expect("text").to_owned()).collect()
}

/// What the worker has written down.
fn seen(node: &Node, worker: &str, key: &str) -> Value {
    ask(node, worker, &format!("/seen?key={}", key.replace(' ', "%20")))
}

/// How often a message with this body was delivered.
fn deliveries(node: &Node, body: &str) -> u64 {
    seen(node, "jobs", &format!("body:{body}")).as_str().map_or(0, |count| count.parse().expect("a number"))
}

/// How many messages a queue of the worker `jobs` has, as its operator sees it.
fn held(node: &Node, queue: &str) -> u64 {
    let found = operators::done(node, &["ls", "jobs", "--json"], "");
    let found: Value = serde_json::from_str(&found).expect("JSON");
    let queues = found["queues"].as_array().expect("a list");
    queues.iter().find(|one| one["name"] == queue).map_or(0, |one| one["messages"].as_u64().expect("a number"))
}

fn until_empty(node: &Node, queue: &str) {
    until(&format!("{queue} is empty"), || held(node, queue) == 0);
}

#[test]
fn a_message_that_was_sent_is_worked_off_once_and_is_gone() {
    let node = jobs("");
    let ids = send(&node, "note", "type=text/plain&times=2");
    assert_eq!(ids.len(), 2);
    until_empty(&node, "jobs");
    assert_eq!(deliveries(&node, "note"), 2);
    assert_eq!(seen(&node, "jobs", "told:note"), "1 text/plain");
    for id in &ids {
        assert!(seen(&node, "jobs", &format!("id:{id}")).is_string(), "its id is what the producer was told");
    }
    assert_eq!(node.metric("eyot_queue_sent_total", "queue=\"jobs\",worker=\"jobs\""), 2.0);
    let labels = "outcome=\"done\",queue=\"jobs\",worker=\"jobs\"";
    assert_eq!(node.metric("eyot_queue_deliveries_total", labels), 2.0);
}

#[test]
fn what_is_to_be_retried_comes_again_and_the_others_of_its_batch_do_not() {
    let node = jobs("batch = 10\nbatch_wait = \"200ms\"");
    send(&node, "note", "");
    send(&node, "until 3", "");
    until_empty(&node, "jobs");
    assert_eq!((deliveries(&node, "note"), deliveries(&node, "until 3")), (1, 3));
    assert_eq!(seen(&node, "jobs", "batch:1"), "jobs 2");
}

#[test]
fn a_batch_that_fails_comes_again_but_for_what_was_acknowledged_and_ends_among_the_dead_letters() {
    let node = jobs("attempts = 3\nbatch_wait = \"200ms\"\nretry_max = \"100ms\"");
    send(&node, "ack", "");
    send(&node, "fail", "");
    until("it is given up", || held(&node, "jobs-dead") == 1);
    assert_eq!((deliveries(&node, "ack"), deliveries(&node, "fail"), held(&node, "jobs")), (1, 3, 0));
    let told = operators::done(&node, &["peek", "jobs", "jobs-dead"], "");
    assert!(told.contains("worker_error: ") && told.contains("it does not work"), "{told}");
    node.wait_for_log("a message is a dead letter");
}

#[test]
fn a_worker_that_traps_or_meets_a_limit_loses_nothing() {
    let node =
        jobs("attempts = 2\nretry_max = \"50ms\"\n[limits]\nevent_cpu_time = \"100ms\"\nevent_wall_time = \"500ms\"");
    for (body, code) in [("trap", "worker_trapped"), ("spin", "worker_cpu_exceeded"), ("sleep 60000", "worker_timeout")]
    {
        send(&node, body, "");
        until(body, || held(&node, "jobs-dead") == 1);
        assert_eq!(deliveries(&node, body), 2, "{body}");
        let told = operators::done(&node, &["peek", "jobs", "jobs-dead"], "");
        assert!(told.contains(code), "{body}: {told}");
        assert_eq!(node.metric("eyot_failures_total", &format!("code=\"{code}\"")), 2.0);
        operators::done(&node, &["purge", "jobs", "jobs-dead"], "");
    }
    send(&node, "note", "");
    until_empty(&node, "jobs");
    assert_eq!(deliveries(&node, "note"), 1);
}

#[test]
fn a_message_waits_as_long_as_its_producer_says() {
    let node = jobs("");
    let began = Instant::now();
    send(&node, "later", "delay=700");
    until("it came", || deliveries(&node, "later") == 1);
    assert!(began.elapsed() >= Duration::from_millis(700), "{:?}", began.elapsed());
    let told = ask(&node, "jobs", "/send?body=x&delay=43200001");
    assert_eq!(told["error"], "too-large", "{told}");
}

#[test]
fn what_is_sent_again_under_its_key_is_worked_off_once() {
    let node = jobs("");
    let first = send(&node, "note", "key=a");
    until_empty(&node, "jobs");
    assert_eq!(send(&node, "note", "key=a"), first, "also when it is done");
    send(&node, "last", "");
    until("the last one came", || deliveries(&node, "last") == 1);
    assert_eq!(deliveries(&node, "note"), 1);
}

#[test]
fn a_batch_waits_until_it_is_full_or_its_time_is_over() {
    let node = jobs("batch = 4\nbatch_wait = \"1s\"");
    let began = Instant::now();
    send(&node, "note", "times=4");
    until("a full one came", || deliveries(&node, "note") == 4);
    assert!(began.elapsed() < Duration::from_millis(900), "it is not waited for: {:?}", began.elapsed());
    assert_eq!(seen(&node, "jobs", "batch:1"), "jobs 4");
    let began = Instant::now();
    send(&node, "rest", "times=2");
    until("the rest came", || deliveries(&node, "rest") == 2);
    assert!(began.elapsed() >= Duration::from_secs(1), "it is waited for more: {:?}", began.elapsed());
    assert_eq!(seen(&node, "jobs", "batch:2"), "jobs 2");
}

#[test]
fn a_batch_has_no_more_bytes_than_it_may() {
    let node = jobs("batch = 100\nbatch_bytes = \"10KiB\"\nbatch_wait = \"300ms\"");
    let told = ask(&node, "jobs", "/send?bytes=4096&times=5");
    assert!(told["ids"].is_array(), "{told}");
    until_empty(&node, "jobs");
    let sizes: Vec<_> = (1..=3).map(|call| seen(&node, "jobs", &format!("batch:{call}"))).collect();
    assert_eq!(sizes, ["jobs 2", "jobs 2", "jobs 1"]);
}

#[test]
fn so_many_batches_are_worked_off_at_once_and_no_more() {
    let node = jobs("batch = 1\nconcurrency = 3");
    send(&node, "sleep 1000", "times=6");
    let began = Instant::now();
    let labels = "outcome=\"done\",queue=\"jobs\",worker=\"jobs\"";
    until("three are done", || node.metric("eyot_queue_deliveries_total", labels) >= 3.0);
    assert!(began.elapsed() < Duration::from_millis(2500), "one after the other: {:?}", began.elapsed());
    until_empty(&node, "jobs");
    assert!(began.elapsed() >= Duration::from_millis(1900), "more than three at once: {:?}", began.elapsed());
}

/// F02 of the failure cases.
#[test]
fn what_takes_longer_than_its_lease_comes_again_unless_more_time_is_asked_for() {
    let node = jobs("lease = \"1s\"\nconcurrency = 2\nbatch = 1");
    send(&node, "sleep 2500", "");
    until("it came again", || deliveries(&node, "sleep 2500") >= 2);
    send(&node, "slow 2500", "");
    until_empty(&node, "jobs");
    assert_eq!(deliveries(&node, "slow 2500"), 1);
    let late = "outcome=\"late\",queue=\"jobs\",worker=\"jobs\"";
    assert!(node.metric("eyot_queue_deliveries_total", late) >= 1.0, "the first one was too late to say anything");
}

/// T02 of the failure cases.
#[test]
fn a_worker_sends_to_others_that_name_it_and_to_nobody_else() {
    let node = node(&[
        ("mailer", "[[queue]]\nname = \"mail\"\nproducers = [\"shop\"]"),
        ("shop", "sends = [\"mailer/mail\", \"nobody/mail\", \"stranger/mail\"]"),
        ("stranger", "sends = [\"mailer/mail\"]\n[[queue]]\nname = \"mail\""),
    ]);
    assert!(ask(&node, "shop", "/send?queue=mailer/mail&body=note")["ids"].is_array());
    until("it came", || seen(&node, "mailer", "body:note") == "1");
    assert!(ask(&node, "mailer", "/send?queue=mail&body=own")["ids"].is_array(), "its own queue is open to it");
    for (worker, queue, why) in [
        ("stranger", "mailer/mail", "does not list it in `producers`"),
        ("shop", "nobody/mail", "no worker that serves here"),
        ("shop", "stranger/mail", "does not list it in `producers`"),
        ("shop", "mail", "eyot.toml"),
        ("mailer", "mailer/mail", "eyot.toml"),
        ("mailer", "", "eyot.toml"),
        ("stranger", "mailer/../mail", "eyot.toml"),
    ] {
        let told = ask(&node, worker, &format!("/send?queue={queue}&body=note"));
        assert_eq!(told["error"], "no-such-queue", "{worker} {queue}");
        assert!(told["why"].as_str().expect("text").contains(why), "{worker} {queue}: {told}");
    }
}

#[test]
fn a_worker_without_requests_works_off_its_queue_and_has_no_client() {
    let node = jobs("attempts = 1");
    send(&node, "client", "");
    until("it is given up", || held(&node, "jobs-dead") == 1);
    let told = operators::done(&node, &["peek", "jobs", "jobs-dead"], "");
    assert!(told.contains("there is no client"), "{told}");
    send(&node, "say something", "");
    node.wait_for_log("say something");
}

/// F01 of the failure cases.
#[test]
fn what_was_sent_before_a_restart_or_a_kill_is_worked_off_after_it() {
    let node = jobs("batch = 1");
    send(&node, "later", "delay=2000");
    send(&node, "sleep 60000", "");
    until("it is being worked off", || deliveries(&node, "sleep 60000") == 1);
    let node = node.again("-KILL");
    until("it came again", || deliveries(&node, "sleep 60000") == 2);
    let node = node.again("-KILL");
    let worked_off = "SELECT count(*) FROM messages WHERE lease IS NOT NULL";
    let database = rusqlite::Connection::open(node.folder.path().join("store/queue.db")).expect("a database");
    until("it is out", || database.query_row(worked_off, [], |row| row.get::<_, i64>(0)).expect("a number") == 1);
    operators::done(&node, &["purge", "jobs", "jobs"], "");
    send(&node, "note", "");
    let node = node.again("-KILL");
    until("the others came", || deliveries(&node, "note") == 1);
}

/// F08 of the failure cases.
#[test]
fn a_drain_lets_what_is_worked_off_finish_and_begins_nothing() {
    let node = jobs("batch = 1\n[limits]\nevent_wall_time = \"10s\"");
    send(&node, "sleep 1500", "times=2");
    until("one is being worked off", || deliveries(&node, "sleep 1500") == 1);
    let node = node.again("-TERM");
    until_empty(&node, "jobs");
    assert_eq!(deliveries(&node, "sleep 1500"), 2, "neither was disturbed");
}

#[test]
fn what_nobody_was_done_with_in_time_is_a_dead_letter_where_the_queue_says() {
    let node = jobs("retention = \"1s\"\ndead_letter = \"gone\"");
    operators::done(&node, &["pause", "jobs", "jobs"], "");
    send(&node, "note", "");
    until("it is looked for", || held(&node, "gone") == 1);
    assert_eq!(held(&node, "jobs"), 0);
    let told = operators::done(&node, &["peek", "jobs", "gone"], "");
    assert!(told.contains("nobody was done with it in time"), "{told}");
}

#[test]
fn what_is_worked_off_is_in_the_trace_of_the_request_that_sent_it() {
    let node = jobs("");
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = node.request("GET", "/send?body=say%20hello").header("host", "jobs.test");
    let sent = Answer::of(request.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01")));
    assert_eq!(sent.status, 200);
    node.wait_for_log("say hello");
    let log = node.log();
    let line = log.lines().find(|line| line.contains("say hello")).expect("it was waited for");
    assert!(line.contains(trace), "{line}");
}

#[test]
fn a_full_queue_is_an_error_to_its_producer_and_hinders_no_other() {
    let node = node(&[
        ("jobs", "[[queue]]\nname = \"jobs\"\nbatch = 1\n[limits]\nqueue_messages = 3"),
        ("other", "[[queue]]\nname = \"jobs\""),
    ]);
    operators::done(&node, &["pause", "jobs", "jobs"], "");
    send(&node, "note", "times=3");
    let told = ask(&node, "jobs", "/send?body=note");
    assert_eq!(told["error"], "full", "{told}");
    assert!(ask(&node, "other", "/send?body=note")["ids"].is_array());
    until("the other works", || seen(&node, "other", "body:note") == "1");
    operators::done(&node, &["resume", "jobs", "jobs"], "");
    until_empty(&node, "jobs");
    send(&node, "note", "times=3");
}

#[test]
fn a_worker_that_lists_a_queue_and_cannot_work_it_off_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest =
        fixtures::worker("shop", &fixtures::fixture(), "[[queue]]\nname = \"mail\"\n[[route]]\npath = \"/*\"");
    std::fs::write(folder.path().join("eyot.toml"), manifest).expect("a file");
    let node = folder.path().join("node.toml");
    let written = "store = \"store\"\n[admin]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[worker]]\npath = \".\"\n";
    std::fs::write(&node, written).expect("a file");
    let ran = eyot().args(["check", "--config"]).arg(&node).output().expect("it runs");
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(2), "{told}");
    assert!(told.contains("does not export eyot:worker/queue-handler@0.1"), "{told}");
}

#[test]
fn a_worker_that_only_works_off_queues_needs_no_route_and_cannot_have_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let component = fixtures::text("consumer", folder.path());
    let manifest =
        |lines: &str| fixtures::worker("mailer", &component, &format!("[[queue]]\nname = \"mail\"\n{lines}"));
    // A route of node.toml may lead there all the same.
    let route = "[[route]]\npath = \"/*\"\nworker = \"mailer\"\n";
    let listed = format!("store = \"store\"\n[[worker]]\npath = \"mailer\"\n{route}");
    let node = Node::start(&listed, &[("mailer/eyot.toml", &manifest(""))]);
    let answer = node.get("/");
    assert_eq!((answer.status, answer.code()), (500, "worker_no_response"));
    node.wait_for_log("exports no HTTP handler");
    operators::done(&node, &["send", "mailer", "mail"], "a letter");
    let labels = "outcome=\"done\",queue=\"mail\",worker=\"mailer\"";
    until("it is done", || node.metric("eyot_queue_deliveries_total", labels) == 1.0);
    std::fs::write(node.folder.path().join("mailer/eyot.toml"), manifest("[[route]]\npath = \"/*\"")).expect("a file");
    let ran = eyot().args(["check", "--config"]).arg(node.folder.path().join("node.toml")).output().expect("it runs");
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(2), "{told}");
    assert!(told.contains("the worker has routes, and the component exports neither wasi:http"), "{told}");
}

#[test]
fn dev_works_off_queues_and_keeps_them_in_the_folder_where_it_was_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = "kv = [\"seen\"]\n[[queue]]\nname = \"jobs\"\n[[route]]\npath = \"/*\"";
    let manifest = fixtures::worker("jobs", &fixtures::queue(), lines);
    std::fs::create_dir(folder.path().join("jobs")).expect("a folder");
    std::fs::write(folder.path().join("jobs/eyot.toml"), manifest).expect("a file");
    let node = Node::dev_in(folder.path(), &folder.path().join("jobs"));
    until("it serves", || node.get("/send?body=note").status == 200);
    until("it came", || node.get("/seen?key=body:note").json() != json!(null));
    assert!(folder.path().join(".eyot/queue.db").is_file());
}
