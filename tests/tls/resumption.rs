//! Sessions that go on: in both versions, across a renewal, and each with its own client.

use rustls::client::{Resumption, Tls12Resumption};

use super::certificates::Authority;
use super::dial::{Client, VERSIONS};
use super::{node, read_again, tool, write};

const TLS: &str = "tls = { certificate = \"tls/shop.pem\", key = \"tls/shop.key\" }\n";

#[test]
fn a_session_is_resumed_in_both_versions_by_a_ticket_or_from_the_nodes_memory() {
    let authority = Authority::new("authority");
    let shop = authority.issue(&["shop.test"]);
    let node = node(TLS, &[("tls/shop.pem", &shop.pem), ("tls/shop.key", &shop.key)]);
    let remembered = Resumption::in_memory_sessions(8).tls12_resumption(Tls12Resumption::SessionIdOnly);
    let mut without_tickets = Client::new(&authority, &rustls::version::TLS12);
    without_tickets.config.resumption = remembered;
    for client in VERSIONS.map(|version| Client::new(&authority, version)).into_iter().chain([without_tickets]) {
        for resumed in [false, true, true] {
            let (connection, answer) = client.ask(node.address(), "shop.test", "/").expect("an answer");
            assert!(answer.ends_with("ok"), "{answer}");
            assert_eq!(connection.is_resumed(), resumed);
        }
        // RFC 6066 §3: not for another name.
        let (connection, _) = client.ask(node.address(), "other.test", "/").expect("an answer");
        assert!(!connection.is_resumed());
    }
    let address = node.address().to_string();
    let arguments = ["s_client", "-connect", &address, "-tls1_2", "-reconnect"];
    let Some(said) = tool("openssl", &arguments, node.folder.path()) else { return };
    assert_eq!(said.matches("Reused, TLSv1.2").count(), 5, "{said}");
}

#[test]
fn a_session_outlives_a_renewal_and_a_new_one_sees_the_new_certificate() {
    let authority = Authority::new("authority");
    let [before, after] = [(); 2].map(|()| authority.issue(&["shop.test"]));
    let node = node(TLS, &[("tls/shop.pem", &before.pem), ("tls/shop.key", &before.key)]);
    let clients = VERSIONS.map(|version| Client::new(&authority, version));
    for client in &clients {
        let (connection, _) = client.ask(node.address(), "shop.test", "/").expect("an answer");
        assert!(connection.certificate() == before.certificate);
    }
    write(&node.folder.path().join("tls"), "shop", &after);
    read_again(&node, "success");
    for client in clients {
        let (connection, _) = client.ask(node.address(), "shop.test", "/").expect("an answer");
        assert!(connection.is_resumed());
        let (connection, _) = client.forgetful().ask(node.address(), "shop.test", "/").expect("an answer");
        assert!(connection.certificate() == after.certificate);
    }
}
