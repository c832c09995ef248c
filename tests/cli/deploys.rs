//! Deploying, rollouts and going back, as they are typed and as they are told.

use super::Machine;

#[test]
fn a_deploy_adds_a_version_that_serves_and_says_so() {
    let machine = Machine::start();
    let folder = machine.worker("shop", "one", "");
    let ran = machine.eyot(&["deploy", &folder, "--message", "the first"]).done().says(&["added shop", "version 1"]);
    assert_eq!(ran.out, "shop: version 1 serves\n");
    machine.worker("shop", "two", "");
    let made = machine.eyot(&["deploy", &folder, "--json"]).done().json();
    assert_eq!((&made["version"]["version"], &made["deployment"]["why"]), (&2.into(), &"deploy".into()), "{made}");
    assert_eq!(machine.serving("shop"), [(2, 100.0)]);
    let list = machine.eyot(&["versions", "shop"]).done().out;
    assert!(list.lines().nth(2).is_some_and(|line| line.contains("100%")), "{list}");
    assert!(list.contains("the first"), "{list}");
    let list = machine.eyot(&["workers"]).done().out;
    assert!(list.contains("shop") && list.contains("serves") && list.contains("2 100%"), "{list}");
}

#[test]
fn a_version_comes_step_by_step_and_the_others_share_the_rest() {
    let machine = Machine::start();
    machine.deployed("shop", 1);
    let folder = machine.worker("shop", "two", "");
    let ran = machine.eyot(&["deploy", &folder, "--percent", "10%"]).done();
    assert_eq!(ran.out, "shop: version 1 (90%) and version 2 (10%) serve\n");
    machine.eyot(&["rollout", "shop", "2", "50%", "--note", "no errors"]).done();
    assert_eq!(machine.serving("shop"), [(1, 50.0), (2, 50.0)]);
    machine.worker("shop", "three", "");
    machine.eyot(&["deploy", &folder, "--percent", "20%"]).done();
    assert_eq!(machine.serving("shop"), [(1, 40.0), (2, 40.0), (3, 20.0)]);
    machine.eyot(&["rollout", "shop", "3", "100%"]).done();
    assert_eq!(machine.serving("shop"), [(3, 100.0)]);
    let list = machine.eyot(&["deployments", "shop"]).done().out;
    assert!(list.contains("1 50%, 2 50%") && list.contains("rollout") && list.contains("no errors"), "{list}");
}

#[test]
fn what_cannot_be_shared_is_told_before_anything_is_sent() {
    let machine = Machine::start();
    let folder = machine.worker("shop", "one", "");
    machine.eyot(&["deploy", &folder, "--percent", "10%"]).ended_with(2).says(&["nothing of `shop` serves"]);
    machine.eyot(&["versions", "shop"]).ended_with(1).says(&["no worker `shop`"]);
    for wrong in ["0", "101%", "ten", "1.001%"] {
        machine.eyot(&["deploy", &folder, "--percent", wrong]).ended_with(2).says(&["such as 10%"]);
    }
    machine.eyot(&["deploy", &folder]).done();
    machine.eyot(&["rollout", "shop", "1", "10%"]).ended_with(2).says(&["write 100%"]);
    machine.eyot(&["rollout", "shop", "7", "10%"]).ended_with(1);
}

#[test]
fn a_version_that_is_only_added_serves_when_it_is_rolled_out() {
    let machine = Machine::start();
    machine.deployed("shop", 1);
    let folder = machine.worker("shop", "two", "");
    let ran = machine.eyot(&["deploy", &folder, "--add-only"]).done();
    assert_eq!(ran.out, "shop: version 2 is added\n");
    assert_eq!(machine.serving("shop"), [(1, 100.0)]);
    machine.eyot(&["rollout", "shop", "2", "100%"]).done();
    assert_eq!(machine.serving("shop"), [(2, 100.0)]);
}

