//! What operators see and do: `eyot queue`, by way of the admin API.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use super::{deliveries, eyot, held, jobs, send, until, until_empty};
use crate::harness::Node;

/// Runs `eyot queue` with these arguments; its exit code and what it writes.
pub(crate) fn command(node: &Node, arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut command = eyot();
    command
        .arg("queue")
        .args(arguments)
        .args(["--admin", &format!("http://{}", node.admin.expect("an admin listener"))])
        .env("EYOT_TOKEN_FILE", node.folder.path().join("store/admin.token"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The same, and it goes well; what it writes.
pub(crate) fn done(node: &Node, arguments: &[&str], input: &str) -> String {
    let (code, told, wrong) = command(node, arguments, input);
    assert_eq!(code, Some(0), "{arguments:?}: {wrong}");
    told
}

#[test]
fn operators_see_send_pause_and_remove_messages() {
    let node = jobs("");
    assert!(done(&node, &["pause", "jobs", "jobs"], "").contains("jobs/jobs paused"));
    let sent = done(&node, &["send", "jobs", "jobs", "--content-type", "text/plain"], "by hand");
    done(&node, &["send", "jobs", "jobs", "--delay", "1h"], "in an hour");
    let told = done(&node, &["peek", "jobs", "jobs"], "");
    assert!(told.contains(sent.trim()) && told.contains("by hand") && told.contains("text/plain"), "{told}");
    assert!(told.contains(", due "), "{told}");
    let listed = done(&node, &["ls", "jobs"], "");
    assert!(listed.contains("paused") && listed.contains("jobs-dead"), "{listed}");
    assert_eq!(deliveries(&node, "by hand"), 0);
    done(&node, &["resume", "jobs", "jobs"], "");
    until("it came", || deliveries(&node, "by hand") == 1);
    assert_eq!(done(&node, &["purge", "jobs", "jobs"], ""), "jobs/jobs: 1 messages removed\n");
    let audit = std::process::Command::new(eyot().get_program())
        .args(["audit", "--admin", &format!("http://{}", node.admin.expect("an admin listener"))])
        .env("EYOT_TOKEN_FILE", node.folder.path().join("store/admin.token"))
        .output()
        .expect("it runs");
    let audit = String::from_utf8_lossy(&audit.stdout).into_owned();
    for change in ["queue.pause", "queue.resume", "queue.send", "queue.purge"] {
        assert!(audit.contains(change), "{change}: {audit}");
    }
}

#[test]
fn dead_letters_come_back_when_they_are_redriven() {
    let node = jobs("attempts = 2\nretry_max = \"50ms\"");
    send(&node, "until 4", "");
    until("it is given up", || held(&node, "jobs-dead") == 1);
    assert_eq!(deliveries(&node, "until 4"), 2);
    assert_eq!(done(&node, &["redrive", "jobs", "jobs"], ""), "jobs/jobs: 1 messages came back\n");
    until("it is given up once more", || held(&node, "jobs-dead") == 1);
    assert_eq!(deliveries(&node, "until 4"), 4, "its deliveries are counted anew");
    assert_eq!(
        done(&node, &["redrive", "jobs", "other", "--from", "jobs-dead"], ""),
        "jobs/other: 1 messages came back\n"
    );
    assert_eq!((held(&node, "jobs-dead"), held(&node, "other")), (0, 1));
    until_empty(&node, "jobs");
}

#[test]
fn a_backup_has_the_messages_and_a_restored_store_too() {
    let node = jobs("");
    done(&node, &["pause", "jobs", "jobs"], "");
    send(&node, "note", "times=3");
    let folder = node.folder.path();
    let run = |arguments: &[&str]| {
        let mut command = eyot();
        command.args(arguments).env("EYOT_TOKEN_FILE", folder.join("store/admin.token"));
        assert!(command.output().expect("it runs").status.success(), "{arguments:?}");
    };
    run(&["backup", "before", "--admin", &format!("http://{}", node.admin.expect("an admin listener"))]);
    let (backup, restored) = (folder.join("store-backups/before"), folder.join("restored"));
    run(&["restore", backup.to_str().expect("text"), restored.to_str().expect("text")]);
    let database = rusqlite::Connection::open(restored.join("queue.db")).expect("a database");
    let count = database.query_row("SELECT count(*) FROM messages", [], |row| row.get::<_, i64>(0));
    assert_eq!(count.expect("a number"), 3);
}

#[test]
fn what_cannot_be_is_refused_with_what_to_do() {
    let node = jobs("");
    for (arguments, code, why) in [
        (vec!["send", "jobs", "other"], 1, "no worker that serves here has [[queue]] jobs/other"),
        (vec!["peek", "jobs", "NOT A NAME"], 2, "cannot be the name of a queue"),
        (vec!["send", "jobs", "jobs", "--delay", "13h"], 2, "12 hours"),
        (vec!["redrive", "jobs", "jobs", "--from", "jobs"], 2, "name another queue"),
    ] {
        let (ended, _, told) = command(&node, &arguments, "x");
        assert_eq!(ended, Some(code), "{arguments:?}: {told}");
        assert!(told.contains(why), "{arguments:?}: {told}");
    }
    let peeked: Value = serde_json::from_str(&done(&node, &["peek", "jobs", "nothing", "--json"], "")).expect("JSON");
    assert_eq!(peeked["messages"], serde_json::json!([]));
}
