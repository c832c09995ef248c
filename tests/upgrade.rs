//! From one process to the next: sockets that are handed over or given by systemd, and what systemd is told.

mod harness;

#[allow(dead_code, reason = "the tests of TLS use all of it")]
#[path = "tls/certificates.rs"]
mod certificates;
#[allow(dead_code, reason = "the tests of TLS use all of it")]
#[path = "tls/dial.rs"]
mod dial;
#[path = "upgrade/deploys.rs"]
mod deploys;
#[path = "upgrade/given.rs"]
mod given;
#[path = "upgrade/handover.rs"]
mod handover;
#[path = "upgrade/kept.rs"]
mod kept;
#[path = "upgrade/load.rs"]
mod load;
#[allow(dead_code, reason = "the tests of deployments use all of it")]
#[path = "deploy/operator.rs"]
mod operator;
#[path = "upgrade/relay.rs"]
mod relay;
#[path = "upgrade/supervisor.rs"]
mod supervisor;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use certificates::Authority;
use harness::{Node, client, eyot, until};

/// A folder with a node.toml of two listeners, one with TLS, an operator's, and a state folder.
struct Site {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Site {
    /// Everything is answered with this.
    fn new(body: &str) -> Self {
        let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new("authority"));
        let issued = authority.issue(&["shop.test"]);
        std::fs::create_dir(folder.path().join("tls")).expect("a folder");
        std::fs::write(folder.path().join("tls/shop.pem"), &issued.pem).expect("a file");
        std::fs::write(folder.path().join("tls/shop.key"), &issued.key).expect("a file");
        let site = Self { folder, authority };
        site.configure(body, "");
        site
    }

    /// Writes node.toml anew, with further lines behind all others.
    fn configure(&self, body: &str, more: &str) {
        let text = format!(
            "state = \"state\"\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\ntls = {{ certificate = \"tls/shop.pem\", key = \"tls/shop.key\" }}\n\
             [admin]\naddress = \"127.0.0.1:0\"\n\
             [[route]]\nrespond = {{ body = \"{body}\" }}\n{more}"
        );
        std::fs::write(self.configuration(), text).expect("a file");
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("node.toml")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("state/node.sock")
    }

    /// A node of it.
    fn start(&self, arguments: &[&str]) -> Node {
        self.start_by(eyot(), arguments)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = eyot();
        command.args(["serve", "--access-log", "off", "--config"]).arg(self.configuration()).args(arguments);
        command
    }

    fn start_by(&self, command: Command, arguments: &[&str]) -> Node {
        let mut node = Node::start_beside(command, &self.configuration(), arguments);
        // Its place may be another's at the end.
        node.untidy();
        node
    }

    /// What a second process of it says and ends with, where it does not come to serve.
    fn fails(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.command(arguments).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// What confines a node, as far as this kernel does.
fn confined() -> &'static [&'static str] {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("node.toml"), "[[listener]]\naddress = \"127.0.0.1:0\"\n").expect("a file");
    let check = eyot().args(["check", "--config"]).arg(folder.path().join("node.toml")).output().expect("it runs");
    if String::from_utf8_lossy(&check.stdout).contains("by Landlock and seccomp") {
        return &["--confine", "required"];
    }
    eprintln!("SKIPPED in part: this kernel does not confine processes");
    &[]
}

/// The answer at `/` of whoever serves there.
fn answer(node: &Node) -> Option<String> {
    let asked = client().get(format!("http://{}/", node.address())).send();
    asked.ok().filter(|answer| answer.status() == 200).and_then(|answer| answer.text().ok())
}

/// The process that a node has had started to take over from it; it speaks into the same log.
struct Successor(u32);

impl Successor {
    /// Sends SIGUSR2, and waits until a further process says that it is ready.
    fn of(node: &mut Node) -> Self {
        let (ready, started) = (lines(node, "ready").len(), started(node).len());
        node.signal("-USR2");
        until("a process is started", || started < crate::started(node).len());
        until("it serves", || ready < lines(node, "ready").len());
        Self(crate::started(node)[started])
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.0.to_string()]).status().expect("kill runs").success());
    }

    fn is_running(&self) -> bool {
        Path::new(&format!("/proc/{}", self.0)).exists()
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", &self.0.to_string()]).stderr(Stdio::null()).status();
        // Nobody waits for it: its parent is gone with the node.
        until("it is gone", || !self.is_running() || std::thread::panicking());
    }
}

/// The lines of a node's log with this message.
fn lines(node: &Node, message: &str) -> Vec<serde_json::Value> {
    let log = node.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter(|line| line["message"] == message).collect()
}

fn started(node: &Node) -> Vec<u32> {
    let lines = lines(node, "a process that is to take over has been started");
    lines.iter().filter_map(|line| line["process"].to_string().trim_matches('"').parse().ok()).collect()
}
