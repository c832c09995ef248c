//! Keys and values from outside: what a worker writes is there for all of its isolates, after restarts and kills, and for nobody else.

mod harness;
#[path = "kv/shared.rs"]
mod shared;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use harness::{Answer, Node, eyot, fixtures, until};
use serde_json::{Value, json};

/// A node that keeps what these workers write; each at NAME.test.
fn node(component: &Path, workers: &[(&str, &str)]) -> Node {
    node_with("", component, workers)
}

/// The same with more in its node.toml.
fn node_with(more: &str, component: &Path, workers: &[(&str, &str)]) -> Node {
    let files: Vec<_> = workers
        .iter()
        .map(|(name, lines)| {
            let lines = format!("{lines}\n[[route]]\nhost = \"{name}.test\"\npath = \"/*\"");
            (format!("{name}/eyot.toml"), fixtures::worker(name, component, &lines))
        })
        .collect();
    let listed: String = workers.iter().map(|(name, _)| format!("[[worker]]\npath = \"{name}\"\n")).collect();
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    Node::start(&format!("store = \"store\"\n{more}\n{listed}"), &files)
}

fn shop(lines: &str) -> Node {
    node(&fixtures::fixture(), &[("shop", &format!("kv = [\"carts\", \"users\"]\n{lines}"))])
}

fn ask(node: &Node, worker: &str, what: &str) -> Value {
    let answer: Answer = node.get_from(&format!("{worker}.test"), what);
    assert_eq!(answer.status, 200, "{what}: {} {}", answer.code(), answer.body);
    answer.json()
}

fn put(node: &Node, worker: &str, key: &str, value: &str) -> Value {
    ask(node, worker, &format!("/kv-put?ns=carts&key={key}&value={value}"))
}

fn value(node: &Node, worker: &str, key: &str) -> Value {
    ask(node, worker, &format!("/kv-get?ns=carts&key={key}"))["value"].clone()
}

#[test]
fn what_an_isolate_writes_others_read_also_after_a_restart_and_a_kill() {
    let node = shop("");
    put(&node, "shop", "a", "one");
    ask(&node, "shop", "/kv-put?ns=carts&key=b&value=two&metadata=blue&ttl=3600000");
    let node = node.again("-TERM");
    assert_eq!(value(&node, "shop", "a"), "one");
    put(&node, "shop", "c", "three");
    let node = node.again("-KILL");
    let entry = ask(&node, "shop", "/kv-get?ns=carts&key=b");
    assert_eq!((&entry["value"], &entry["metadata"]), (&json!("two"), &json!("blue")));
    assert!(entry["expires"].is_u64(), "{entry}");
    assert_eq!(value(&node, "shop", "c"), "three");
    assert_eq!(ask(&node, "shop", "/kv-get?ns=users&key=a"), Value::Null, "another namespace has its own");
}

/// T01 of the failure cases; which names lead where is tried with random ones in `store::kv`.
#[test]
fn no_worker_reaches_what_another_one_keeps() {
    let kv = "kv = [\"carts\"]";
    let node = node(&fixtures::fixture(), &[("a", kv), ("ab", kv), ("stranger", "")]);
    put(&node, "a", "k", "of-a");
    put(&node, "ab", "k", "of-ab");
    assert_eq!(value(&node, "a", "k"), "of-a");
    ask(&node, "a", "/kv-delete?ns=carts&key=k");
    assert_eq!(value(&node, "ab", "k"), "of-ab");
    for name in ["users", "", "../ab/carts", "ab:carts", "ab/carts", "carts%00", "ｃarts", "*"] {
        for worker in ["a", "stranger"] {
            let refused = ask(&node, worker, &format!("/kv-get?ns={name}&key=k"));
            assert_eq!(refused["error"], "no-such-namespace", "{worker} {name}");
        }
    }
    assert_eq!(ask(&node, "stranger", "/kv-get?ns=carts&key=k")["error"], "no-such-namespace");
}

#[test]
fn a_value_goes_when_its_time_is_over() {
    let node = shop("");
    ask(&node, "shop", "/kv-put?ns=carts&key=a&value=1&ttl=300");
    assert_eq!(value(&node, "shop", "a"), "1");
    until("it has expired", || value(&node, "shop", "a").is_null());
    assert_eq!(ask(&node, "shop", "/kv-list?ns=carts")["entries"], json!([]));
    ask(&node, "shop", "/kv-put?ns=carts&key=a&value=2&if=nothing");
    assert_eq!(value(&node, "shop", "a"), "2");
}

