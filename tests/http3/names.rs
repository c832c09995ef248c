//! TLS within QUIC: the certificate for the name, who the client is, what they agree on, and what a renewal changes.

use serde_json::{Value, json};

use super::aioquic::{self, Seen};
use super::certificates::Authority;
use super::harness::{Node, fixtures, until};
use super::{Site, get, request};

/// What the worker knows of a client's certificate.
fn whoami(site: &Site, more: Value) -> Option<Seen> {
    let steps = json!([["ask", "who", get("/certificate")], ["wait", "who"]]);
    Some(aioquic::start(&site.plan_with(more, &steps))?.end())
}

#[test]
fn the_worker_knows_whom_a_client_s_certificate_names_and_nobody_else_is_let_in() {
    let (clients, strangers) = (Authority::new("clients"), Authority::new("clients"));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name)
    };
    let (ada, stranger) = (clients.issue_to("ada"), strangers.issue_to("ada"));
    let ca = file("clients.pem", &clients.pem());
    let own = |name: &str, issued: &super::certificates::Issued| json!({ "certificate": file(&format!("{name}.pem"), &issued.pem), "key": file(&format!("{name}.key"), &issued.key) });
    let site = Site::start("", &format!(", client_ca = {ca:?}"));
    let Some(seen) = whoami(&site, own("ada", &ada)) else { return };
    let who: Value = serde_json::from_str(seen.body("who")).unwrap();
    assert_eq!((&who["subject"], &who["serial"]), (&json!("CN=ada,O=Eyot\\, Tests"), &json!("8a0b01")));
    for (who, more) in [("a stranger", own("stranger", &stranger)), ("nobody", json!({}))] {
        let Some(seen) = whoami(&site, more) else { return };
        assert!(seen.of("who")["status"].is_null() && seen.0["closed"]["code"] != json!(0x100), "{who}: {}", seen.0);
    }
    assert_eq!(site.node.metric("eyot_requests_total", ""), 1.0, "no other request has come so far as a worker");

    let site = Site::start("", &format!(", client_ca = {ca:?}, client_certificates = \"optional\""));
    let Some(seen) = whoami(&site, json!({})) else { return };
    assert_eq!(seen.body("who").trim(), "null");
    let Some(seen) = whoami(&site, own("ada", &ada)) else { return };
    assert!(seen.body("who").contains("CN=ada"), "{}", seen.0);
}

#[test]
fn each_name_is_shown_its_certificate_and_a_renewal_holds_from_the_next_connection_on() {
    let (one, two) = (Authority::new("one"), Authority::new("two"));
    let (first, second) = (one.issue(&["shop.test"]), two.issue(&["other.test"]));
    let configuration = "[[listener]]\naddress = \"127.0.0.1:0\"\nhttp3 = true\n\
        tls = { certificate = \"tls/first.pem\", key = \"tls/first.key\" }\n\
        [[listener.certificate]]\ncertificate = \"tls/second.pem\"\nkey = \"tls/second.key\"\n\
        [admin]\naddress = \"127.0.0.1:0\"\n[[worker]]\npath = \"fixture\"\n";
    let (ca_one, ca_two) = (one.pem(), two.pem());
    let mut node = Node::start_exactly(
        configuration,
        &[
            ("fixture/eyot.toml", &fixtures::manifest("[[route]]\npath = \"/*\"")),
            ("tls/first.pem", &first.pem),
            ("tls/first.key", &first.key),
            ("tls/second.pem", &second.pem),
            ("tls/second.key", &second.key),
            ("one.pem", &ca_one),
            ("two.pem", &ca_two),
        ],
    );
    let ask = |node: &Node, name: &str, ca: &str| -> Option<Seen> {
        let head = json!([[":method", "GET"], [":scheme", "https"], [":authority", name], [":path", "/count"]]);
        let steps = json!([["ask", "one", head], ["wait", "one"]]);
        let ca = node.folder.path().join(ca);
        Some(aioquic::start(&json!({ "address": node.address(), "name": name, "ca": ca, "steps": steps }))?.end())
    };
    let Some(seen) = ask(&node, "shop.test", "one.pem") else { return };
    assert_eq!(seen.status("one"), 200);
    assert_eq!(ask(&node, "other.test", "two.pem").unwrap().status("one"), 200);
    assert!(!ask(&node, "other.test", "one.pem").unwrap().0["error"].is_null(), "it is not the other's");

    let renewed = two.issue(&["shop.test"]);
    std::fs::write(node.folder.path().join("tls/first.pem"), &renewed.pem).unwrap();
    std::fs::write(node.folder.path().join("tls/first.key"), &renewed.key).unwrap();
    node.signal("-HUP");
    until("they are read again", || node.metric("eyot_certificate_reloads_total", "result=\"success\"") == 1.0);
    assert_eq!(ask(&node, "shop.test", "two.pem").unwrap().status("one"), 200);
    assert!(!ask(&node, "shop.test", "one.pem").unwrap().0["error"].is_null(), "the old one is shown to nobody");
}

#[test]
fn what_was_agreed_on_is_told_as_it_is_and_what_we_do_not_speak_is_refused() {
    let site = Site::new();
    let steps = json!([["ask", "who", request("GET", "/client", &[])], ["wait", "who"]]);
    for (cipher, expected) in [
        ("AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
        ("AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
        ("CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
    ] {
        let Some(client) = aioquic::start(&site.plan_with(json!({ "cipher": cipher }), &steps)) else { return };
        let seen = client.end();
        let who: Value = serde_json::from_str(seen.body("who")).unwrap_or_else(|_| panic!("{}", seen.0));
        assert_eq!(who["tls"]["cipher"], expected);
    }
    let Some(client) = aioquic::start(&site.plan_with(json!({ "alpn": ["hq-interop"] }), &steps)) else { return };
    assert!(!client.end().0["error"].is_null());
}
