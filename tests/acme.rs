//! Certificates that a node orders by itself (ACME), from pebble, the test server of Let's Encrypt.

mod harness;

#[allow(dead_code, reason = "the tests of TLS use all of it")]
#[path = "tls/certificates.rs"]
mod certificates;
#[path = "acme/challenge.rs"]
mod challenge;
#[path = "acme/configuration.rs"]
mod configuration;
#[allow(dead_code, reason = "the tests of TLS use all of it")]
#[path = "tls/dial.rs"]
mod dial;
#[path = "acme/directory.rs"]
mod directory;
#[path = "acme/failures.rs"]
mod failures;
#[path = "acme/orders.rs"]
mod orders;

use std::net::SocketAddr;
use std::path::PathBuf;

use certificates::Authority;
use dial::{Client, Connection, VERSIONS};
use directory::{CUSTOMER, Directory, Site, free_port};
use harness::{Answer, Node, client, eyot, until};

/// A node with one listener, which has a certificate of a file for `other.test`, and orders others.
struct Ordering {
    node: Node,
    site: Site,
    other: Client,
}

impl Ordering {
    /// With these lines of the listener about certificates that are ordered; `site` may change what the authority is like.
    fn start(ordered: &str, site: impl FnOnce(&mut Site)) -> Self {
        let port = free_port();
        let mut authority = Site::new(port);
        site(&mut authority);
        let known = Authority::new("of a file");
        let issued = known.issue(&["other.test", "*.other.test"]);
        let external =
            authority.external.map(|_| format!("external_account = {{ id = \"{CUSTOMER}\", key = \"mac\" }}\n"));
        let external = external.unwrap_or_default();
        let configuration = format!(
            "store = \"store\"\nstate = \"state\"\n\
             [acme]\ndirectory = \"{}\"\ncertificate_authority = \"roots.pem\"\n\
             contact = [\"mailto:ops@example.com\"]\nterms_of_service = \"agreed\"\nretry = \"1s\"\n{external}\
             [admin]\naddress = \"127.0.0.1:0\"\n[[route]]\nrespond = {{ body = \"ok\" }}\n\
             [[listener]]\naddress = \"127.0.0.1:{port}\"\n\
             tls = {{ certificate = \"other.pem\", key = \"other.key\" }}\n{ordered}\n",
            authority.url()
        );
        let roots = authority.roots();
        let mac = authority.external.unwrap_or_default();
        let files = [("roots.pem", &*roots), ("other.pem", &issued.pem), ("other.key", &issued.key), ("mac", mac)];
        let node = Node::start_by(eyot(), &configuration, &files, "off");
        Self { node, site: authority, other: Client::new(&known, VERSIONS[1]).forgetful() }
    }

    fn address(&self) -> SocketAddr {
        self.node.address()
    }

    /// A client of whatever this authority issues.
    fn client(&self, directory: &Directory) -> Client {
        Client::trusting(directory.root(), VERSIONS[1]).forgetful()
    }

    /// The first connection for this name that comes to be.
    fn wait_for(&self, client: &Client, name: &str) -> Connection {
        let mut connection = None;
        until("there is a certificate", || {
            connection = client.connect(self.address(), Some(name)).ok();
            connection.is_some()
        });
        connection.expect("a connection")
    }

    fn readiness(&self) -> Answer {
        Answer::of(client().get(format!("http://{}/readyz", self.node.admin.expect("an admin listener"))))
    }

    /// What `eyot status` says, and its exit code.
    fn status(&self) -> (Option<i32>, String) {
        let token = self.node.folder.path().join("store/admin.token");
        let admin = format!("http://{}", self.node.admin.expect("an admin listener"));
        let output = eyot().args(["status", "--admin", &admin, "--token-file"]).arg(token).output().expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Attempts that came to this.
    fn orders(&self, result: &str) -> f64 {
        self.node.metric("eyot_acme_orders_total", &format!("result=\"{result}\""))
    }

    /// What is kept of certificates and accounts.
    fn kept(&self) -> Vec<PathBuf> {
        let folder = self.node.folder.path().join("store/acme");
        let mut kept: Vec<_> = std::fs::read_dir(folder)
            .map(|files| files.flatten().map(|file| file.path()).collect())
            .unwrap_or_default();
        kept.sort();
        kept
    }

    /// Ends by a signal and starts again.
    fn again(self, signal: &str) -> Self {
        Self { node: self.node.again(signal), ..self }
    }
}

/// The lines of a listener for further certificates, each for these names.
fn certificates_for(each: &[&[&str]]) -> String {
    each.iter().map(|names| format!("[[listener.certificate]]\nacme = {names:?}\n")).collect()
}
