//! SIGHUP: new certificates without a lost request, or none at all.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use super::certificates::Authority;
use super::dial::{Client, VERSIONS};
use super::harness::{Node, until};
use super::{node, node_in, read_again, write};

const TLS: &str = "tls = { certificate = \"tls/shop.pem\", key = \"tls/shop.key\" }\n";

fn is_good(node: &Node) -> bool {
    node.metric("eyot_certificate_last_reload_successful", "") == 1.0
}

#[test]
fn a_renewal_costs_no_request_on_connections_that_are_there_and_none_on_new_ones() {
    let authority = Authority::new("authority");
    let issued: Vec<_> = (0..4).map(|_| authority.issue(&["shop.test"])).collect();
    let node = node(TLS, &[("tls/shop.pem", &issued[0].pem), ("tls/shop.key", &issued[0].key)]);
    let address = node.address();
    let (over, old, new) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for index in 0..16 {
            let client = Client::new(&authority, VERSIONS[index % 2]);
            let (over, old) = (&over, &old);
            scope.spawn(move || {
                let mut connection = client.connect(address, Some("shop.test")).expect("a handshake");
                while !over.load(SeqCst) {
                    let answer = connection.ask("shop.test", "/").expect("a connection stays");
                    assert!(answer.ends_with("ok"), "{answer}");
                    old.fetch_add(1, SeqCst);
                }
            });
        }
        for index in 0..4 {
            let client = Client::new(&authority, VERSIONS[index % 2]).forgetful();
            let (over, new) = (&over, &new);
            scope.spawn(move || {
                while !over.load(SeqCst) {
                    let (_, answer) = client.ask(address, "shop.test", "/").expect("a new connection is served");
                    assert!(answer.ends_with("ok"), "{answer}");
                    new.fetch_add(1, SeqCst);
                }
            });
        }
        let _ends = Ends(&over);
        for renewed in &issued[1..] {
            let (before, connected) = (old.load(SeqCst), new.load(SeqCst));
            until("all are at work", || old.load(SeqCst) > before + 64 && new.load(SeqCst) > connected + 8);
            write(&node.folder.path().join("tls"), "shop", renewed);
            read_again(&node, "success");
            let client = Client::new(&authority, VERSIONS[1]);
            let connection = client.connect(address, Some("shop.test")).expect("a handshake");
            assert!(connection.certificate() == renewed.certificate, "what begins now sees the new one");
        }
    });
    assert!(is_good(&node));
}

/// Lets the others end, also when an assertion fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn a_bad_file_changes_nothing_and_the_log_says_which_and_what_to_do() {
    let authority = Authority::new("authority");
    let (shop, other, renewed) =
        (authority.issue(&["shop.test"]), authority.issue(&["other.test"]), authority.issue(&["shop.test"]));
    let further = "[[listener.certificate]]\ncertificate = \"tls/other.pem\"\nkey = \"tls/other.key\"\n";
    let node = node(
        &(TLS.to_owned() + further),
        &[
            ("tls/shop.pem", &shop.pem),
            ("tls/shop.key", &shop.key),
            ("tls/other.pem", &other.pem),
            ("tls/other.key", &other.key),
        ],
    );
    let tls = node.folder.path().join("tls");
    let client = Client::new(&authority, VERSIONS[1]).forgetful();
    let shown = |name: &str| client.connect(node.address(), Some(name)).expect("a handshake").certificate();
    write(&tls, "shop", &renewed);
    for (file, content, said) in [
        ("other.key", "no key\n", "there is no private key in this file"),
        ("other.key", &*renewed.key, "this key does not belong to the certificate"),
        (
            "other.pem",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            "this certificate is not valid PEM",
        ),
    ] {
        std::fs::write(tls.join(file), content).expect("a file");
        read_again(&node, "failure");
        assert!(!is_good(&node));
        // It is counted first, and said then.
        node.wait_for_log(said);
        let log = node.log();
        let line = log.lines().find(|line| line.contains(said) && line.contains(file) && line.contains("\"help\""));
        assert!(line.is_some_and(|line| line.contains("ERROR") && line.contains("stay in use")), "{said}: {log}");
        assert!(shown("shop.test") == shop.certificate, "either all are new or none is");
        assert!(shown("other.test") == other.certificate);
        write(&tls, "other", &other);
    }
    std::fs::remove_file(tls.join("other.key")).expect("a file");
    read_again(&node, "failure");
    write(&tls, "other", &other);
    read_again(&node, "success");
    assert!(is_good(&node));
    assert!(shown("shop.test") == renewed.certificate);
}