#[test]
fn a_change_is_made_if_what_was_read_still_stands_there() {
    let node = shop("");
    let first = put(&node, "shop", "a", "1")["revision"].as_u64().expect("a number");
    let conflict = ask(&node, "shop", "/kv-put?ns=carts&key=a&value=2&if=nothing");
    assert_eq!(conflict["error"], "conflict");
    ask(&node, "shop", &format!("/kv-put?ns=carts&key=a&value=2&if={first}"));
    let late = ask(&node, "shop", &format!("/kv-delete?ns=carts&key=a&if={first}"));
    assert_eq!(late["error"], "conflict");
    assert_eq!(value(&node, "shop", "a"), "2");
    assert_eq!(ask(&node, "shop", "/kv-increment?ns=carts&key=a&by=-5"), json!(-3));
    put(&node, "shop", "a", "many");
    assert_eq!(ask(&node, "shop", "/kv-increment?ns=carts&key=a")["error"], "not-a-number");
}

#[test]
fn keys_are_listed_by_prefix_page_by_page() {
    let node = shop("");
    for key in ["b", "user:1", "user:2", "user:3", "users"] {
        ask(&node, "shop", &format!("/kv-put?ns=carts&key={key}&value=x&metadata=of-{key}"));
    }
    let first = ask(&node, "shop", "/kv-list?ns=carts&prefix=user:&most=2");
    let entry = |key: &str| json!({ "key": key, "metadata": format!("of-{key}") });
    assert_eq!(first["entries"], json!([entry("user:1"), entry("user:2")]));
    let cursor = first["cursor"].as_str().expect("there is more");
    let second = ask(&node, "shop", &format!("/kv-list?ns=carts&prefix=user:&most=2&cursor={cursor}"));
    assert_eq!(second, json!({ "entries": [entry("user:3")], "cursor": null }));
}

#[test]
fn components_of_wasi_keyvalue_run_in_both_of_its_drafts() {
    let node = node(&fixtures::keyvalue(), &[("shop", "kv = [\"default\"]")]);
    let told = |path: &str| node.get_from("shop.test", path).body;
    assert_eq!(
        told("/draft/default"),
        "a Some([49]), b false, many [Some((\"a\", [49])), None], count 42, keys [\"a\", \"c\"] None, left []"
    );
    assert_eq!(
        told("/draft2/default"),
        "a Some([49]), b false, many [Some((\"a\", [49])), None], count -42, \
         met Some([102, 97, 115, 116, 101, 114]), then true, \
         keys [\"a\", \"c\"] None, a Some([105, 110, 32, 116, 105, 109, 101]), left []"
    );
    assert!(told("/draft/other").contains("NoSuchStore"));
}

/// T13 of the failure cases.
#[test]
fn a_worker_that_fills_what_it_has_hinders_nobody_else() {
    let greedy = "kv = [\"carts\"]\n[limits]\nkv_total = \"1MiB\"\nkv_operations = 10000\ncpu_time = \"10s\"";
    let node = node(&fixtures::fixture(), &[("greedy", greedy), ("shop", "kv = [\"carts\"]")]);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let greedy = scope.spawn(|| {
            let mut refused = 0;
            for number in 0..40 {
                let put = format!("/kv-put?ns=carts&key=k{number}&bytes=100000&times=3");
                refused += u32::from(ask(&node, "greedy", &put)["error"] == "full");
            }
            ended.store(true, Relaxed);
            refused
        });
        let mut written = 0;
        while !ended.load(Relaxed) {
            put(&node, "shop", "k", &written.to_string());
            assert_eq!(value(&node, "shop", "k"), written.to_string());
            written += 1;
        }
        assert!(written > 0);
        assert_eq!(greedy.join().expect("no panic"), 30, "ten values have room in 1 MiB");
    });
    ask(&node, "greedy", "/kv-delete?ns=carts&key=k0");
    assert!(ask(&node, "greedy", "/kv-put?ns=carts&key=k99&bytes=100000")["revision"].is_u64());
}

