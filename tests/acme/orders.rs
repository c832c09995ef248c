//! What is ordered, when, and by whom.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::ParsedCertificate;

use crate::harness::until;
use crate::{Ordering, certificates_for, directory};

#[test]
fn a_certificate_is_ordered_and_served_without_a_restart_and_connections_live_on() {
    if !directory::is_there() {
        return;
    }
    let names: &[&str] = &["shop.test", "www.shop.test"];
    let ordering = Ordering::start(&certificates_for(&[names]), |site| site.bad_nonces = 30);
    let (mut before, answer) = ordering.other.ask(ordering.address(), "other.test", "/").expect("it is there");
    assert!(answer.ends_with("ok"), "{answer}");
    // Nobody answers at the directory yet.
    let refused = ordering.other.connect(ordering.address(), Some("shop.test")).err().expect("no certificate");
    assert!(refused.to_string().contains("UnrecognisedName"), "{refused}");
    let ready = ordering.readiness();
    assert_eq!(ready.status, 200, "an authority may look through whoever asks this");
    assert!(ready.body.contains("no certificate yet for shop.test, www.shop.test"), "{}", ready.body);
    let (code, said) = ordering.status();
    assert!(code == Some(1) && said.contains("no certificate yet for shop.test"), "{code:?} {said}");

    let directory = ordering.site.open();
    let client = ordering.client(&directory);
    let mut connection = ordering.wait_for(&client, "shop.test");
    assert!(connection.ask("shop.test", "/").expect("an answer").ends_with("ok"));
    let shown = connection.certificate();
    let parsed = ParsedCertificate::try_from(&shown).expect("a certificate");
    for name in ["shop.test", "www.shop.test"] {
        verify_server_name(&parsed, &ServerName::try_from(name).expect("a name")).expect("it is for this name");
        assert_eq!(client.connect(ordering.address(), Some(name)).expect("a connection").certificate(), shown);
    }
    assert!(before.ask("other.test", "/").expect("the connection from before").ends_with("ok"));
    assert_ne!(ordering.other.connect(ordering.address(), Some("other.test")).expect("there").certificate(), shown);

    assert_eq!(ordering.orders("issued"), 1.0);
    let kept = ordering.kept();
    assert_eq!(kept.len(), 2, "an account and a certificate: {kept:?}");
    for file in kept {
        let mode = std::fs::metadata(&file).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    let (code, said) = ordering.status();
    assert!(code == Some(0) && said.contains("certificate for shop.test, www.shop.test until"), "{code:?} {said}");
    assert_eq!(ordering.readiness().body, "ready\n");
    assert!(ordering.node.metrics().contains("eyot_certificate_not_after_seconds{file="));
}

#[test]
fn a_restart_serves_what_is_kept_and_asks_nobody() {
    if !directory::is_there() {
        return;
    }
    let ordering = Ordering::start(&certificates_for(&[&["shop.test"]]), |_| ());
    let directory = ordering.site.open();
    let client = ordering.client(&directory);
    let shown = ordering.wait_for(&client, "shop.test").certificate();
    until("it is counted", || ordering.orders("issued") == 1.0);
    drop(directory);
    let ordering = ordering.again("-TERM");
    let again = client.connect(ordering.address(), Some("shop.test")).expect("it was kept");
    assert_eq!(again.certificate(), shown);
    let (code, said) = ordering.status();
    assert!(code == Some(0) && !said.contains("failed"), "{said}");
    for result in ["issued", "refused", "unreachable"] {
        assert_eq!(ordering.orders(result), 0.0, "{result}");
    }
}

#[test]
fn a_certificate_is_renewed_before_it_ends_and_connections_live_on() {
    if !directory::is_there() {
        return;
    }
    let ordering = Ordering::start(&certificates_for(&[&["shop.test"]]), |site| site.validity = 15);
    let directory = ordering.site.open();
    let client = ordering.client(&directory);
    let mut first = ordering.wait_for(&client, "shop.test");
    let shown = first.certificate();
    until("there is another one", || {
        // One that never asks would be cut.
        assert!(first.ask("shop.test", "/").expect("the connection from before").ends_with("ok"));
        let now = client.connect(ordering.address(), Some("shop.test")).expect("there is one at any time");
        now.certificate() != shown
    });
    assert!(first.ask("shop.test", "/").expect("the connection from before").ends_with("ok"));
    assert!(directory.said("There are now 1 accounts") == 1 && directory.said("There are now 2 accounts") == 0);
}

#[test]
fn a_certificate_of_two_listeners_is_ordered_once() {
    if !directory::is_there() {
        return;
    }
    let second = "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = { acme = [\"shop.test\"] }\n";
    let ordering = Ordering::start(&format!("{}{second}", certificates_for(&[&["shop.test"]])), |_| ());
    let directory = ordering.site.open();
    let client = ordering.client(&directory);
    let shown = ordering.wait_for(&client, "shop.test").certificate();
    let other = client.connect(ordering.node.addresses[1], Some("shop.test")).expect("it has it, too");
    assert_eq!(other.certificate(), shown);
    // The first that there is, is for those who name no host.
    assert_eq!(client.connect(ordering.node.addresses[1], None).expect("it has one").certificate(), shown);
    assert_eq!(directory.said("Issued certificate serial"), 1, "{}", directory.log());
}

#[test]
fn an_account_is_bound_to_its_customer() {
    if !directory::is_there() {
        return;
    }
    let key = Some("zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");
    let mut ordering = Ordering::start(&certificates_for(&[&["shop.test"]]), |site| site.external = key);
    let directory = ordering.site.open();
    ordering.wait_for(&ordering.client(&directory), "shop.test");
    drop(directory);
    // One that knows another key for it.
    ordering.site.external = Some("b10lLJs8l1GPIzsLP0s6pMt8O0XVGnfTaCeROxQM0BIt2XrJMDHJZBM5NuQmQJQH");
    let certificate = ordering.kept().into_iter().find(|file| file.extension().is_some_and(|end| end == "pem"));
    std::fs::remove_file(certificate.expect("a certificate")).expect("it was there");
    let directory = ordering.site.open();
    let ordering = ordering.again("-TERM");
    until("the account is refused", || ordering.orders("refused") >= 1.0);
    assert_eq!(directory.said("There are now 1 accounts"), 0);
}

#[test]
fn of_two_processes_the_one_that_has_the_store_orders() {
    if !directory::is_there() {
        return;
    }
    let mut ordering = Ordering::start(&certificates_for(&[&["shop.test"]]), |_| ());
    let successor = Successor::of(&mut ordering);
    let directory = ordering.site.open();
    let client = ordering.client(&directory);
    ordering.wait_for(&client, "shop.test");
    until("the one before has ended", || ordering.node.ended());
    assert!(client.connect(ordering.address(), Some("shop.test")).is_ok());
    assert_eq!(directory.said("Issued certificate serial"), 1, "{}", directory.log());
    drop(successor);
}

/// The process that has taken over, whose parent is gone.
struct Successor(String);

impl Successor {
    fn of(ordering: &mut Ordering) -> Self {
        ordering.node.signal("-USR2");
        until("it serves", || lines(ordering, "ready").len() == 2);
        let started = lines(ordering, "a process that is to take over has been started");
        Self(started[0]["process"].to_string().trim_matches('"').to_owned())
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", &self.0]).status();
    }
}

/// The lines of a node's log with this message.
fn lines(ordering: &Ordering, message: &str) -> Vec<serde_json::Value> {
    let log = ordering.node.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter(|line| line["message"] == message).collect()
}
