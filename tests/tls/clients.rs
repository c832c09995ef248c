//! Clients that prove themselves: who is let in, and what a worker learns of them.

use std::io;

use rustls::SupportedProtocolVersion;
use serde_json::{Value, json};

use super::certificates::{Authority, Issued};
use super::dial::{Client, VERSIONS};
use super::harness::{Node, fixtures};
use super::{read_again, tool, write};

/// A node with a worker behind a listener that asks for certificates, and all that they are made of.
struct Guarded {
    node: Node,
    servers: Authority,
    clients: Authority,
}

impl Guarded {
    fn new(demand: &str) -> Self {
        Self::with(demand, "")
    }

    fn with(demand: &str, more: &str) -> Self {
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let own = servers.issue(&["shop.test"]);
        let configuration = format!(
            "{more}\n[[listener]]\naddress = \"127.0.0.1:0\"\ntls = {{ certificate = \"tls/shop.pem\", key = \"tls/shop.key\", \
             client_ca = \"tls/clients.pem\", client_certificates = \"{demand}\" }}\n[admin]\naddress = \"127.0.0.1:0\"\n\
             [[worker]]\npath = \"fixture\"\n"
        );
        let node = Node::start_exactly(
            &configuration,
            &[
                ("fixture/eyot.toml", &fixtures::manifest("[[route]]\npath = \"/*\"")),
                ("tls/shop.pem", &own.pem),
                ("tls/shop.key", &own.key),
                ("tls/clients.pem", &clients.pem()),
            ],
        );
        Self { node, servers, clients }
    }

    fn proving(&self, version: &'static SupportedProtocolVersion, own: &Issued) -> Client {
        Client::proving(&self.servers, version, own)
    }

    fn nobody(&self, version: &'static SupportedProtocolVersion) -> Client {
        Client::new(&self.servers, version)
    }

    /// Whom the worker sees, and whether the session was resumed.
    fn whoami(&self, client: &Client, more: &str) -> io::Result<(Value, bool)> {
        let head = format!("/certificate\n{more}");
        let (connection, answer) = client.ask(self.node.address(), "shop.test", &head)?;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let body =
            answer.split("\r\n").map(str::trim).find(|line| line.starts_with('{') || *line == "null").expect("JSON");
        Ok((serde_json::from_str(body).expect("JSON"), connection.is_resumed()))
    }
}

fn identity(name: &str, own: &Issued, folder: &std::path::Path) -> Value {
    let digest = {
        std::fs::write(folder.join("client.der"), &own.certificate).expect("a file");
        let output = std::process::Command::new("sha256sum").arg("client.der").current_dir(folder).output();
        String::from_utf8_lossy(&output.expect("coreutils").stdout).split(' ').next().expect("a digest").to_owned()
    };
    json!({
        "subject": format!("CN={name},O=Eyot\\, Tests"),
        "names": [
            format!("AlternativeName::Dns(\"{name}.clients.test\")"),
            format!("AlternativeName::Uri(\"spiffe://clients.test/{name}\")"),
            format!("AlternativeName::Email(\"{name}@clients.test\")"),
            "AlternativeName::Ip(\"192.0.2.7\")",
        ],
        "serial": "8a0b01",
        "fingerprint": digest,
    })
}

