//! Tokens: made, shown once, and held to what they let do.

use std::os::unix::fs::PermissionsExt;

use super::Machine;

/// A token with these options.
fn token(machine: &Machine, options: &[&str]) -> String {
    let made = machine.eyot(&[&["token", "create", "ci"], options].concat()).done();
    assert_eq!(made.out.lines().count(), 1, "stdout is the token alone: {}", made.out);
    made.out.trim().to_owned()
}

#[test]
fn a_token_lets_do_what_it_says_and_nothing_else() {
    let machine = Machine::start();
    let folder = machine.worker("shop", "one", "[[route]]\nhost = \"shop.example\"");
    let other = machine.worker("other", "one", "");
    let ci = token(&machine, &["--scope", "deploy", "--worker", "shop*", "--host", "shop.example", "--expires", "30d"]);
    machine.eyot_by(&ci, &["deploy", &folder]).done();
    machine.eyot_by(&ci, &["deploy", &other]).ended_with(2).says(&["not for worker `other`"]);
    machine.worker("shop", "two", "[[route]]\nhost = \"pay.example\"");
    machine.eyot_by(&ci, &["deploy", &folder]).ended_with(2).says(&["not for pay.example"]);
    machine.eyot_by(&ci, &["audit"]).ended_with(2).says(&["scope `admin`"]);
    machine.eyot_by(&ci, &["backup"]).ended_with(2);
    let read = token(&machine, &["--scope", "read", "--worker", "*"]);
    machine.eyot_by(&read, &["workers"]).done();
    machine.eyot_by(&read, &["rollback", "shop"]).ended_with(2);
}

#[test]
fn a_token_is_listed_without_itself_and_ends_when_it_is_revoked() {
    let machine = Machine::start();
    let ci = token(&machine, &["--scope", "read", "--worker", "shop", "--worker", "pay", "--expires", "1h"]);
    let list = machine.eyot(&["token", "list"]).done().out;
    assert!(list.contains("shop, pay") && list.contains("until 2") && !list.contains(&ci), "{list}");
    let list = machine.eyot(&["token", "list", "--json"]).done().json();
    let found = list["tokens"].as_array().expect("a list").iter().find(|token| token["name"] == "ci").expect("ours");
    machine.eyot_by(&ci, &["workers"]).done();
    let id = found["id"].as_str().expect("an id");
    machine.eyot(&["token", "revoke", id]).done();
    machine.eyot_by(&ci, &["workers"]).ended_with(2);
    assert!(machine.eyot(&["token", "list"]).done().out.contains("revoked 2"));
    machine.eyot(&["token", "revoke", "nonsense"]).ended_with(2);
}

#[test]
fn a_token_is_written_to_a_new_file_that_nobody_else_may_read() {
    let machine = Machine::start();
    let create = ["token", "create", "ci", "--scope", "read", "--worker", "*", "--to", "ci.token"];
    assert_eq!(machine.eyot(&create).done().out, "");
    let file = machine.workers.path().join("ci.token");
    assert_eq!(file.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
    machine.eyot(&["workers", "--token-file", "ci.token"]).done();
    machine.eyot(&create).ended_with(2).says(&["not there yet"]);
    machine.eyot(&["workers", "--token-file", "ci.token"]).done();
    let other = ["token", "create", "", "--scope", "read", "--worker", "*", "--to", "other.token"];
    machine.eyot(&other).ended_with(2);
    assert!(!machine.workers.path().join("other.token").exists());
}

#[test]
fn a_token_that_would_let_do_nothing_or_for_no_time_is_not_made() {
    let machine = Machine::start();
    for options in [
        &["--scope", "deploy"][..],
        &["--scope", "everything", "--worker", "*"],
        &["--scope", "read", "--worker", "*", "--expires", "0s"],
        &["--scope", "read", "--worker", "*", "--expires", "soon"],
        &["--scope", "read", "--worker", ""],
    ] {
        machine.eyot(&[&["token", "create", "ci"], options].concat()).ended_with(2);
    }
}
