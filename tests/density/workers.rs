//! Workers that differ in their bytes, a client that asks one after the other, and a node that has only so much memory.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::harness::{LISTENERS, Node, PATIENCE, eyot, fixtures, root};

/// Whether all is to be tried, and not only what a short test has time for.
pub fn is_full() -> bool {
    std::env::var_os("EYOT_FULL").is_some()
}

/// Times are claimed of the build that people run.
pub fn is_release() -> bool {
    !cfg!(debug_assertions)
}

/// Components and compiled code stay from run to run: 10,000 of them take minutes to compile.
fn folder() -> PathBuf {
    root().join("target/test-density")
}

/// What the worker of this number answers: as long as what `hello` answers.
pub fn answer(number: usize) -> String {
    format!("{number:05}\n")
}

fn name(number: usize) -> String {
    format!("w{number:05}")
}

/// `hello` with other bytes to answer, and with its number in a custom section.
pub fn component(number: usize) -> Vec<u8> {
    static HELLO: OnceLock<(Vec<u8>, usize)> = OnceLock::new();
    let (hello, at) = HELLO.get_or_init(|| {
        let hello = fs::read(fixtures::hello()).expect("a component");
        let found: Vec<usize> = (0..hello.len()).filter(|at| hello[*at..].starts_with(b"hello\n")).collect();
        assert_eq!(found.len(), 1, "what it answers stands in one place");
        (hello, found[0])
    });
    let mut bytes = hello.clone();
    let answer = answer(number);
    bytes[*at..*at + answer.len()].copy_from_slice(answer.as_bytes());
    // A section of id 0: its length, the length of its name, its name, its content.
    let section = [b"\x06number".as_slice(), answer.as_bytes()].concat();
    bytes.extend([0, section.len() as u8]);
    bytes.extend(section);
    bytes
}

/// Writes a worker into a folder of that name below this one, and gives the lines of node.toml that name it.
pub fn write(number: usize, below: &Path) -> String {
    let folder = below.join(name(number));
    let file = folder.join("worker.wasm");
    let bytes = component(number);
    if fs::read(&file).ok().as_ref() != Some(&bytes) {
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(&file, bytes).expect("a file");
    }
    let manifest = format!(
        "name = \"{0}\"\ncomponent = \"worker.wasm\"\n[[route]]\nhost = \"{0}.test\"\npath = \"/*\"\n",
        name(number)
    );
    fs::write(folder.join("eyot.toml"), manifest).expect("a file");
    format!("[[worker]]\npath = \"{}\"\n", folder.display())
}

/// The configuration of a node with so many workers, whose code is on disk.
pub fn compiled(count: usize) -> String {
    let folder = folder();
    fs::create_dir_all(&folder).expect("a folder");
    let lines: Vec<String> = (0..count).map(|number| write(number, &folder.join("workers"))).collect();
    let state = format!("state = \"{}\"\n", folder.join("state").display());
    let configuration = format!("{state}{}{LISTENERS}", lines.concat());
    // Half a second for each is far more than compiling takes, and less than patience for all would be.
    let patience = PATIENCE + count as u32 * Duration::from_millis(500);
    drop(Node::start_within(patience, eyot(), &configuration, &[], "off"));
    configuration
}

/// One connection, which is kept.
pub struct Client {
    socket: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("the node accepts");
        socket.set_nodelay(true).expect("an option");
        socket.set_read_timeout(Some(PATIENCE)).expect("an option");
        Self { socket, answer: Vec::new() }
    }

    /// Asks the worker of this number, which must answer what it alone does.
    pub fn ask(&mut self, number: usize) {
        let request = format!("GET / HTTP/1.1\r\nhost: {}.test\r\n\r\n", name(number));
        self.socket.write_all(request.as_bytes()).expect("sent");
        self.answer.clear();
        let expected = answer(number);
        let mut buffer = [0; 4096];
        while !self.answer.ends_with(expected.as_bytes()) {
            let read = self.socket.read(&mut buffer).expect("an answer");
            self.answer.extend_from_slice(&buffer[..read]);
            let so_far = String::from_utf8_lossy(&self.answer);
            let is_good = read > 0 && (self.answer.len() < 15 || so_far.starts_with("HTTP/1.1 200 OK"));
            assert!(is_good, "worker {number} answers\n{so_far}");
        }
    }
}

/// Where a node has only so much memory: a memory cgroup, where one can be made.
pub struct Caged(Option<PathBuf>);

impl Caged {
    pub fn in_memory_of(bytes: u64) -> Self {
        let name = format!("eyot-density-{}", std::process::id());
        let kinds = [("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")];
        let made = kinds.iter().find_map(|(root, limit)| {
            let folder = Path::new(root).join(&name);
            fs::create_dir(&folder).ok()?;
            match fs::write(folder.join(limit), bytes.to_string()) {
                Ok(()) => Some(folder),
                Err(_) => {
                    let _ = fs::remove_dir(&folder);
                    None
                }
            }
        });
        Self(made)
    }

    /// The binary, inside.
    pub fn command(&self) -> Command {
        let Some(folder) = &self.0 else { return eyot() };
        let eyot = eyot();
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\"/cgroup.procs && exec \"$@\""]).arg(folder).arg(eyot.get_program());
        for (name, value) in eyot.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }
}

impl std::fmt::Display for Caged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(folder) => write!(f, "by a cgroup, {}", folder.display()),
            None => f.write_str("by nothing (no cgroup can be made here), and measured"),
        }
    }
}

impl Drop for Caged {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            let _ = fs::remove_dir(folder);
        }
    }
}
