//! A log that nobody takes is no reason for a node, or for a command, to end.

mod harness;

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::{Answer, client, eyot, fixtures, until};

/// A node of one worker, started by hand: the harness would read what it prints.
struct Unheard {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Unheard {
    fn start(command: impl FnOnce(&mut Command), settle: impl FnOnce(&mut Child)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let manifest = fixtures::manifest("[[route]]\npath = \"/*\"\n");
        std::fs::write(folder.path().join("eyot.toml"), manifest).expect("a file");
        let configuration = format!("[[listener]]\naddress = \"{address}\"\n[[worker]]\npath = \".\"\n");
        std::fs::write(folder.path().join("node.toml"), configuration).expect("a file");
        let mut node = eyot();
        node.args(["serve", "--config"]).arg(folder.path().join("node.toml")).stdin(Stdio::null());
        command(&mut node);
        let mut child = node.spawn().expect("it starts");
        settle(&mut child);
        until("it listens", || TcpStream::connect(address).is_ok());
        Self { child, url: format!("http://{address}"), _folder: folder }
    }

    /// A request that is logged.
    fn traps(&mut self) {
        let answer = Answer::of(client().get(format!("{}/trap", self.url)));
        assert_eq!((answer.status, answer.code()), (500, "worker_trapped"));
        assert_eq!(self.child.try_wait().expect("a child"), None, "the node has ended");
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").expect("a device that is full").into()
}

#[test]
fn a_node_whose_log_is_full_goes_on() {
    let mut node = Unheard::start(|node| _ = node.stdout(full()).stderr(full()), |_| ());
    (0..3).for_each(|_| node.traps());
}

#[test]
fn a_node_whose_log_nobody_reads_goes_on() {
    let mut node = Unheard::start(
        |node| _ = node.stdout(Stdio::null()).stderr(Stdio::piped()),
        |child| {
            let mut log = BufReader::new(child.stderr.take().expect("piped"));
            log.read_line(&mut String::new()).expect("a line");
        },
    );
    (0..3).for_each(|_| node.traps());
}

#[test]
fn a_node_whose_log_is_a_pipe_that_nobody_empties_goes_on() {
    let mut held = None;
    let mut node = Unheard::start(
        |node| _ = node.stdout(Stdio::null()).stderr(Stdio::piped()),
        |child| held = child.stderr.take(),
    );
    // A pipe holds 64 KiB at most, and a line of a trap is longer than 128 bytes.
    (0..600).for_each(|_| node.traps());
    let mut log = held.take().expect("piped");
    let terminated = Instant::now();
    Command::new("kill").arg(node.child.id().to_string()).status().expect("it runs");
    until("it ends", || node.child.try_wait().expect("a child").is_some());
    assert!(terminated.elapsed() < Duration::from_secs(10), "its end waited for {:?}", terminated.elapsed());
    let mut written = String::new();
    log.read_to_string(&mut written).expect("text");
    let lines = written.lines().filter(|line| line.contains("worker_trapped")).count();
    assert!((1..600).contains(&lines), "{lines} lines of 600 were written, so nothing has waited");
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure_and_one_that_nobody_reads_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("eyot.toml"), fixtures::manifest("")).expect("a file");
    for arguments in [&["check"][..], &["check", "--json"]] {
        let command = || {
            let mut command = eyot();
            command.args(arguments).arg(folder.path());
            command
        };
        let output = command().stdout(full()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = command().stdout(writer).output().expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        // What is wrong has nobody to be told to, but the exit code.
        let status =
            eyot().args(arguments).arg("/nonexistent").stdout(full()).stderr(full()).status().expect("it runs");
        assert_eq!(status.code(), Some(if arguments.len() == 1 { 2 } else { 1 }), "{arguments:?}");
    }
}

#[test]
fn a_filter_that_is_not_understood_ends_with_2() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("eyot.toml"), fixtures::manifest("")).expect("a file");
    for command in ["serve", "dev"] {
        let arguments = if command == "serve" {
            vec!["serve".into(), fixtures::fixture()]
        } else {
            vec!["dev".into(), folder.path().into()]
        };
        let output = eyot().args(arguments).env("EYOT_LOG", "eyot=loud").output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command}: {errors}");
        assert!(errors.contains("eyot=loud"), "{errors}");
    }
}
