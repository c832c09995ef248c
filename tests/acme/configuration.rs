//! What is wrong with a configuration, and what `eyot check` says of one that is well.

use std::path::Path;

use crate::harness::eyot;

const REST: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

/// What `eyot check` says of this node.toml, and its exit code.
fn check(folder: &Path, text: &str) -> (Option<i32>, String) {
    let file = folder.join("node.toml");
    std::fs::write(&file, text).expect("a file");
    let output = eyot().args(["check", "--config"]).arg(file).output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn listener(tls: &str) -> String {
    format!("[[listener]]\naddress = \"127.0.0.1:0\"\ntls = {{ {tls} }}\n")
}

#[test]
fn a_check_says_what_would_be_ordered_and_touches_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = format!(
        "store = \"store\"\n[acme]\nterms_of_service = \"agreed\"\n{REST}{}",
        listener("acme = [\"shop.example.com\", \"www.example.com\"]")
    );
    let (code, said) = check(folder.path(), &good);
    let expected = "shop.example.com, www.example.com: a certificate would be ordered from \
                    https://acme-v02.api.letsencrypt.org/directory";
    assert!(code == Some(0) && said.contains(expected), "{code:?} {said}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "there is node.toml alone");
}

#[test]
fn every_misuse_is_a_fault_at_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let agreed = "store = \"store\"\n[acme]\nterms_of_service = \"agreed\"\n";
    let shop = listener("acme = [\"shop.example.com\"]");
    let of = |tls: &str| format!("{agreed}{REST}{}", listener(tls));
    for (text, line, expected) in [
        (format!("store = \"store\"\n{REST}{shop}"), 6, "nothing says who issues certificates"),
        (format!("[acme]\nterms_of_service = \"agreed\"\n{REST}{shop}"), 1, "there is no `store`"),
        (format!("store = \"store\"\n[acme]\n{REST}{shop}"), 2, "`terms_of_service` is missing"),
        (format!("store = \"store\"\n[acme]\nterms_of_service = \"yes\"\n{REST}{shop}"), 3, "agreed to its terms"),
        (format!("{agreed}directory = \"http://ca.test/\"\n{REST}{shop}"), 4, "write an https URL"),
        (format!("{agreed}contact = [\"ops@example.com\"]\n{REST}{shop}"), 4, "mailto:"),
        (format!("{agreed}certificate_authority = \"none.pem\"\n{REST}{shop}"), 4, "cannot read"),
        (format!("{agreed}external_account = {{ id = \"a\" }}\n{REST}{shop}"), 4, "`key` is missing"),
        (format!("{agreed}retry = \"0s\"\n{REST}{shop}"), 4, "leaves no time"),
        (format!("{agreed}{REST}[[listener]]\naddress = \"127.0.0.1:0\"\n"), 2, "no listener orders a certificate"),
        (of("acme = [\"*.example.com\"]"), 8, "DNS-01"),
        (of("acme = [\"127.0.0.1\"]"), 8, "an address has no name"),
        (of("acme = [\"localhost\"]"), 8, "no authority issues"),
        (of("acme = [\"a.example.com\", \"A.example.com\"]"), 8, "is there twice"),
        (of("acme = []"), 8, "for one host at least"),
        (of("acme = \"shop.example.com\""), 8, "must be a list of hosts"),
        (of("acme = [\"shop.example.com\"], key = \"shop.key\""), 8, "`key` and `acme` do not go together"),
        (
            format!("{}[[listener.certificate]]\nacme = [\"b.test\", \"a.test\"]\n", of("acme = [\"a.test\"]")),
            10,
            "`a.test` is a name of this certificate and of",
        ),
    ] {
        let (code, said) = check(folder.path(), &text);
        assert!(code == Some(2) && said.contains(expected), "{expected}: {code:?}\n{text}\n{said}");
        assert!(said.contains(&format!("node.toml:{line}:")), "{expected} in line {line}: {said}\n{text}");
    }
}
