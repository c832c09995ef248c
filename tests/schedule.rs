//! Schedules from outside: what is due runs once, in dev and in production, also after the node was down, and its history says what came of it.

mod harness;

use std::time::Duration;

use harness::{Node, eyot, fixtures, until};
use rusqlite::Connection;
use serde_json::Value;

/// A node with one worker, `timed`, and these schedules.
fn node(schedules: &str) -> Node {
    let lines = format!("kv = [\"seen\"]\n{schedules}\n[[route]]\npath = \"/*\"\n");
    let manifest = fixtures::worker("timed", &fixtures::queue(), &lines);
    Node::start("store = \"store\"\n[[worker]]\npath = \"timed\"\n", &[("timed/eyot.toml", &manifest)])
}

fn schedule(name: &str, lines: &str) -> String {
    format!("[[schedule]]\nname = \"{name}\"\n{lines}\n")
}

/// What the worker has written down, as a number; 0 where nothing stands.
fn seen(node: &Node, key: &str) -> u64 {
    let answer = node.get(&format!("/seen?key={key}"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json().as_str().map_or(0, |text| text.parse().unwrap_or(1))
}

/// Runs `eyot schedule` with these arguments; its exit code and what it writes.
fn command(node: &Node, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = eyot();
    command.arg("schedule").args(arguments);
    command.args(["--admin", &format!("http://{}", node.admin.expect("an admin listener"))]);
    let output =
        command.env("EYOT_TOKEN_FILE", node.folder.path().join("store/admin.token")).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The runs of a schedule, the latest first.
fn history(node: &Node, name: &str) -> Vec<Value> {
    let (code, told, wrong) = command(node, &["history", "timed", name, "--limit", "1000", "--json"]);
    assert_eq!(code, Some(0), "{wrong}");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    told["runs"].as_array().expect("a list").clone()
}

fn outcomes(node: &Node, name: &str) -> Vec<String> {
    let word = |run: &Value| run["outcome"].as_str().unwrap_or("runs").to_owned();
    history(node, name).iter().map(word).collect()
}

/// Sets back when a schedule is due next, as if the node had been down since then.
fn was_due(node: &Node, name: &str, ago: Duration) {
    let database = Connection::open(node.folder.path().join("store/schedule.db")).expect("a database");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let due = i64::try_from((now - ago).as_micros()).expect("it fits");
    let changed = database.execute("UPDATE schedules SET next = ?1 WHERE name = ?2", (due, name));
    assert_eq!(changed.expect("it is written"), 1);
}

const NIGHTLY: &str = "cron = \"0 3 1 1 *\"";

#[test]
fn what_is_due_each_second_runs_each_second_and_once() {
    let node = node(&schedule("tick", "cron = \"* * * * * *\""));
    until("it has run", || seen(&node, "runs:tick") >= 3);
    let runs = history(&node, "tick");
    let due: Vec<_> = runs.iter().map(|run| run["due"].as_str().expect("text").to_owned()).collect();
    let mut once = due.clone();
    once.dedup();
    assert_eq!(due, once, "each time once");
    assert!(due.windows(2).all(|pair| pair[0] > pair[1]), "the latest first: {due:?}");
    let ended = runs.iter().filter(|run| run["ended"].is_string());
    assert!(ended.clone().count() >= 3 && ended.clone().all(|run| run["outcome"] == "done"), "{runs:?}");
    assert!(node.metric("eyot_schedule_runs_total", "outcome=\"done\"") >= 3.0);
}

#[test]
fn what_is_due_once_runs_once_and_never_again() {
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3);
    let node = node(&schedule("once", &format!("at = \"{soon}\"")));
    until("it has run", || seen(&node, "runs:once") == 1);
    let due = seen(&node, "due:once");
    // It has a part that no clock of ours shows.
    assert_eq!(due, u64::try_from(soon.as_millisecond()).expect("after 1970"), "it is told when it was due");
    let node = node.again("-TERM");
    std::thread::park_timeout(Duration::from_millis(1500));
    assert_eq!((seen(&node, "runs:once"), outcomes(&node, "once").len()), (1, 1));
}

#[test]
fn what_is_due_while_it_runs_is_skipped_or_waits_or_runs_too_as_it_says() {
    let each = |name: &str, overlap: &str| schedule(name, &format!("cron = \"* * * * * *\"\noverlap = \"{overlap}\""));
    let mut node =
        node(&format!("{}{}{}", each("sleep-1500", "skip"), each("sleep-1501", "queue"), each("sleep-1502", "allow")));
    until("all have run", || {
        ["1500", "1501", "1502"].iter().all(|name| seen(&node, &format!("runs:sleep-{name}")) >= 2)
    });
    assert!(outcomes(&node, "sleep-1500").contains(&"skipped".to_owned()));
    assert_eq!(seen(&node, "overlapped:sleep-1500"), 0);
    assert!(!outcomes(&node, "sleep-1501").contains(&"skipped".to_owned()));
    assert_eq!(seen(&node, "overlapped:sleep-1501"), 0, "one after the other");
    assert_eq!(seen(&node, "overlapped:sleep-1502"), 1, "side by side");
    node.untidy();
}

#[test]
fn of_what_was_missed_while_the_node_was_down_as_much_is_made_up_for_as_it_says() {
    let each = |name: &str, what: &str| schedule(name, &format!("cron = \"*/2 * * * *\"\ncatch_up = \"{what}\""));
    let mut node = node(&format!("{}{}{}", each("none", "none"), each("latest", "latest"), each("all", "all")));
    until("they are known", || {
        ["none", "latest", "all"].iter().all(|name| command(&node, &["ls", "timed"]).1.contains(name))
    });
    node.stop("-TERM");
    for name in ["none", "latest", "all"] {
        was_due(&node, name, Duration::from_secs(9 * 60));
    }
    let node = node.again("-TERM");
    until("it has caught up", || seen(&node, "runs:all") >= 4 && seen(&node, "runs:latest") >= 1);
    until("all has ended", || outcomes(&node, "all").iter().all(|outcome| outcome == "done"));
    let count = |name: &str, wanted: &str| outcomes(&node, name).iter().filter(|outcome| *outcome == wanted).count();
    // Nine minutes have four or five even ones, and the time that was set by hand.
    assert!((5..=6).contains(&count("all", "done")), "{:?}", outcomes(&node, "all"));
    assert_eq!(count("latest", "done"), 1, "{:?}", outcomes(&node, "latest"));
    assert!((4..=5).contains(&count("latest", "missed")));
    assert_eq!((count("none", "done"), seen(&node, "runs:none")), (0, 0), "{:?}", outcomes(&node, "none"));
    assert!((5..=6).contains(&count("none", "missed")));
}

#[test]
fn the_history_says_why_a_run_was_not_well_and_nothing_is_tried_again() {
    let node = node(&format!(
        "{}{}{}",
        schedule("fail", NIGHTLY),
        schedule("trap", NIGHTLY),
        schedule("sleep-60000", NIGHTLY)
    ));
    for name in ["fail", "trap", "sleep-60000"] {
        until("it is known", || command(&node, &["run", "timed", name]).0 == Some(0));
    }
    until("both have failed", || outcomes(&node, "fail") == ["failed"] && outcomes(&node, "trap") == ["failed"]);
    let (_, told, _) = command(&node, &["history", "timed", "fail"]);
    assert!(told.contains("worker_error") && told.contains("it does not work"), "{told}");
    assert!(command(&node, &["history", "timed", "trap"]).1.contains("worker_trapped"));
    until("it runs", || history(&node, "sleep-60000").iter().any(|run| run["began"].is_string()));
    let node = node.again("-KILL");
    until("it is lost", || outcomes(&node, "sleep-60000") == ["lost"]);
    assert_eq!(seen(&node, "runs:fail"), 1);
}

#[test]
fn operators_see_what_is_due_and_run_it_now() {
    let node = node(&schedule("nightly", &format!("{NIGHTLY}\ntime_zone = \"Europe/Berlin\"")));
    until("it is known", || command(&node, &["ls", "timed"]).1.contains("nightly"));
    let (_, listed, _) = command(&node, &["ls", "timed"]);
    assert!(listed.contains("-01-01 02:00:00Z"), "three o'clock in Berlin: {listed}");
    let (code, told, _) = command(&node, &["run", "timed", "nightly"]);
    assert_eq!((code, told.as_str()), (Some(0), "timed/nightly: a run was asked for\n"));
    until("it has run", || seen(&node, "runs:nightly") == 1);
    until("that is written down", || outcomes(&node, "nightly") == ["done"]);
    let (code, _, told) = command(&node, &["run", "timed", "weekly"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("no version that serves has [[schedule]] weekly"), "{told}");
}

#[test]
fn a_drain_lets_a_run_finish_and_begins_none() {
    let node = node(&schedule("sleep-1500", NIGHTLY));
    until("it is known", || command(&node, &["run", "timed", "sleep-1500"]).0 == Some(0));
    until("it runs", || history(&node, "sleep-1500").iter().any(|run| run["began"].is_string()));
    let node = node.again("-TERM");
    assert_eq!(outcomes(&node, "sleep-1500"), ["done"]);
}

#[test]
fn dev_keeps_time_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = format!("kv = [\"seen\"]\n{}[[route]]\npath = \"/*\"\n", schedule("tick", "cron = \"* * * * * *\""));
    std::fs::create_dir(folder.path().join("timed")).expect("a folder");
    let manifest = fixtures::worker("timed", &fixtures::queue(), &lines);
    std::fs::write(folder.path().join("timed/eyot.toml"), manifest).expect("a file");
    let node = Node::dev_in(folder.path(), &folder.path().join("timed"));
    until("it serves", || node.get("/seen?key=x").status == 200);
    until("it has run", || seen(&node, "runs:tick") >= 2);
}

#[test]
fn a_worker_that_has_a_schedule_and_cannot_do_what_it_says_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for (component, lines, why) in [
        (fixtures::fixture(), schedule("nightly", NIGHTLY), "does not export eyot:worker/scheduled-handler@0.1"),
        (fixtures::queue(), schedule("nightly", "cron = \"0 3 31 2 *\""), "it is never due"),
        (fixtures::queue(), schedule("nightly", "cron = \"0 3 * *\""), "no expression of cron"),
        (
            fixtures::queue(),
            schedule("nightly", "time_zone = \"Berlin\"\ncron = \"0 3 * * *\""),
            "no time zone of this name",
        ),
        (fixtures::queue(), schedule("nightly", "at = \"tomorrow\""), "this is no time"),
        (fixtures::queue(), schedule("nightly", ""), "a schedule needs a time"),
    ] {
        let lines = format!("kv = [\"seen\"]\n{lines}[[route]]\npath = \"/*\"\n");
        let manifest = fixtures::worker("timed", &component, &lines);
        std::fs::write(folder.path().join("eyot.toml"), manifest).expect("a file");
        let node = folder.path().join("node.toml");
        let listens = "address = \"127.0.0.1:0\"\n";
        let written = format!("store = \"store\"\n[admin]\n{listens}[[listener]]\n{listens}[[worker]]\npath = \".\"\n");
        std::fs::write(&node, written).expect("a file");
        let ran = eyot().args(["check", "--config"]).arg(&node).output().expect("it runs");
        let told = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(2), "{why}: {told}");
        assert!(told.contains(why), "{why}: {told}");
    }
}
