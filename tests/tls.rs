//! TLS as operators and clients meet it: which certificate is shown, what a renewal changes, who clients are, and sessions that go on.

mod harness;

#[path = "tls/certificates.rs"]
mod certificates;
#[path = "tls/clients.rs"]
mod clients;
#[path = "tls/dial.rs"]
mod dial;
#[path = "tls/names.rs"]
mod names;
#[path = "tls/reload.rs"]
mod reload;
#[path = "tls/resumption.rs"]
mod resumption;
#[path = "tls/staple.rs"]
mod staple;

use std::path::Path;
use std::process::Command;

use certificates::Issued;
use harness::{Node, until};

/// Behind the listener of a node.toml; everything is answered in the same way.
const REST: &str = "[admin]\naddress = \"127.0.0.1:0\"\n[[route]]\nrespond = { body = \"ok\" }\n";

/// A node with one listener, `tls` being its further lines.
fn node(tls: &str, files: &[(&str, &str)]) -> Node {
    Node::start_exactly(&format!("[[listener]]\naddress = \"127.0.0.1:0\"\n{tls}\n{REST}"), files)
}

/// The same with files of a folder that is there already, for which `@` stands.
fn node_in(folder: tempfile::TempDir, tls: &str) -> Node {
    let mut node = node(&tls.replace('@', folder.path().to_str().expect("text")), &[]);
    // It goes with the node.
    node.folder = folder;
    node
}

/// A certificate and its key as files of these names; `NAME.pem` and `NAME.key`.
fn write(folder: &Path, name: &str, issued: &Issued) {
    std::fs::write(folder.join(format!("{name}.pem")), &issued.pem).expect("a file");
    std::fs::write(folder.join(format!("{name}.key")), &issued.key).expect("a file");
}

/// Sends SIGHUP, and waits until the certificates have been read again, well or not.
fn read_again(node: &Node, result: &str) {
    let labels = format!("result=\"{result}\"");
    let before = node.metric("eyot_certificate_reloads_total", &labels);
    let status = Command::new("kill").args(["-HUP", &node.id().to_string()]).status().expect("kill runs");
    assert!(status.success());
    until("the certificates are read again", || node.metric("eyot_certificate_reloads_total", &labels) > before);
}

/// What a tool of this machine prints, with nothing to read; `None`, and said so, where it is missing.
fn tool(name: &str, arguments: &[&str], folder: &Path) -> Option<String> {
    let output = Command::new(name).args(arguments).current_dir(folder).stdin(std::process::Stdio::null()).output();
    match output {
        Ok(output) => {
            Some(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
        }
        Err(error) => {
            let why = format!("SKIPPED: {name} cannot be run: {error}");
            assert!(std::env::var_os("EYOT_TESTS_SKIP_NOTHING").is_none(), "{why}");
            eprintln!("{why}");
            None
        }
    }
}
