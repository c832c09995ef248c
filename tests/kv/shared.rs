//! Nodes that name the same server share what their workers keep; without it each goes on with what needs none.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::servers::{Server, Synced};
use crate::harness::{Answer, Node, fixtures, until};
use crate::{ask, node_with, put, value};

/// A node whose keys and values are on a server.
fn shop_on(server: &Server, lines: &str) -> Node {
    let workers = [("shop", "kv = [\"carts\", \"users\"]"), ("plain", "")];
    node_with(&format!("{}{lines}\n", server.declared("kv")), &fixtures::fixture(), &workers)
}

/// What stands at a key becomes this before so much time has passed.
fn becomes(node: &Node, key: &str, wanted: &Value, within: Duration) {
    let began = Instant::now();
    until("it is seen", || value(node, "shop", key) == *wanted);
    assert!(began.elapsed() < within, "{key}: {:?}", began.elapsed());
}

#[test]
fn nodes_that_name_one_server_share_what_a_worker_keeps() {
    let Some(server) = Server::nats(Synced::Always) else { return };
    let nodes = [shop_on(&server, ""), shop_on(&server, "staleness = \"0s\"")];
    let [stale, fresh] = &nodes;
    assert_eq!(value(stale, "shop", "a"), Value::Null);
    put(fresh, "shop", "a", "one");
    becomes(stale, "a", &json!("one"), Duration::from_millis(1500));
    put(stale, "shop", "a", "two");
    assert_eq!(value(stale, "shop", "a"), "two", "what it has written it sees itself");
    assert_eq!(value(fresh, "shop", "a"), "two", "and so does who always asks");
    ask(fresh, "shop", "/kv-delete?ns=carts&key=a");
    becomes(stale, "a", &Value::Null, Duration::from_millis(1500));
    // A change under a condition is compared where all see it, however old what was read is.
    let first = put(fresh, "shop", "b", "1")["revision"].as_u64().expect("a number");
    assert_eq!(value(stale, "shop", "b"), "1");
    ask(fresh, "shop", &format!("/kv-put?ns=carts&key=b&value=2&if={first}"));
    let late = ask(stale, "shop", &format!("/kv-put?ns=carts&key=b&value=3&if={first}"));
    assert_eq!(late["error"], "conflict");
    std::thread::scope(|scope| {
        let adding = nodes
            .each_ref()
            .map(|node| scope.spawn(|| (0..50).for_each(|_| _ = ask(node, "shop", "/kv-increment?ns=users&key=hits"))));
        adding.into_iter().for_each(|adding| adding.join().expect("no panic"));
    });
    assert_eq!(ask(stale, "shop", "/kv-increment?ns=users&key=hits&by=0"), json!(100));
    assert_eq!(ask(fresh, "shop", "/kv-list?ns=carts")["entries"], json!([{ "key": "b", "metadata": null }]));
}

#[test]
fn a_node_that_is_killed_has_all_that_it_answered_and_its_disk_has_none_of_it() {
    let Some(server) = Server::nats(Synced::Always) else { return };
    let node = shop_on(&server, "");
    ask(&node, "shop", "/kv-put?ns=carts&key=a&value=one&metadata=blue&ttl=3600000");
    let node = node.again("-KILL");
    let entry = ask(&node, "shop", "/kv-get?ns=carts&key=a");
    assert_eq!((&entry["value"], &entry["metadata"]), (&json!("one"), &json!("blue")));
    assert!(!node.folder.path().join("store/kv.db").exists());
}

/// F16 of the failure cases, as far as keys and values go.
#[test]
fn without_its_server_a_node_answers_what_needs_none_and_writes_have_their_error_at_once() {
    let Some(mut server) = Server::nats(Synced::Always) else { return };
    let mut node = shop_on(&server, "staleness = \"1m\"");
    put(&node, "shop", "a", "one");
    server.kill();
    node.wait_for_log("the connection to NATS is lost");
    for what in
        ["/kv-put?ns=carts&key=a&value=two", "/kv-get?ns=carts&key=b", "/kv-list?ns=carts", "/kv-delete?ns=carts&key=b"]
    {
        let began = Instant::now();
        let refused = ask(&node, "shop", what);
        assert_eq!(refused["error"], "unavailable", "{what}: {refused}");
        assert!(
            !refused["why"].as_str().expect("a reason").contains("nats"),
            "what is wrong is for the log: {refused}"
        );
        assert!(began.elapsed() < Duration::from_secs(1), "{what}: {:?}", began.elapsed());
    }
    node.wait_for_log("cannot be used now");
    let plain = node.get_from("plain.test", "/count");
    assert_eq!(plain.status, 200, "{} {}", plain.code(), plain.body);
    // It starts without it, too.
    node.stop("-TERM");
    let node = node.again("-TERM");
    assert_eq!(node.get_from("plain.test", "/count").status, 200);
    assert_eq!(ask(&node, "shop", "/kv-get?ns=carts&key=a")["error"], "unavailable");
    server.start();
    until("it goes on by itself", || ask(&node, "shop", "/kv-get?ns=carts&key=a")["value"] == "one");
    put(&node, "shop", "a", "two");
    assert_eq!(value(&node, "shop", "a"), "two");
}

#[test]
fn a_server_that_could_lose_what_it_acknowledges_and_a_staleness_that_is_none_are_refused_at_the_start() {
    let Some(server) = Server::nats(Synced::Sometimes) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = fixtures::worker("shop", &fixtures::fixture(), "kv = [\"carts\"]\n[[route]]\npath = \"/*\"");
    std::fs::write(folder.path().join("eyot.toml"), manifest).expect("a file");
    let file = folder.path().join("node.toml");
    let refused = |section: &str| {
        let rest =
            "[[listener]]\naddress = \"127.0.0.1:0\"\n[[worker]]\npath = \".\"\n[admin]\naddress = \"127.0.0.1:0\"\n";
        std::fs::write(&file, format!("store = \"store\"\n{section}{rest}")).expect("a file");
        let ran = crate::eyot().args(["serve", "--config"]).arg(&file).output().expect("it runs");
        let told = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(2), "{told}");
        told
    };
    let told = refused(&server.declared("kv"));
    assert!(told.contains("acknowledges before it has written") && told.contains("allow_unsynced"), "{told}");
    let told = refused("[kv]\nurl = \"sqlite:\"\nstaleness = \"1s\"\n");
    assert!(told.contains("is read there each time"), "{told}");
    let told = refused(&format!("{}staleness = \"2h\"\n", server.declared("kv")));
    assert!(told.contains("write at most \"1h\""), "{told}");
}

#[test]
fn operators_see_what_is_on_the_server() {
    let Some(server) = Server::nats(Synced::Always) else { return };
    let node = shop_on(&server, "");
    put(&node, "shop", "user:1", "one");
    let token = std::fs::read_to_string(node.folder.path().join("store/admin.token")).expect("a token");
    let admin = node.admin.expect("an admin listener");
    let get = |path: &str| {
        let request = crate::harness::client().get(format!("http://{admin}/v1/workers/shop/kv{path}"));
        Answer::of(request.bearer_auth(token.trim()))
    };
    let told = get("").json();
    assert_eq!(told["namespaces"], json!([{ "name": "carts", "keys": 1 }]));
    assert!(told["bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{told}");
    assert_eq!(get("/carts?prefix=user").json()["keys"][0]["key"], "user:1");
    assert_eq!(get("/carts/entry?key=user:1").status, 200);
}
