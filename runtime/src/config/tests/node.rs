//! node.toml.

use std::time::Duration;

use super::super::{Algorithm, Target, TokenSource};
use super::{Node, assert_faults, folder, node_faults};

pub(super) const WHOLE: &str = r#"
state = "state"
trusted_proxies = ["10.0.0.0/8"]

[[listener]]
address = "127.0.0.1:8080"

[[listener]]
address = "[::1]:8443"
tls = { certificate = "chain.pem", key = "key.pem" }

[admin]
address = "127.0.0.1:9090"

[[worker]]
path = "api"

[[worker]]
path = "api/eyot.toml"
name = "api-next"
component = "next.wasm"

[[origin]]
name = "shop"
url = "http://127.0.0.1:3000/base"
connect_timeout = "500ms"
http2 = true

[[auth]]
name = "members"
source = { cookie = "session" }
issuers = ["https://id.example.com"]
audiences = ["shop"]
leeway = "5m"
scopes = ["orders:read"]

[[auth.key]]
algorithm = "HS256"
file = "secret"
id = "1"

[[auth.key]]
algorithm = "EdDSA"
file = "key.pem"
id = "2"

[[route]]
host = "example.com"
path = "/api/*"
auth = "members"
worker = "api"

[[route]]
origin = "shop"

[[route]]
path = "/old/{id}"
redirect = { status = 308, location = "https://example.com/new/{id}?{query}" }

[[route]]
path = "/robots.txt"
[route.respond]
body = "User-agent: *"
headers = { Content-Type = "text/plain" }

[limits]
memory = "64MiB"

[telemetry]
otlp_endpoint = "http://127.0.0.1:4318"
sample = 1
service_name = "edge"
"#;

pub(super) const FILES: [(&str, &str); 6] = [
    ("node.toml", WHOLE),
    ("api/eyot.toml", "name = \"api\"\norigins = [\"shop\"]\nauth = \"members\"\n[[route]]\npath = \"/x\"\n"),
    ("api/api.wasm", ""),
    ("next.wasm", ""),
    ("secret", "0123456789abcdef0123456789abcdef\n"),
    ("key.pem", "-----BEGIN PUBLIC KEY-----\n"),
];

