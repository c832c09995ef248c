//! Every curl line of the examples' READMEs, run against `eyot dev examples`, answers as printed there.

#[path = "examples/background.rs"]
mod background;
#[path = "examples/services.rs"]
mod services;
mod harness;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use harness::{eyot, root};

/// `eyot dev examples`, on ports of its own.
struct Dev {
    child: Child,
    port: u16,
    /// Where it was started: what workers keep lies there.
    _folder: tempfile::TempDir,
}

/// Those of requests, and those of work that a response does not need.
const EXAMPLES: [&str; 14] = [
    "hello",
    "auth-gate",
    "localize",
    "router",
    "preferences",
    "origin-proxy",
    "invite",
    "mailer",
    "delete-account",
    "thumbnails",
    "nightly-report",
    "storefront",
    "catalog",
    "prices",
];

/// Building all examples from nothing takes minutes.
const BUILD: Duration = Duration::from_secs(15 * 60);

impl Dev {
    fn start() -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().expect("a folder"));
        #[allow(clippy::zombie_processes, reason = "waited for when dropped")]
        let mut child = eyot()
            .arg("dev")
            .arg(root().join("examples"))
            .args(["--listen", &format!("127.0.0.1:{port}"), "--admin", "127.0.0.1:0"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be started");
        let (sender, lines) = mpsc::channel();
        let stderr = child.stderr.take().expect("piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut log = String::new();
        loop {
            let line = lines.recv_timeout(BUILD).unwrap_or_else(|_| panic!("eyot dev did not start:\n{log}"));
            log.push_str(&line);
            log.push('\n');
            if line.contains("listens on") {
                std::thread::spawn(move || lines.iter().for_each(drop));
                return Self { child, port, _folder: folder };
            }
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A command and what it should print.
struct Exchange {
    file: PathBuf,
    command: String,
    expected: Vec<String>,
}

/// The `console` blocks of a README: a line that begins with `$ ` is a command, what follows is its output.
fn exchanges(file: PathBuf) -> Vec<Exchange> {
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut found: Vec<Exchange> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line.trim_end() {
            "```console" => inside = true,
            "```" => inside = false,
            line if inside => match line.strip_prefix("$ ") {
                Some(command) => {
                    found.push(Exchange { file: file.clone(), command: command.to_owned(), expected: Vec::new() });
                }
                None => found.last_mut().expect("output follows a command").expected.push(line.to_owned()),
            },
            _ => {}
        }
    }
    found.retain(|exchange| exchange.command.contains("curl"));
    found
}

/// Whether a text is as printed, where `…` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    let mut rest = rest;
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

fn in_lower_case(line: &str) -> String {
    match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}", name.to_lowercase()),
        None => line.trim_end().to_owned(),
    }
}

/// Every header line that is printed in the README must come; the body must be as printed, if one is.
fn check(exchange: &Exchange, printed: &str) -> Result<(), String> {
    let printed = printed.replace('\r', "");
    // Of a large upload, some versions of curl ask first.
    let printed = printed.strip_prefix("HTTP/1.1 100 Continue\n\n").unwrap_or(&printed);
    let (head, body) = printed.split_once("\n\n").unwrap_or((printed, ""));
    let head: Vec<_> = head.lines().map(in_lower_case).collect();
    let expected = exchange.expected.join("\n");
    let (expected_head, expected_body) = match expected.split_once("\n\n") {
        Some((head, body)) => (head, Some(body)),
        None => (expected.as_str(), None),
    };
    for line in expected_head.lines().filter(|line| !line.is_empty()).map(in_lower_case) {
        if !head.iter().any(|printed| matches(&line, printed)) {
            return Err(format!("the head has no line {line:?}"));
        }
    }
    match expected_body {
        Some(expected) if !matches(expected.trim_end(), body.trim_end()) => Err(format!("the body is not\n{expected}")),
        _ => Ok(()),
    }
}

#[test]
fn every_curl_line_of_the_examples_answers_as_printed() {
    let files = EXAMPLES.iter().map(|name| root().join("examples").join(name).join("README.md"));
    let all: Vec<_> = files.chain([root().join("README.md")]).flat_map(exchanges).collect();
    for name in EXAMPLES.iter().filter(|name| **name != "mailer") {
        assert!(all.iter().any(|exchange| exchange.command.contains(&format!("{name}.localhost"))), "none for {name}");
    }
    let dev = Dev::start();
    let mut faults = Vec::new();
    for exchange in &all {
        let command = exchange.command.replace(":8080", &format!(":{}", dev.port));
        let command = command.replace("curl ", "curl --silent --show-error --max-time 20 ");
        let output = Command::new("sh").args(["-c", &command]).current_dir(root()).output().expect("sh runs");
        let printed = String::from_utf8_lossy(&output.stdout);
        if let Err(fault) = check(exchange, &printed) {
            let errors = String::from_utf8_lossy(&output.stderr);
            faults.push(format!("{}: $ {command}\n{fault}\nit printed:\n{printed}{errors}", exchange.file.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[test]
fn each_example_has_the_parts_that_a_newcomer_looks_for() {
    for name in EXAMPLES {
        for part in ["eyot.toml", "src/lib.rs", "README.md", "Cargo.toml"] {
            let path = root().join("examples").join(name).join(part);
            assert!(path.is_file(), "{} is missing", path.display());
        }
    }
}