/// A node in a folder with this layout; `tls/shop.pem` and `tls/shop.key` are named.
fn laid_out(prepare: impl Fn(&Path)) -> Node {
    let folder = tempfile::tempdir().expect("a folder");
    prepare(folder.path());
    node_in(folder, "tls = { certificate = \"@/tls/shop.pem\", key = \"@/tls/shop.key\" }\n")
}

/// Makes a link lead elsewhere in one step, as certbot and Kubernetes do.
fn relink(target: &str, link: &Path) {
    let new = link.with_file_name("link");
    symlink(target, &new).expect("a link");
    std::fs::rename(new, link).expect("a link");
}

#[test]
fn renewals_by_rename_and_by_links_reach_a_confined_node() {
    let authority = Authority::new("authority");
    let issued: Vec<_> = (0..3).map(|_| authority.issue(&["shop.test"])).collect();
    let client = Client::new(&authority, VERSIONS[1]).forgetful();
    let shown = |node: &Node| client.connect(node.address(), Some("shop.test")).expect("a handshake").certificate();

    // certbot: links in one folder, files in another.
    let node = laid_out(|root| {
        std::fs::create_dir_all(root.join("archive")).expect("a folder");
        std::fs::create_dir_all(root.join("tls")).expect("a folder");
        write(&root.join("archive"), "shop1", &issued[0]);
        for kind in ["pem", "key"] {
            relink(&format!("../archive/shop1.{kind}"), &root.join(format!("tls/shop.{kind}")));
        }
    });
    let root = node.folder.path();
    write(&root.join("archive"), "shop2", &issued[1]);
    for kind in ["pem", "key"] {
        relink(&format!("../archive/shop2.{kind}"), &root.join(format!("tls/shop.{kind}")));
    }
    read_again(&node, "success");
    assert!(shown(&node) == issued[1].certificate);
    // Plain files in place of the links.
    write(root, "shop", &issued[2]);
    for kind in ["pem", "key"] {
        std::fs::rename(root.join(format!("shop.{kind}")), root.join(format!("tls/shop.{kind}"))).expect("renamed");
    }
    read_again(&node, "success");
    assert!(shown(&node) == issued[2].certificate);
    // What lies elsewhere is out of reach, where the kernel keeps it so.
    std::fs::create_dir_all(root.join("elsewhere")).expect("a folder");
    write(&root.join("elsewhere"), "shop", &issued[1]);
    for kind in ["pem", "key"] {
        relink(&format!("../elsewhere/shop.{kind}"), &root.join(format!("tls/shop.{kind}")));
    }
    if node.log().contains("this process is confined") {
        eprintln!("SKIPPED: this kernel does not confine files");
    } else {
        read_again(&node, "failure");
        node.wait_for_log("below the folders in which its files lay when it started");
        assert!(shown(&node) == issued[2].certificate);
    }
}

#[test]
fn a_renewal_by_a_folder_that_is_exchanged_reaches_a_confined_node() {
    let authority = Authority::new("authority");
    let issued: Vec<_> = (0..2).map(|_| authority.issue(&["shop.test"])).collect();
    // Kubernetes: `shop.pem` leads through `..data` to a folder that is new each time.
    let node = laid_out(|root| {
        std::fs::create_dir_all(root.join("tls/..1")).expect("a folder");
        write(&root.join("tls/..1"), "shop", &issued[0]);
        relink("..1", &root.join("tls/..data"));
        for kind in ["pem", "key"] {
            relink(&format!("..data/shop.{kind}"), &root.join(format!("tls/shop.{kind}")));
        }
    });
    let root = node.folder.path();
    std::fs::create_dir_all(root.join("tls/..2")).expect("a folder");
    write(&root.join("tls/..2"), "shop", &issued[1]);
    relink("..2", &root.join("tls/..data"));
    std::fs::remove_dir_all(root.join("tls/..1")).expect("a folder");
    read_again(&node, "success");
    let client = Client::new(&authority, VERSIONS[1]);
    let connection = client.connect(node.address(), Some("shop.test")).expect("a handshake");
    assert!(connection.certificate() == issued[1].certificate);
}
