//! Which certificate a client is shown, and what is wrong with some.

use rustls::{CipherSuite, SignatureScheme};

use super::certificates::Authority;
use super::dial::{Client, VERSIONS};
use super::harness::eyot;
use super::{REST, node, tool};

const FIRST: &str = "tls = { certificate = \"first.pem\", key = \"first.key\" }\n";

fn further(name: &str) -> String {
    format!("[[listener.certificate]]\ncertificate = \"{name}.pem\"\nkey = \"{name}.key\"\n")
}

#[test]
fn each_name_is_shown_its_certificate_and_whoever_names_none_the_first() {
    let authority = Authority::new("authority");
    let first = authority.issue(&["first.test"]);
    let shop = authority.issue(&["shop.test", "*.shop.test"]);
    let api = authority.issue(&["API.shop.test"]);
    let node = node(
        &(FIRST.to_owned() + &further("shop") + &further("api")),
        &[
            ("first.pem", &first.pem),
            ("first.key", &first.key),
            ("shop.pem", &shop.pem),
            ("shop.key", &shop.key),
            ("api.pem", &api.pem),
            ("api.key", &api.key),
        ],
    );
    for version in VERSIONS {
        let client = Client::new(&authority, version).forgetful();
        for (name, expected) in [
            (Some("first.test"), &first),
            (Some("shop.test"), &shop),
            (Some("www.shop.test"), &shop),
            (Some("WWW.Shop.test"), &shop),
            (Some("api.shop.test"), &api),
            (Some("a.www.shop.test"), &first),
            (Some("test"), &first),
            (Some("unknown.test"), &first),
            (None, &first),
        ] {
            let mut connection = client.connect(node.address(), name).expect("a handshake");
            assert!(connection.certificate() == expected.certificate, "{name:?} by {version:?}");
            let answer = connection.ask(name.unwrap_or("any.test"), "/").expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{name:?} by {version:?}: {answer}");
        }
        // Who came for one certificate does not ask for a host of another.
        let (_, answer) = client.ask(node.address(), "shop.test", "/").expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let mut connection = client.connect(node.address(), Some("shop.test")).expect("a handshake");
        let answer = connection.ask("first.test", "/").expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    }
    for (name, common) in [("shop.test", "DNS:shop.test"), ("unknown.test", "DNS:first.test")] {
        let address = node.address().to_string();
        let arguments = ["s_client", "-connect", &address, "-servername", name];
        let Some(shown) = tool("openssl", &arguments, node.folder.path()) else { return };
        std::fs::write(node.folder.path().join("shown"), &shown).expect("a file");
        let text = tool("openssl", &["x509", "-in", "shown", "-noout", "-ext", "subjectAltName"], node.folder.path());
        assert!(text.as_ref().is_some_and(|text| text.contains(common)), "{name}: {text:?}\n{shown}");
    }
}

#[test]
fn of_two_certificates_for_one_name_the_one_is_shown_whose_key_the_client_can_use() {
    let authority = Authority::new("authority");
    let rsa = authority.issue_for(&rcgen::PKCS_RSA_SHA256, &["shop.test"]);
    let ecdsa = authority.issue(&["shop.test"]);
    let node = node(
        &(FIRST.to_owned() + &further("second")),
        &[("first.pem", &rsa.pem), ("first.key", &rsa.key), ("second.pem", &ecdsa.pem), ("second.key", &ecdsa.key)],
    );
    let rsa_only = [SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256];
    let ecdsa_only = [SignatureScheme::ECDSA_NISTP256_SHA256];
    let shown =
        |client: Client, name: Option<&str>| client.connect(node.address(), name).expect("a handshake").certificate();
    for version in VERSIONS {
        let name = Some("shop.test");
        assert!(shown(Client::of_schemes(&authority, version, &rsa_only), name) == rsa.certificate, "{version:?}");
        assert!(shown(Client::of_schemes(&authority, version, &ecdsa_only), name) == ecdsa.certificate, "{version:?}");
        // A server signs more easily by ECDSA.
        assert!(shown(Client::new(&authority, version), name) == ecdsa.certificate, "{version:?}");
        // The first is for those who name none, unless they cannot use it.
        assert!(shown(Client::new(&authority, version), None) == rsa.certificate, "{version:?}");
        assert!(shown(Client::of_schemes(&authority, version, &ecdsa_only), None) == ecdsa.certificate, "{version:?}");
    }
    // In TLS 1.2 the cipher suite decides, too.
    let suites: fn(CipherSuite) -> bool = |suite| suite == CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256;
    let client = Client::of_suites(&authority, &rustls::version::TLS12, suites);
    assert!(shown(client, Some("shop.test")) == rsa.certificate);
}