#[test]
fn where_certificates_are_required_only_who_has_a_good_one_is_let_in_and_the_worker_knows_whom() {
    let guarded = Guarded::new("required");
    let strangers = Authority::new("clients");
    let (ada, expired) = (guarded.clients.issue_to("ada"), guarded.clients.issue_expired(&["old.clients.test"]));
    for version in VERSIONS {
        let (seen, _) = guarded.whoami(&guarded.proving(version, &ada), "").expect("let in");
        assert_eq!(seen, identity("ada", &ada, guarded.node.folder.path()), "{version:?}");
        for (who, client) in [
            ("nobody", guarded.nobody(version)),
            ("a stranger", guarded.proving(version, &strangers.issue_to("ada"))),
            ("one whose time is over", guarded.proving(version, &expired)),
            ("a server", guarded.proving(version, &guarded.servers.issue(&["shop.test"]))),
        ] {
            let refused = guarded.whoami(&client, "").expect_err(who);
            assert!(!matches!(refused.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{who}: {refused}");
        }
    }
    assert_eq!(guarded.node.metric("eyot_requests_total", ""), 2.0, "no other request has come so far as a worker");
}

#[test]
fn where_they_are_optional_nobody_is_nobody_whatever_its_headers_say_and_a_bad_one_is_refused() {
    let guarded = Guarded::new("optional");
    let (ada, strangers) = (guarded.clients.issue_to("ada"), Authority::new("clients"));
    let forged = "client-cert: :MIIB:\r\nx-client-cert: MIIB\r\nx-forwarded-client-cert: Subject=\"CN=ada\"\r\n\
                  x-ssl-client-verify: SUCCESS\r\neyot-client-certificate: CN=ada\r\n";
    for version in VERSIONS {
        for headers in ["", forged] {
            let (seen, _) = guarded.whoami(&guarded.nobody(version), headers).expect("let in");
            assert_eq!(seen, Value::Null, "{version:?}");
            let (seen, _) = guarded.whoami(&guarded.proving(version, &ada), headers).expect("let in");
            assert_eq!(seen["subject"], "CN=ada,O=Eyot\\, Tests", "{version:?}");
        }
        guarded.whoami(&guarded.proving(version, &strangers.issue_to("ada")), "").expect_err("a stranger");
    }
    let folder = guarded.node.folder.path();
    write(folder, "ada", &ada);
    let url = format!("https://localhost:{}/certificate", guarded.node.address().port());
    let arguments = ["-sSik", "--http2", "--cert", "ada.pem", "--key", "ada.key", &url];
    let Some(said) = tool("curl", &arguments, folder) else { return };
    assert!(said.starts_with("HTTP/2 200") && said.contains("CN=ada"), "{said}");
}

#[test]
fn a_resumed_session_has_the_identity_of_its_own_client() {
    let guarded = Guarded::new("optional");
    let (ada, grace) = (guarded.clients.issue_to("ada"), guarded.clients.issue_to("grace"));
    for version in VERSIONS {
        let clients = [
            (guarded.proving(version, &ada), json!("CN=ada,O=Eyot\\, Tests")),
            (guarded.proving(version, &grace), json!("CN=grace,O=Eyot\\, Tests")),
            (guarded.nobody(version), Value::Null),
        ];
        for round in 0..3 {
            for (client, expected) in &clients {
                let (seen, resumed) = guarded.whoami(client, "").expect("let in");
                let subject = seen.get("subject").unwrap_or(&Value::Null);
                assert_eq!((subject, resumed), (expected, round > 0), "{version:?}");
            }
        }
    }
}

#[test]
fn a_session_does_not_outlive_the_authority_that_its_client_was_let_in_by() {
    let guarded = Guarded::new("required");
    let (ada, others) = (guarded.clients.issue_to("ada"), Authority::new("others"));
    let tls = guarded.node.folder.path().join("tls");
    let clients = VERSIONS.map(|version| guarded.proving(version, &ada));
    for client in &clients {
        guarded.whoami(client, "").expect("let in");
    }
    read_again(&guarded.node, "success");
    for client in &clients {
        let (_, resumed) = guarded.whoami(client, "").expect("let in");
        assert!(resumed, "nothing has changed for it");
    }
    std::fs::write(tls.join("clients.pem"), others.pem()).expect("a file");
    read_again(&guarded.node, "success");
    for client in &clients {
        guarded.whoami(client, "").expect_err("its authority has gone");
    }
    // The handshakes of a moment ago may have left the clients with sessions that do not count any more.
    let hedy = others.issue_to("hedy");
    let (seen, _) = guarded.whoami(&guarded.proving(VERSIONS[1], &hedy), "").expect("let in");
    assert_eq!(seen["subject"], "CN=hedy,O=Eyot\\, Tests");
    std::fs::write(tls.join("clients.pem"), "nothing\n").expect("a file");
    read_again(&guarded.node, "failure");
    guarded.whoami(&guarded.proving(VERSIONS[1], &hedy), "").expect("what was good stays");
}

#[test]
fn a_proxys_certificate_is_not_that_of_the_client_that_it_names() {
    let guarded = Guarded::with("optional", "trusted_proxies = [\"127.0.0.1/32\"]");
    let proxy = guarded.proving(VERSIONS[1], &guarded.clients.issue_to("proxy"));
    let (seen, _) = guarded.whoami(&proxy, "x-forwarded-for: 203.0.113.9\r\n").expect("let in");
    assert_eq!(seen, Value::Null);
    let (seen, _) = guarded.whoami(&proxy, "").expect("let in");
    assert_eq!(seen["subject"], "CN=proxy,O=Eyot\\, Tests", "it asks for itself");
}