/// F04 of the failure cases: 1,000 rounds with `EYOT_FULL=1`.
#[test]
fn a_node_that_is_killed_while_it_writes_has_all_that_it_answered_and_nothing_by_half() {
    let rounds = if std::env::var_os("EYOT_FULL").is_some() { 1000 } else { 6 };
    let mut node = shop("[limits]\ncpu_time = \"5s\"");
    let whole = |number: u64| number.to_string().repeat(500);
    let answered = AtomicU64::new(0);
    let mut next = 1;
    for round in 0..rounds {
        let stopping = AtomicBool::new(false);
        let last = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut number = next;
                while !stopping.load(Relaxed) {
                    let target = format!("/kv-put?ns=carts&key=k{number}&value={}", whole(number));
                    match Answer::try_of(node.request("GET", &target).header("host", "shop.test")) {
                        Some(answer) if answer.status == 200 => answered.store(number, Relaxed),
                        _ => break,
                    }
                    number += 1;
                }
                number
            });
            let enough = answered.load(Relaxed) + 3 + round % 7;
            until("some is written", || answered.load(Relaxed) >= enough);
            let killed = Command::new("kill").args(["-KILL", &node.id().to_string()]).status();
            assert!(killed.expect("kill runs").success());
            stopping.store(true, Relaxed);
            writer.join().expect("no panic")
        });
        node = node.again("-KILL");
        for number in next..=answered.load(Relaxed) {
            assert_eq!(value(&node, "shop", &format!("k{number}")), whole(number), "round {round}");
        }
        let maybe = value(&node, "shop", &format!("k{last}"));
        assert!(maybe.is_null() || maybe == whole(last), "round {round}: half a value");
        next = last + 1;
    }
    println!("{rounds} kills, {} values", answered.load(Relaxed));
}

#[test]
fn a_component_of_wasi_0_3_keeps_what_it_writes_too() {
    let node = node(&fixtures::fixture3(), &[("shop", "kv = [\"counts\"]")]);
    let add = |by: u64| node.get_from("shop.test", &format!("/kv-increment?ns=counts&key=n&by={by}"));
    assert_eq!((add(2).body.trim(), add(40).body.trim()), ("2", "42"));
    std::thread::scope(|scope| {
        let adding: Vec<_> = (0..8).map(|_| scope.spawn(|| add(1).status)).collect();
        assert!(adding.into_iter().all(|added| added.join().expect("no panic") == 200));
    });
    assert_eq!(add(0).body.trim(), "50");
}

#[test]
fn what_has_expired_makes_room_by_itself() {
    let node = shop("[limits]\nkv_total = \"1KiB\"");
    let put = |key: &str| ask(&node, "shop", &format!("/kv-put?ns=carts&key={key}&bytes=700&ttl=200"));
    assert!(put("a")["revision"].is_u64());
    assert_eq!(put("b")["error"], "full");
    until("it was removed", || put("b")["revision"].is_u64());
}

#[test]
fn a_backup_has_what_workers_keep_and_a_restored_store_too() {
    let node = shop("");
    put(&node, "shop", "a", "one");
    let token = node.folder.path().join("store/admin.token");
    let admin = format!("http://{}", node.admin.expect("an admin listener"));
    let eyot_with = |arguments: &[&str]| {
        let output = eyot().args(arguments).env("EYOT_TOKEN_FILE", &token).output().expect("it runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    eyot_with(&["backup", "before", "--admin", &admin]);
    put(&node, "shop", "a", "two");
    let (store, backup) = (node.folder.path().join("store"), node.folder.path().join("store-backups/before"));
    let restored = node.folder.path().join("restored");
    eyot_with(&["restore", backup.to_str().expect("text"), restored.to_str().expect("text")]);
    let node = {
        let mut node = node;
        node.stop("-TERM");
        std::fs::rename(&store, node.folder.path().join("store-of-before")).expect("renamed");
        std::fs::rename(&restored, &store).expect("renamed");
        node.again("-TERM")
    };
    assert_eq!(value(&node, "shop", "a"), "one", "as it was at that moment");
}

#[test]
fn a_damaged_value_is_an_error_to_its_worker_and_others_are_served() {
    let mut node = node(&fixtures::fixture(), &[("shop", "kv = [\"carts\"]"), ("other", "kv = [\"carts\"]")]);
    put(&node, "shop", "a", "one");
    put(&node, "other", "a", "one");
    node.stop("-TERM");
    let file = node.folder.path().join("store/kv.db");
    let database = rusqlite::Connection::open(&file).expect("a database");
    let damage = "UPDATE entries SET value = x'00' WHERE namespace = (SELECT id FROM namespaces WHERE worker = 'shop')";
    assert_eq!(database.execute(damage, []).expect("it is written"), 1);
    drop(database);
    let mut node = node.again("-TERM");
    let told = ask(&node, "shop", "/kv-get?ns=carts&key=a");
    assert_eq!(told["error"], "unavailable", "{told}");
    assert!(!told["why"].as_str().expect("a reason").contains("kv.db"), "what is wrong is for the log: {told}");
    node.wait_for_log("is not what was written");
    assert_eq!(value(&node, "other", "a"), "one");
    node.stop("-TERM");
    std::fs::write(&file, b"no database at all, and long enough to be looked at as one").expect("written");
    let ran = eyot().args(["serve", "--config"]).arg(node.folder.path().join("node.toml")).output().expect("it runs");
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(2), "{told}");
    assert!(told.contains("kv.db") && told.contains("restore a backup"), "{told}");
}

#[test]
fn dev_keeps_what_workers_write_in_the_folder_where_it_was_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = fixtures::worker("shop", &fixtures::fixture(), "kv = [\"carts\"]\n[[route]]\npath = \"/*\"");
    std::fs::create_dir(folder.path().join("shop")).expect("a folder");
    std::fs::write(folder.path().join("shop/eyot.toml"), manifest).expect("a file");
    let start = || Node::dev_in(folder.path(), &folder.path().join("shop"));
    let mut node = start();
    until("it serves", || node.get("/kv-put?ns=carts&key=a&value=one").status == 200);
    assert!(folder.path().join(".eyot/kv.db").is_file());
    node.stop("-TERM");
    let node = start();
    until("it serves", || node.get("/kv-get?ns=carts&key=a").status == 200);
    assert_eq!(node.get("/kv-get?ns=carts&key=a").json()["value"], "one");
}