#[test]
fn a_version_that_does_not_answer_its_probe_is_added_and_does_not_serve() {
    let machine = Machine::start();
    machine.deployed("shop", 1);
    let folder = machine.worker("shop", "two", "");
    let parts = ["version 2 is added and does not serve", "eyot rollout shop 2 100%"];
    machine.eyot(&["deploy", &folder, "--probe", "/health"]).ended_with(1).says(&parts);
    let problem = machine.eyot(&["rollout", "shop", "2", "100%", "--probe", "/health", "--json"]).ended_with(1).json();
    assert_eq!(problem["code"], "probe_failed");
    machine.eyot(&["rollout", "shop", "2", "100%", "--probe", "no path"]).ended_with(2);
    assert_eq!(machine.serving("shop"), [(1, 100.0)]);
}

#[test]
fn going_back_is_to_what_served_before_or_to_a_version() {
    let machine = Machine::start();
    machine.deployed("shop", 3);
    assert_eq!(machine.eyot(&["rollback", "shop"]).done().out, "shop: version 2 serves\n");
    assert_eq!(machine.eyot(&["rollback", "shop", "1", "--note", "slow"]).done().out, "shop: version 1 serves\n");
    let list = machine.eyot(&["deployments", "shop"]).done().out;
    assert!(list.contains("rollback") && list.contains("slow"), "{list}");
    machine.deployed("other", 1);
    machine.eyot(&["rollback", "other"]).ended_with(1).says(&["has served nothing else before"]);
}

#[test]
fn a_long_note_is_seen_in_full_and_moves_no_cursor() {
    let machine = Machine::start();
    machine.deployed("shop", 2);
    let note = format!("{}\u{1b}[2J end", "because ".repeat(100));
    machine.eyot(&["rollback", "shop", "--note", &note]).done();
    let list = machine.eyot(&["deployments", "shop"]).done().out;
    assert!(list.contains(&note.replace('\u{1b}', "\\u{1b}")), "{list}");
}

#[test]
fn a_worker_is_taken_out_of_service_only_when_somebody_says_yes() {
    let machine = Machine::start();
    machine.deployed("shop", 1);
    machine.eyot(&["delete", "shop"]).ended_with(2).says(&["--yes"]);
    machine.eyot_told(&["delete", "shop"], "y\n").ended_with(2);
    assert_eq!(machine.serving("shop"), [(1, 100.0)]);
    let ran = machine.eyot(&["delete", "shop", "--yes"]).done();
    assert_eq!(ran.out, "shop serves no longer; `eyot rollback shop` brings it back\n");
    assert!(machine.eyot(&["workers"]).done().out.contains("deleted"));
    machine.eyot(&["delete", "shop", "--yes"]).ended_with(1);
    machine.eyot(&["rollback", "shop"]).done();
    assert_eq!(machine.serving("shop"), [(1, 100.0)]);
}

#[test]
fn longer_lists_than_a_page_are_listed_whole() {
    let machine = Machine::start();
    machine.deployed("shop", 1);
    for _ in 0..60 {
        machine.eyot(&["rollout", "shop", "1", "100%"]).done();
    }
    let all = machine.eyot(&["deployments", "shop", "--json", "--limit", "1000"]).done().json();
    assert_eq!(all["deployments"].as_array().expect("a list").len(), 61);
    let some = machine.eyot(&["deployments", "shop", "--json"]).done().json();
    assert_eq!(some["deployments"].as_array().expect("a list").len(), 50);
}

#[test]
fn a_node_that_is_well_says_so_and_lists_who_changed_what() {
    let machine = Machine::start();
    machine.deployed("shop", 1);
    let ran = machine.eyot(&["status"]).done();
    assert!(ran.out.contains("ready") && ran.out.contains("workers that serve: 1"), "{}", ran.out);
    assert_eq!(machine.eyot(&["status", "--json"]).done().json()["faulty"], serde_json::json!([]));
    let audit = machine.eyot(&["audit"]).done().out;
    assert!(audit.contains("shop") && audit.lines().count() >= 4, "{audit}");
}
