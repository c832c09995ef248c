//! The client: aioquic, by the plans of `client.py`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::harness::python::programs;
use crate::harness::root;

/// What is installed, its version with it.
const REQUIRED: &str = include_str!("requirements.txt");

/// A client at work.
pub struct Running {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// What a client has seen.
pub struct Seen(pub Value);

/// Starts a client. `None`, and said so, where there is none.
pub fn start(plan: &Value) -> Option<Running> {
    let script = root().join("tests/http3/client.py");
    let mut command = Command::new(programs(REQUIRED.trim())?.join("python"));
    command.arg(script).env_remove("SSLKEYLOGFILE").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("Python can be started");
    let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let mut running = Running { child, input, output: BufReader::new(output) };
    writeln!(running.input, "{plan}").expect("a plan can be sent");
    Some(running)
}

impl Running {
    /// Waits until it says this.
    pub fn says(&mut self, text: &str) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), text);
    }

    /// Lets it go on from where it waits.
    pub fn go_on(&mut self) {
        writeln!(self.input).expect("a line can be sent");
    }

    /// What it has seen when it is through.
    pub fn end(mut self) -> Seen {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        assert!(self.child.wait().expect("a child").success());
        Seen(serde_json::from_str(&line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}")))
    }
}

impl Drop for Running {
    /// It goes without a word, as a client does whose machine is switched off.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Seen {
    /// What came on a stream.
    pub fn of(&self, stream: &str) -> &Value {
        &self.0["streams"][stream]
    }

    pub fn status(&self, stream: &str) -> u64 {
        let status = self.of(stream)["status"].as_u64();
        status.unwrap_or_else(|| panic!("no answer to {stream}: {}", self.0))
    }

    pub fn header(&self, stream: &str, name: &str) -> &str {
        self.of(stream)["headers"][name].as_str().unwrap_or_default()
    }

    pub fn body(&self, stream: &str) -> &str {
        self.of(stream)["body"].as_str().unwrap_or_default()
    }

    /// The code with which the node has reset a stream.
    pub fn reset(&self, stream: &str) -> Option<u64> {
        self.of(stream)["reset"].as_u64()
    }

    /// The code with which the node has ended the connection.
    pub fn closed(&self) -> Option<u64> {
        self.0["closed"]["code"].as_u64()
    }
}