#[test]
fn a_node_without_a_place_for_them_says_so_before_it_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = fixtures::worker("shop", &fixtures::fixture(), "kv = [\"carts\"]\n[[route]]\npath = \"/*\"");
    std::fs::write(folder.path().join("eyot.toml"), manifest).expect("a file");
    let node = folder.path().join("node.toml");
    std::fs::write(&node, "[[listener]]\naddress = \"127.0.0.1:0\"\n[[worker]]\npath = \".\"\n").expect("a file");
    let ran = eyot().args(["check", "--config"]).arg(&node).output().expect("it runs");
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(2), "{told}");
    assert!(told.contains("this node keeps nothing") && told.contains("add `store = \"FOLDER\"`"), "{told}");
}

#[test]
fn operators_see_and_change_what_workers_keep() {
    let node = shop("");
    put(&node, "shop", "user:1", "one");
    let command = |arguments: &[&str], input: &str| {
        let mut command = eyot();
        let token = node.folder.path().join("store/admin.token");
        command
            .arg("kv")
            .args(arguments)
            .args(["--admin", &format!("http://{}", node.admin.expect("an admin listener"))]);
        let mut child = command
            .env("EYOT_TOKEN_FILE", token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let done = |arguments: &[&str], input: &str| {
        let (code, out, err) = command(arguments, input);
        assert_eq!(code, Some(0), "{arguments:?}: {err}");
        out
    };
    assert_eq!(done(&["get", "shop", "carts", "user:1"], ""), "one");
    done(&["put", "shop", "carts", "user/2 ?", "--metadata", "blue", "--ttl", "1h"], "two");
    assert_eq!(ask(&node, "shop", "/kv-get?ns=carts&key=user/2%20%3f")["value"], "two");
    let listed = done(&["ls", "shop", "carts", "--prefix", "user"], "");
    assert!(listed.contains("user:1") && listed.contains("user/2 ?") && listed.contains("blue"), "{listed}");
    assert!(done(&["ls", "shop"], "").contains("carts"));
    let exported = done(&["export", "shop", "carts"], "");
    done(&["rm", "shop", "carts", "user:1"], "");
    assert_eq!(value(&node, "shop", "user:1"), Value::Null);
    let (code, _, err) = command(&["get", "shop", "carts", "user:1"], "");
    assert_eq!(code, Some(1), "{err}");
    assert!(done(&["import", "shop", "users"], &exported).contains("2 entries"));
    assert_eq!(ask(&node, "shop", "/kv-get?ns=users&key=user:1")["value"], "one");
    assert_eq!(ask(&node, "shop", "/kv-get?ns=users&key=user/2%20%3f")["metadata"], "blue");
    let (code, _, err) = command(&["import", "shop", "users"], "{\"key\":\"a\",\"value\":\"AA==\"}\nnonsense\n");
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("line 2"), "{err}");
    let (code, _, err) = command(&["put", "shop", "carts", &"k".repeat(600)], "x");
    assert!(code != Some(0) && err.contains("kv_key"), "{code:?} {err}");
}