#[test]
fn a_whole_file_is_read_into_typed_values() {
    let root = folder(&FILES);
    std::fs::write(root.path().join("chain.pem"), "").unwrap();
    let node = Node::load(&root.path().join("node.toml"), None).unwrap();
    assert_eq!(node.listeners.len(), 2);
    let files = node.listeners[1].tls.as_ref().unwrap().files().next().cloned();
    assert_eq!(files, Some(root.path().join("chain.pem")));
    assert_eq!(node.admin.unwrap().address.port(), 9090);
    assert_eq!(node.state, Some(root.path().join("state")));
    let names: Vec<&str> = node.workers.iter().map(|worker| worker.name.as_str()).collect();
    assert_eq!(names, ["api", "api-next"]);
    assert_eq!(node.workers[1].component, root.path().join("next.wasm"));
    assert_eq!(node.workers[1].routes[0].target, Target::Worker("api-next".into()));
    assert_eq!(node.workers[0].limits.memory, 64 << 20);
    let origin = &node.origins[0];
    assert_eq!((origin.connect_timeout, origin.idle_timeout), (Duration::from_millis(500), Duration::from_secs(30)));
    assert!(!origin.preserve_host && origin.http2);
    let auth = &node.auths[0];
    assert_eq!((&auth.source, auth.leeway), (&TokenSource::Cookie("session".into()), Duration::from_secs(300)));
    assert_eq!((auth.keys[1].algorithm, auth.realm.as_str()), (Algorithm::EdDSA, "members"));
    assert_eq!(node.routes[1].target, Target::Origin("shop".into()));
    let headers = vec![(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"))];
    let (status, body) = (http::StatusCode::OK, "User-agent: *".into());
    assert_eq!(node.routes[3].target, Target::Respond { status, headers, body });
    assert_eq!((node.telemetry.service_name.as_deref(), node.telemetry.sample), (Some("edge"), Some(1.0)));
}

#[test]
fn an_empty_file_says_what_a_node_needs() {
    assert_faults(&node_faults(&[("node.toml", "")]), &["node.toml:1:1: node.toml: there is no listener"]);
}

const LISTENER: &str = "listener = [{ address = \"127.0.0.1:80\" }]\n";

pub(super) fn after_listener(text: &str, more: &[(&str, &str)]) -> Vec<String> {
    let text = format!("{LISTENER}{text}");
    node_faults(&[&[("node.toml", text.as_str())], more].concat())
}

#[test]
fn empty_lists_are_not_taken_for_listeners_and_keys() {
    let text = "listener = []\nauth = [{ name = \"a\", key = [] }]\n";
    let expected = ["node.toml:1:1: node.toml: there is no listener", "node.toml:2:9: [[auth]]: there is no key"];
    assert_faults(&node_faults(&[("node.toml", text)]), &expected);
}

#[test]
fn the_admin_listener_is_only_for_this_machine() {
    let admin = |address: &str| after_listener(&format!("admin.address = \"{address}\"\n"), &[]);
    for address in ["0.0.0.0:9", "10.0.0.1:9", "[::]:9", "[::ffff:10.0.0.1]:9"] {
        assert_faults(&admin(address), &[&format!("node.toml:2:17: bad `address` \"{address}\": the admin listener")]);
    }
    assert_faults(
        &admin("127.0.0.1:80"),
        &["node.toml:2:17: 127.0.0.1:80 is already taken by 127.0.0.1:80 at node.toml:1:25"],
    );
    assert_faults(&admin("localhost:9"), &["node.toml:2:17: bad `address` \"localhost:9\": this is not an IP address"]);
}

#[test]
fn two_listeners_cannot_have_one_address() {
    let found = after_listener("[admin]\n[telemetry]\notlp_endpoint = \"x\"\nsample = 10\n", &[]);
    assert_faults(
        &found,
        &[
            "node.toml:2:1: [admin]: `address` is missing",
            "node.toml:4:17: bad `otlp_endpoint` \"x\": not a URL",
            "node.toml:5:10: `sample`: 10 is no share of all traces",
        ],
    );
    let text = "[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\n\
                address = \"0.0.0.0:81\"\n[[listener]]\naddress = \"127.0.0.1:81\"\ntls = { certificate = \"c\" }\n";
    assert_faults(
        &node_faults(&[("node.toml", text)]),
        &[
            "node.toml:8:11: 127.0.0.1:81 is already taken by 0.0.0.0:81 at node.toml:6:11",
            "node.toml:9:7: [tls]: `key` is missing",
            "node.toml:9:23: `certificate`: cannot read ",
        ],
    );
}

#[test]
fn a_listener_has_further_certificates_beside_that_of_tls_and_may_ask_for_those_of_clients() {
    let text = "[[listener]]\naddress = \"127.0.0.1:443\"\n\
                tls = { certificate = \"a\", key = \"b\", ocsp = \"c\", client_ca = \"d\", client_certificates = \"optional\" }\n\
                [[listener.certificate]]\ncertificate = \"e\"\nkey = \"f\"\n\
                [[listener]]\naddress = \"127.0.0.1:444\"\ntls = { certificate = \"a\", key = \"b\", client_ca = \"d\" }\n";
    let files = ["a", "b", "c", "d", "e", "f"].map(|name| (name, ""));
    let root = folder(&[&[("node.toml", text)], &files[..]].concat());
    let read = Node::read(&root.path().join("node.toml"), None);
    assert_eq!(read.faults, []);
    let listeners = read.node.unwrap().listeners;
    let tls = listeners[0].tls.as_ref().unwrap();
    let named: Vec<_> = tls.files().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(named, ["a", "b", "c", "e", "f", "d"]);
    assert!(!tls.clients.as_ref().unwrap().required);
    assert!(listeners[1].tls.as_ref().unwrap().clients.as_ref().unwrap().required, "unless it is said to be optional");
}

#[test]
fn certificates_of_clients_need_an_authority_and_further_certificates_a_first_one() {
    let text = "[[listener]]\naddress = \"127.0.0.1:443\"\n\
                tls = { certificate = \"k\", key = \"k\", client_certificates = \"required\" }\n\
                [[listener]]\naddress = \"127.0.0.1:444\"\n[[listener.certificate]]\ncertificate = \"k\"\n\
                [[listener]]\naddress = \"127.0.0.1:445\"\n\
                tls = { certificate = \"k\", key = \"k\", client_ca = \"k\", client_certificates = \"sometimes\" }\n";
    assert_faults(
        &node_faults(&[("node.toml", text), ("k", "")]),
        &[
            "node.toml:3:61: `client_certificates` needs `client_ca`",
            "node.toml:6:1: [[certificate]]: this listener has no `tls`",
            "node.toml:6:1: [[certificate]]: `key` is missing",
            "node.toml:10:78: bad `client_certificates` \"sometimes\": a client's certificate is either",
        ],
    );
}

#[test]
fn http_3_needs_tls() {
    let text = "[[listener]]\naddress = \"127.0.0.1:443\"\ntls = { certificate = \"k\", key = \"k\" }\nhttp3 = true\n\
                [[listener]]\naddress = \"127.0.0.1:444\"\nhttp3 = false\n\
                [[listener]]\naddress = \"127.0.0.1:445\"\nhttp3 = true\n\
                [[listener]]\naddress = \"127.0.0.1:446\"\nhttp3 = \"yes\"\n";
    assert_faults(
        &node_faults(&[("node.toml", text), ("k", "")]),
        &["node.toml:10:9: `http3` needs `tls`", "node.toml:13:9: `http3`"],
    );
}

#[test]
fn names_are_defined_once() {
    let text = "[[origin]]\nname = \"a\"\nurl = \"http://a\"\n[[origin]]\nname = \"a\"\nurl = \"http://b\"\n\
                [[auth]]\nname = \"a\"\nkey = [{ algorithm = \"ES256\", file = \"k\" }]\n\
                [[auth]]\nname = \"a\"\nkey = [{ algorithm = \"ES256\", file = \"k\" }]\n\
                [[worker]]\npath = \"w\"\n[[worker]]\npath = \"w\"\n[[worker]]\npath = \"w\"\nname = \"w\"\n";
    assert_faults(
        &after_listener(text, &[("k", ""), ("w/eyot.toml", "name = \"w\""), ("w/w.wasm", "")]),
        &[
            "node.toml:6:8: there are two origins with the name `a`; the first is at node.toml:3:8",
            "node.toml:12:8: there are two auths with the name `a`; the first is at node.toml:9:8",
            "node.toml:17:8: there are two workers with the name `w`; the first is at node.toml:15:8",
            "node.toml:20:8: there are two workers with the name `w`; the first is at node.toml:15:8",
        ],
    );
}

#[test]
fn a_name_that_leads_nowhere_is_a_fault_where_it_is_used() {
    let text = "[[worker]]\npath = \"w\"\n[[origin]]\nname = \"shop\"\nurl = \"http://a\"\n\
                [[route]]\nworker = \"v\"\nauth = \"members\"\n[[route]]\norigin = \"shpo\"\n";
    let worker = "name = \"w\"\nauth = \"m\"\norigins = [\"shop\", \"bank\"]\n[[route]]\nauth = \"n\"\n";
    let files = [("w/eyot.toml", worker), ("w/w.wasm", "")];
    assert_faults(
        &after_listener(text, &files),
        &[
            "node.toml:8:10: there is no worker `v`",
            "node.toml:9:8: there is no auth `members`",
            "node.toml:11:10: there is no origin `shpo`",
            "w/eyot.toml:2:8: there is no auth `m`",
            "w/eyot.toml:3:20: there is no origin `bank`",
            "w/eyot.toml:5:8: there is no auth `n`",
        ],
    );
    let node = format!("{LISTENER}{text}");
    let root = folder(&[&[("node.toml", node.as_str())], &files[..]].concat());
    let error = Node::load(&root.path().join("node.toml"), None).unwrap_err();
    let help = |at: usize| error.0[at].help.as_deref().unwrap();
    assert_eq!(help(1), "node.toml defines no auths: add [[auth]]");
    assert_eq!(help(2), "did you mean `shop`? known origins: shop");
}

#[test]
fn a_name_is_not_missed_when_its_definition_has_other_faults() {
    let text = "[[worker]]\npath = \"w\"\n[[origin]]\nurl = \"http://a\"\n[[route]]\nworker = \"w\"\n[[route]]\norigin = \"a\"\n";
    assert_faults(
        &after_listener(text, &[("w/eyot.toml", "name = \"w\"\nfoo = 1\n"), ("w/w.wasm", "")]),
        &["node.toml:4:1: [[origin]]: `name` is missing", "w/eyot.toml:2:1: unknown key `foo` in eyot.toml"],
    );
}

#[test]
fn missing_files_are_faults_where_they_were_named() {
    let text = "[[worker]]\npath = \"none\"\n[[worker]]\npath = \"w\"\ncomponent = \"none.wasm\"\n[[origin]]\nname = \"a\"\n\
                url = \"https://a\"\ncertificate_authority = \"none.pem\"\n[[auth]]\nname = \"a\"\n\
                key = [{ algorithm = \"ES256\", file = \"none.pem\" }]\n";
    assert_faults(
        &after_listener(text, &[("w/eyot.toml", "name = \"w\"")]),
        &[
            "node.toml:3:8: `path`: there is no none",
            "node.toml:6:13: `component`: cannot read none.wasm",
            "node.toml:10:25: `certificate_authority`: cannot read none.pem",
            "node.toml:13:38: `file`: cannot read none.pem",
        ],
    );
}

#[test]
fn all_faults_of_ways_to_authenticate_are_reported() {
    let text = r#"[[auth]]
name = "a"
source = "query"
leeway = "6m"
scopes = ["a b"]
realm = "a\"b"
issuers = "x"
[[auth.key]]
algorithm = "none"
[[auth.key]]
algorithm = "ES256"
file = "k"
id = "1"
[[auth.key]]
algorithm = "ES256"
file = "k"
id = "1"
[[auth]]
name = "b"
source = { cookie = "a b" }
"#;
    assert_faults(
        &after_listener(text, &[("k", "")]),
        &[
            "node.toml:4:10: `source` must be \"header\" or { cookie = NAME }, not the string \"query\"",
            "node.toml:5:10: bad `leeway` \"6m\": clocks do not differ by more than 5m",
            "node.toml:6:11: bad `scopes` \"a b\"",
            "node.toml:7:9: bad `realm` \"a\"b\"",
            "node.toml:8:11: `issuers` must be a list of strings, not the string \"x\"",
            "node.toml:9:1: [[key]]: `file` is missing",
            "node.toml:10:13: bad `algorithm` \"none\": this is not an algorithm that is verified",
            "node.toml:18:6: two keys have the id `1`",
            "node.toml:19:1: [[auth]]: there is no key",
            "node.toml:21:21: bad `cookie` \"a b\"",
        ],
    );
}

#[test]
fn all_faults_of_origins_and_routes_are_reported() {
    let text = r#"[[origin]]
name = "a"
url = "https://u:p@a"
connect_timeout = "0s"
idle_timeout = 5
http2 = "yes"
[[origin]]
name = "b"
url = "https://b"
concurrency = 0
[[route]]
path = "/a"
[[route]]
origin = "b"
respond = {}
[[route]]
redirect = { status = 200, location = "//evil" }
[[route]]
respond = { status = 204, body = "x", headers = { content-length = "1" } }
[[route]]
respond = { status = 70000 }
[[route]]
redirect = "/x"
"#;
    assert_faults(
        &after_listener(text, &[]),
        &[
            "node.toml:4:7: bad `url` \"https://u:p@a\": it holds a user name or a password",
            "node.toml:5:19: bad `connect_timeout` \"0s\": 0 leaves no time at all",
            "node.toml:6:16: `idle_timeout` must be a time, not the integer 5",
            "node.toml:7:9: `http2` must be true or false, not the string \"yes\"",
            "node.toml:11:15: `concurrency` must be a whole number from 1, not the integer 0",
            "node.toml:12:1: [[route]]: the route has no target",
            "node.toml:14:1: [[route]]: the route has more than one target",
            "node.toml:18:23: 200 is not a redirect",
            "node.toml:18:39: bad `location` \"//evil\"",
            "node.toml:20:34: an answer with status 204 has no body",
            "node.toml:20:51: bad `headers` \"content-length\": the node sets this field itself",
            "node.toml:22:22: `status` must be a status code, not the integer 70000",
            "node.toml:24:12: `redirect` must be a table, not the string \"/x\"",
        ],
    );
}
