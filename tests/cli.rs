//! The command line against a real node: what is printed, which exit codes there are, and what a new project is.

mod harness;

#[path = "cli/backups.rs"]
mod backups;
#[path = "cli/deploys.rs"]
mod deploys;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/projects.rs"]
mod projects;
#[path = "cli/refusals.rs"]
mod refusals;
#[path = "cli/secrets.rs"]
mod secrets;
#[path = "cli/tokens.rs"]
mod tokens;
#[path = "cli/transcript.rs"]
mod transcript;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use harness::{Node, eyot, fixtures};

/// A node to which workers can be deployed, and a folder with workers.
struct Machine {
    node: Node,
    workers: tempfile::TempDir,
}

/// What a command did.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

impl Machine {
    fn start() -> Self {
        Self::with("")
    }

    /// With further top-level lines of node.toml.
    fn with(lines: &str) -> Self {
        let configuration = format!("store = \"store\"\nsecrets_key = \"secrets.key\"\n{lines}");
        let node = Node::start(&configuration, &[("secrets.key", KEY)]);
        Self { node, workers: tempfile::tempdir().expect("a folder") }
    }

    /// `eyot` with these arguments, asked by the first token of the node.
    fn eyot(&self, arguments: &[&str]) -> Ran {
        run(self.command(arguments), None)
    }

    /// The same with something on stdin.
    fn eyot_told(&self, arguments: &[&str], input: &str) -> Ran {
        run(self.command(arguments), Some(input))
    }

    /// The same with another token.
    fn eyot_by(&self, token: &str, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        command.env_remove("EYOT_TOKEN_FILE").env("EYOT_TOKEN", token);
        run(command, None)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = eyot();
        command.args(arguments).envs(self.environment()).current_dir(self.workers.path());
        command
    }

    /// Where the node is, and who asks.
    fn environment(&self) -> [(&'static str, String); 2] {
        let token = self.node.folder.path().join("store/admin.token");
        [("EYOT_ADMIN", self.admin()), ("EYOT_TOKEN_FILE", token.to_str().expect("text").to_owned())]
    }

    fn admin(&self) -> String {
        format!("http://{}", self.node.admin.expect("an admin listener"))
    }

    /// A folder with a worker of this name that does nothing; each `text` is another component.
    fn worker(&self, name: &str, text: &str, lines: &str) -> String {
        let folder = self.workers.path().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let data = format!("(memory 1) (data (i32.const 0) {text:?}) (func (export \"handle\") (param i32 i32))");
        fixtures::handler(&data, &folder);
        let manifest = format!("name = \"{name}\"\ncomponent = \"handler.wasm\"\n{lines}\n");
        std::fs::write(folder.join("eyot.toml"), manifest).expect("a file");
        folder.to_str().expect("text").to_owned()
    }

    /// Deploys so many versions of a worker, each for all requests.
    fn deployed(&self, name: &str, versions: u32) {
        for version in 1..=versions {
            let folder = self.worker(name, &version.to_string(), "");
            self.eyot(&["deploy", &folder, "--message", &format!("number {version}")]).done();
        }
    }

    /// What serves of a worker: versions and percents.
    fn serving(&self, name: &str) -> Vec<(u64, f64)> {
        let list = self.eyot(&["deployments", name, "--json"]).done().json();
        let versions = list["deployments"][0]["versions"].as_array().expect("versions").clone();
        let share = |share: &serde_json::Value| {
            (share["version"].as_u64().expect("a number"), share["percent"].as_f64().expect("a number"))
        };
        versions.iter().map(share).collect()
    }
}

impl Ran {
    /// It must have done what it was asked for.
    #[track_caller]
    fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self
    }

    /// It must not have.
    #[track_caller]
    fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self
    }

    /// What it printed as a result is one JSON document and nothing else.
    #[track_caller]
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.out))
    }

    /// What it said besides has all of these.
    #[track_caller]
    fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is not in\n{}", self.err);
        }
        self
    }
}

fn run(mut command: Command, input: Option<&str>) -> Ran {
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child =
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        // Who does not read is asked why by its exit code.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().expect("the command ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// A file that `cargo` makes no second time for each test: what new projects depend on.
fn cargo_target() -> PathBuf {
    harness::root().join("target/test-new")
}
