//! Hostile workers, one fixture for each attack: every one ends with its own code, a neighbour is served meanwhile and afterwards,
//! and nothing is left. Names begin with the row of the list of failure cases (`g01`) or the advisory (`ghsa_…`, `cve_…`) that a
//! test is for, where there is one.
//!
//! Rows that stand elsewhere: G09, G13 and G22 also in `isolation.rs`, G14 in `responses.rs`, the neighbour's latency during
//! G01, G04 and G05 in `neighbours.rs`.

mod harness;

#[path = "attacks/cpu.rs"]
mod cpu;
#[path = "attacks/host.rs"]
mod host;
#[path = "attacks/http.rs"]
mod http;
#[path = "attacks/memory.rs"]
mod memory;
#[path = "attacks/stale.rs"]
mod stale;

use std::path::Path;

use harness::{Answer, Node, fixtures};

/// A node with a hostile worker at `hostile.test` and a neighbour at every other host.
struct Arena {
    node: Node,
}

impl Arena {
    /// With this component; these are lines of its eyot.toml, of which the last table is `[limits]`.
    fn with(component: &Path, limits: &str) -> Self {
        Self::open(component, "", "", limits)
    }

    /// With the fixture of WASI 0.2.
    fn fixture(limits: &str) -> Self {
        Self::with(&fixtures::fixture(), limits)
    }

    /// With the fixture of WASI 0.3.
    fn fixture3(limits: &str) -> Self {
        Self::with(&fixtures::fixture3(), limits)
    }

    /// With more of node.toml, and with top-level lines of eyot.toml.
    fn open(component: &Path, node: &str, top: &str, limits: &str) -> Self {
        let hostile = format!("{top}\n[[route]]\nhost = \"hostile.test\"\npath = \"/*\"\n[limits]\n{limits}");
        let hostile = fixtures::worker("hostile", component, &hostile);
        let neighbour = fixtures::worker("neighbour", &fixtures::hello(), "[[route]]\npath = \"/*\"");
        let node = format!("{node}\n[[worker]]\npath = \"hostile\"\n[[worker]]\npath = \"neighbour\"\n");
        let files = [("hostile/eyot.toml", hostile.as_str()), ("neighbour/eyot.toml", neighbour.as_str())];
        Self { node: Node::start(&node, &files) }
    }

    /// Asks the hostile worker.
    fn ask(&self, path: &str) -> Answer {
        self.node.get_from("hostile.test", path)
    }

    /// The hostile worker fails in this way and its neighbour is served, and so again: no failure leaves anything behind for the next.
    #[track_caller]
    fn fails(&self, path: &str, status: u16, code: &str) {
        for _ in 0..2 {
            let answer = self.ask(path);
            assert_eq!((answer.status, answer.code()), (status, code), "{path}: {}", answer.body);
            self.neighbour_is_served();
        }
    }

    #[track_caller]
    fn neighbour_is_served(&self) {
        let answer = self.node.get("/");
        assert_eq!((answer.status, answer.code()), (200, ""));
    }

    /// What the hostile worker answers to raw bytes, to the end of the connection.
    fn raw(&self, path: &str) -> harness::wire::Wire {
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: hostile.test\r\nte: trailers\r\nconnection: close, te\r\n\r\n");
        harness::wire::Wire::exchange(self.node.connect(), request)
    }

    fn failures(&self, code: &str) -> f64 {
        self.node.metric("eyot_failures_total", &format!("code=\"{code}\""))
    }
}

/// One of the components of `guests/wat`.
fn text(name: &str, limits: &str) -> Arena {
    let folder = tempfile::tempdir().expect("a folder");
    Arena::with(&fixtures::text(name, folder.path()), limits)
}

/// A worker around this core module.
fn module(code: &str, limits: &str) -> Arena {
    let folder = tempfile::tempdir().expect("a folder");
    Arena::with(&fixtures::handler(code, folder.path()), limits)
}

/// What is said when this component is to be served; it must be refused as wrong input.
#[track_caller]
fn refusal(component: &Path) -> String {
    let mut command = harness::eyot();
    let output = command.arg("serve").arg(component).args(["--addr", "127.0.0.1:0"]).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    errors
}