#[test]
fn alpn_chooses_between_http_2_and_http_1_in_both_versions_of_tls() {
    let authority = Authority::new("authority");
    let first = authority.issue(&["localhost"]);
    let node = node(FIRST, &[("first.pem", &first.pem), ("first.key", &first.key), ("ca.pem", &authority.pem())]);
    for version in VERSIONS {
        let cases: [(&[&str], Option<&[u8]>); 3] =
            [(&["h2", "http/1.1"], Some(b"h2")), (&["http/1.1"], Some(b"http/1.1")), (&[], None)];
        for (offered, expected) in cases {
            let client = Client::new(&authority, version).speaking(offered);
            let connection = client.connect(node.address(), Some("localhost")).expect("a handshake");
            assert_eq!(connection.0.conn.alpn_protocol(), expected, "{version:?}");
        }
        let other = Client::new(&authority, version).speaking(&["spdy/3"]);
        assert!(other.connect(node.address(), Some("localhost")).is_err(), "{version:?}");
    }
    let url = format!("https://localhost:{}/", node.address().port());
    for (arguments, expected) in [
        (["--http2", "--tlsv1.3"], "HTTP/2 200"),
        (["--http1.1", "--tlsv1.3"], "HTTP/1.1 200"),
        (["--http2", "--tls-max=1.2"], "HTTP/2 200"),
    ] {
        let max: Vec<&str> = arguments.iter().flat_map(|argument| argument.split('=')).collect();
        let all = [&["-sSi", "--cacert", "ca.pem", &*url][..], &*max].concat();
        let Some(said) = tool("curl", &all, node.folder.path()) else { return };
        assert!(said.starts_with(expected), "{arguments:?}: {said}");
    }
}

/// What `eyot check` says of a node with these certificates: its exit code and its output.
fn check(tls: &str, files: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let configuration = format!("[[listener]]\naddress = \"127.0.0.1:0\"\n{tls}\n{REST}");
    for (name, content) in files.iter().chain([&("node.toml", &*configuration)]) {
        std::fs::write(folder.path().join(name), content).expect("a file");
    }
    let mut command = eyot();
    command.args(["check", "--config", "node.toml"]).args(arguments).current_dir(folder.path());
    let output = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

#[test]
fn what_cannot_be_served_is_a_fault_with_its_file_and_what_will_be_refused_is_a_warning() {
    let authority = Authority::new("authority");
    let (one, other) = (authority.issue(&["a.test", "shop.test"]), authority.issue(&["shop.test"]));
    let both =
        [("first.pem", &*one.pem), ("first.key", &*one.key), ("second.pem", &*other.pem), ("second.key", &*other.key)];
    let two = FIRST.to_owned() + &further("second");
    let (code, said) = check(&two, &both, &[]);
    assert_eq!(code, Some(2), "{said}");
    for part in ["second.pem: `shop.test` is a name of this certificate and of", "first.pem", "ECDSA", "node.toml:5:"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }

    let exchanged = [("first.pem", &*one.pem), ("first.key", &*other.key)];
    let (code, said) = check(FIRST, &exchanged, &[]);
    assert!(code == Some(2) && said.contains("this key does not belong to the certificate"), "{said}");

    let old = authority.issue_expired(&["a.test"]);
    let expired = [("first.pem", &*old.pem), ("first.key", &*old.key)];
    let (code, said) = check(FIRST, &expired, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("warning: ") && said.contains("node.toml:3:"), "{said}");
    assert!(
        said.contains("first.pem: this certificate has expired: it was valid until 2021-01-01T00:00:00Z"),
        "{said}"
    );
    let (_, said) = check(FIRST, &expired, &["--json"]);
    let report: serde_json::Value = serde_json::from_str(said.lines().next().expect("a line")).expect("JSON");
    assert_eq!(report["ok"], true);
    assert!(report["warnings"][0]["message"].as_str().is_some_and(|text| text.contains("has expired")), "{report}");
    // Which does not keep a node from serving: clients decide.
    let node = node(FIRST, &expired);
    node.wait_for_log("has expired");
    assert_eq!(node.metric("eyot_certificate_not_after_seconds", "name=\"a.test\""), 1_609_459_200.0);
}
