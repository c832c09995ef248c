//! What an issuer says of a certificate is handed out with it.

use std::path::Path;

use super::certificates::{Authority, Issued};
use super::dial::{Client, VERSIONS};
use super::{node_in, read_again, tool, write};

const TLS: &str = "tls = { certificate = \"@/tls/shop.pem\", key = \"@/tls/shop.key\", ocsp = \"@/tls/shop.der\" }\n";

/// What this authority says of this certificate, made by openssl in this folder; `None` where that is missing.
fn response(authority: &Authority, issued: &Issued, folder: &Path) -> Option<Vec<u8>> {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a file");
    write("ca.pem", &authority.pem());
    write("ca.key", &authority.key());
    write("one.pem", &issued.pem);
    let serial = tool("openssl", &["x509", "-in", "one.pem", "-noout", "-serial"], folder)?;
    let serial = serial.trim().strip_prefix("serial=").expect("a serial number").to_owned();
    write("index.txt", &format!("V\t491231235959Z\t\t{serial}\tunknown\t/CN=one\n"));
    let made = [
        "ocsp",
        "-index",
        "index.txt",
        "-CA",
        "ca.pem",
        "-rsigner",
        "ca.pem",
        "-rkey",
        "ca.key",
        "-issuer",
        "ca.pem",
        "-cert",
        "one.pem",
        "-ndays",
        "7",
        "-respout",
        "response.der",
    ];
    let _ = std::fs::remove_file(folder.join("response.der"));
    let said = tool("openssl", &made, folder)?;
    Some(std::fs::read(folder.join("response.der")).unwrap_or_else(|error| panic!("{error}: {said}")))
}

#[test]
fn the_response_in_the_file_is_delivered_and_read_again_with_the_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new("authority");
    let (shop, renewed) = (authority.issue(&["shop.test"]), authority.issue(&["shop.test"]));
    let Some(first) = response(&authority, &shop, folder.path()) else { return };
    let Some(second) = response(&authority, &renewed, folder.path()) else { return };
    let tls = folder.path().join("tls");
    std::fs::create_dir(&tls).expect("a folder");
    write(&tls, "shop", &shop);
    std::fs::write(tls.join("shop.der"), &first).expect("a file");
    let node = node_in(folder, TLS);
    let clients = VERSIONS.map(|version| Client::new(&authority, version).forgetful());
    let delivered = |expected: &[u8]| {
        for client in &clients {
            client.ask(node.address(), "shop.test", "/").expect("an answer");
            assert!(client.ocsp() == expected, "{} bytes", client.ocsp().len());
        }
    };
    delivered(&first);
    let address = node.address().to_string();
    let arguments = ["s_client", "-connect", &address, "-servername", "shop.test", "-status"];
    let said = tool("openssl", &arguments, node.folder.path()).expect("it was there a moment ago");
    assert!(said.contains("OCSP Response Status: successful") && said.contains("Cert Status: good"), "{said}");

    write(&tls, "shop", &renewed);
    read_again(&node, "failure");
    node.wait_for_log("this response of OCSP is about another certificate");
    delivered(&first);
    std::fs::write(tls.join("shop.der"), "no response").expect("a file");
    read_again(&node, "failure");
    node.wait_for_log("this is not a response of OCSP in DER");
    std::fs::write(tls.join("shop.der"), &second).expect("a file");
    read_again(&node, "success");
    delivered(&second);
}
