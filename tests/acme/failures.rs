//! What goes wrong, what is said of it, and what serves meanwhile.

use crate::harness::until;
use crate::{Ordering, certificates_for, directory, free_port};

#[test]
fn an_authority_that_refuses_is_told_with_its_reason_and_asked_again_and_others_serve() {
    if !directory::is_there() {
        return;
    }
    let each: [&[&str]; 3] = [&["blocked.test"], &["shop.test"], &["in.other.test"]];
    let ordering = Ordering::start(&certificates_for(&each), |_| ());
    assert!(
        ordering.other.connect(ordering.address(), Some("in.other.test")).is_ok(),
        "a wildcard is for it meanwhile"
    );
    let directory = ordering.site.open();
    let client = ordering.client(&directory);
    ordering.wait_for(&client, "shop.test");
    until("it has been asked again", || ordering.orders("refused") >= 2.0);
    assert!(ordering.other.ask(ordering.address(), "other.test", "/").is_ok());
    assert!(ordering.other.connect(ordering.address(), Some("blocked.test")).is_err());
    let ready = ordering.readiness();
    assert_eq!(ready.status, 200);
    assert!(ready.body.contains("no certificate yet for blocked.test: "), "{}", ready.body);
    assert!(ready.body.contains("rejectedIdentifier") && !ready.body.contains("shop.test"), "{}", ready.body);
    assert!(ordering.node.log().contains("rejectedIdentifier"));
    let (code, said) = ordering.status();
    assert!(code == Some(1) && said.contains("the last order failed: "), "{code:?} {said}");
    assert_eq!(directory.said("There are now 1 accounts"), 1);
}

#[test]
fn a_name_that_leads_elsewhere_is_told_and_an_account_that_is_gone_is_made_again() {
    if !directory::is_there() {
        return;
    }
    let elsewhere = free_port();
    let mut ordering = Ordering::start(&certificates_for(&[&["shop.test"]]), |site| site.looks_at = elsewhere);
    let directory = ordering.site.open();
    until("it says why", || ordering.readiness().body.contains("shop.test: "));
    until("it was refused", || ordering.orders("refused") >= 1.0);
    let ready = ordering.readiness().body;
    assert!(ready.contains("shop.test: Failed to connect to 127.0.0.1"), "{ready}");
    drop(directory);
    // It forgets everything when it ends.
    ordering.site.looks_at = ordering.address().port();
    let directory = ordering.site.open();
    let client = ordering.client(&directory);
    ordering.wait_for(&client, "shop.test");
    assert_eq!(ordering.kept().len(), 2, "the account that is gone was replaced");
}

#[test]
fn a_node_that_is_killed_in_the_middle_of_an_order_recovers() {
    if !directory::is_there() {
        return;
    }
    let ordering = Ordering::start(&certificates_for(&[&["shop.test"]]), |site| site.sleeps = 3);
    let directory = ordering.site.open();
    until("there is an order", || directory.said("There are now 1 orders") > 0);
    let mut ordering = ordering.again("-KILL");
    let client = ordering.client(&directory);
    ordering.wait_for(&client, "shop.test");
    assert_eq!(directory.said("There are now 2 accounts"), 0, "the account was kept");
    // What is damaged is ordered again, and keeps the node from nothing.
    let certificate = ordering.kept().into_iter().find(|file| file.extension().is_some_and(|end| end == "pem"));
    std::fs::write(certificate.expect("a certificate"), "-----BEGIN CERT").expect("a file");
    ordering = ordering.again("-TERM");
    assert!(ordering.other.ask(ordering.address(), "other.test", "/").is_ok());
    ordering.wait_for(&client, "shop.test");
}
