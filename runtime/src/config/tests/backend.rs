use super::node::after_listener;
use super::{assert_faults, folder};
use crate::config::{Backends, Node, Protocol};

fn read(text: &str) -> Backends {
    let text = format!("{text}\n[[listener]]\naddress = \"127.0.0.1:0\"\n");
    let root = folder(&[("node.toml", &text), ("node.creds", "x")]);
    let read = Node::read(&root.path().join("node.toml"), None);
    assert_eq!(read.faults, [], "{text}");
    read.node.unwrap().backends
}

#[test]
fn messages_and_entries_are_on_this_nodes_disk_where_nothing_else_is_said() {
    for text in ["", "[queues]\nurl = \"sqlite:\"\n[kv]\nurl = \"sqlite:\""] {
        let Backends { queues, kv, fleet, .. } = read(text);
        assert_eq!((queues, kv, fleet), (None, None, None));
    }
}

#[test]
fn a_fleets_server_keeps_what_nothing_else_does() {
    let fleet =
        "store = \"store\"\nadmin.address = \"127.0.0.1:0\"\n[fleet]\nname = \"edge-1\"\nurl = \"nats://127.0.0.1\"\n";
    let found = read(fleet);
    let server = found.fleet.unwrap().server;
    assert_eq!((server.protocol, server.port(), server.replicas), (Protocol::Nats, 4222, 1));
    assert_eq!((found.queues.as_ref(), found.kv.as_ref()), (Some(&server), Some(&server)));
    let own = "[queues]\nurl = \"redis://user:secret@127.0.0.1:7000/3\"\n[kv]\nurl = \"sqlite:\"\n";
    let found = read(&format!("{fleet}{own}"));
    let queues = found.queues.unwrap();
    assert_eq!((queues.protocol, queues.port(), found.kv), (Protocol::Redis, 7000, None));
    assert!(!format!("{queues:?} {}", queues.place()).contains("secret"), "nobody sees a password");
}

#[test]
fn a_server_that_is_none_and_what_does_not_go_with_it_are_faults() {
    let queues = |lines: &str| after_listener(&format!("[queues]\n{lines}\n"), &[]);
    let bad = |url: &str, why: &str| {
        let fault = format!("node.toml:3:7: bad `url` \"{url}\": {why}");
        assert_faults(&queues(&format!("url = \"{url}\"")), &[&fault]);
    };
    bad("nats", "not a URL");
    bad("amqp://127.0.0.1", "nothing of this kind keeps it");
    bad("tls://127.0.0.1:4222", "servers are not reached over TLS yet");
    bad("rediss://127.0.0.1", "servers are not reached over TLS yet");
    bad("nats://127.0.0.1:0", "it names no host and port");
    bad("nats://127.0.0.1/1", "behind the host and its port");
    bad("redis://127.0.0.1/x", "behind the host and its port");
    assert_faults(&queues("monitor = []"), &["node.toml:2:1: [queues]: `url` is missing"]);
    assert_faults(
        &queues("url = \"redis://127.0.0.1\"\nmonitor = [\"http://127.0.0.1\"]"),
        &["node.toml:4:12: Redis is asked by its own protocol"],
    );
    assert_faults(
        &queues("url = \"sqlite:\"\nallow_unsynced = true"),
        &["node.toml:4:18: what this node's disk keeps is always synced"],
    );
    assert_faults(
        &queues("url = \"nats://127.0.0.1\"\nreplicas = 6"),
        &["node.toml:4:12: `replicas` is 6, and may be 1 to 5"],
    );
    let kv = |lines: &str| after_listener(&format!("[kv]\n{lines}\n"), &[]);
    assert_faults(
        &kv("url = \"redis://127.0.0.1\""),
        &["node.toml:3:7: bad `url` \"redis://127.0.0.1\": nothing of this kind"],
    );
    assert_faults(
        &kv("url = \"nats://127.0.0.1\"\nstaleness = \"2h\""),
        &["node.toml:4:13: bad `staleness` \"2h\": nobody wants"],
    );
}

#[test]
fn a_fleet_needs_a_name_a_store_and_a_server() {
    let found = after_listener("[fleet]\nurl = \"sqlite:\"\n", &[]);
    assert_faults(
        &found,
        &[
            "node.toml:2:1: [fleet]: there is no `store`",
            "node.toml:2:1: [fleet]: `name` is missing",
            "node.toml:3:7: this node's disk is shared with nobody",
        ],
    );
}
