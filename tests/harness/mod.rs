//! What the outside-in tests share: a node in a folder of its own, a client, and the node's own metrics.
//!
//! A node is a real process of the real binary on ports of its own. When it is dropped it must have given everything back: no
//! isolate in use, no task of an isolate left; otherwise the test fails.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test target uses its part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

pub mod cores;
pub mod fixtures;
pub mod frames;
pub mod load;
pub mod origin;
pub mod python;
pub mod servers;
pub mod wire;

/// Nothing in a test may take longer than this.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the repository").to_owned()
}

/// The binary under test.
pub fn eyot() -> Command {
    prepared(Command::new(binary()))
}

/// The same on one core, together with all that it starts.
pub fn on_core(core: usize) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &core.to_string()]).arg(binary());
    prepared(command)
}

/// Examples are told of no binary; the one that uses this is one itself.
fn binary() -> PathBuf {
    match option_env!("CARGO_BIN_EXE_eyot") {
        Some(path) => path.into(),
        None => std::env::current_exe().expect("this program has a path"),
    }
}

fn prepared(mut command: Command) -> Command {
    command.env("XDG_CACHE_HOME", cache()).env("NO_COLOR", "1").env_remove("EYOT_LOG");
    // Every failure would walk the stack, 10 ms in a debug build.
    command.env_remove("RUST_BACKTRACE");
    command
}

/// Compiled components are shared by all tests of a run: they are keyed by content.
fn cache() -> PathBuf {
    let folder = root().join("target/test-cache");
    std::fs::create_dir_all(&folder).expect("the cache folder can be made");
    folder
}

/// A running node.
pub struct Node {
    child: Child,
    log: Arc<Mutex<String>>,
    /// Where it listens, in the order of its configuration.
    pub addresses: Vec<SocketAddr>,
    /// Where its admin listener is.
    pub admin: Option<SocketAddr>,
    /// Its folder; relative paths in its configuration start here.
    pub folder: tempfile::TempDir,
    tidy: bool,
}

/// Behind the rest of a node.toml, because top-level keys come before the first table.
pub const LISTENERS: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n";

/// Files of a node besides node.toml: name and content.
pub type Files<'a> = &'a [(&'a str, &'a str)];

impl Node {
    /// Starts a node from a node.toml, to which two listeners (HTTP and admin) are added, both at port 0.
    pub fn start(configuration: &str, files: Files<'_>) -> Self {
        Self::start_exactly(&format!("{configuration}\n{LISTENERS}"), files)
    }

    /// The same on one core, where each request could meet the isolate of the one before.
    pub fn start_on_one_core(configuration: &str, files: Files<'_>) -> Self {
        Self::start_by(on_core(0), &format!("{configuration}\n{LISTENERS}"), files, "off")
    }

    /// The same with an access log, whose lines are among those of [`Node::log`].
    pub fn start_logged(configuration: &str, files: Files<'_>) -> Self {
        Self::start_by(eyot(), &format!("{configuration}\n{LISTENERS}"), files, "stdout")
    }

    /// Starts a node from exactly this node.toml.
    pub fn start_exactly(configuration: &str, files: Files<'_>) -> Self {
        Self::start_by(eyot(), configuration, files, "off")
    }

    /// Starts a node from exactly this node.toml, by a command that ends in the binary.
    pub fn start_by(command: Command, configuration: &str, files: Files<'_>, access_log: &str) -> Self {
        Self::start_within(4 * PATIENCE, command, configuration, files, access_log)
    }

    /// The same, for a node that takes its time to be ready.
    pub fn start_within(
        patience: Duration,
        mut command: Command,
        configuration: &str,
        files: Files<'_>,
        access_log: &str,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, content) in files.iter().chain([&("node.toml", configuration)]) {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders can be made");
            std::fs::write(path, content).expect("files can be written");
        }
        command.args(["serve", "--access-log", access_log, "--config"]).arg(folder.path().join("node.toml"));
        Self::spawn(command, folder, patience)
    }

    /// Starts a node from a node.toml that is there already, in another one's folder, by a command that ends in the binary.
    pub fn start_beside(mut command: Command, configuration: &Path, arguments: &[&str]) -> Self {
        command.args(["serve", "--access-log", "off", "--config"]).arg(configuration).args(arguments);
        Self::spawn(command, tempfile::tempdir().expect("a folder"), 4 * PATIENCE)
    }

    /// Serves one component as `wasmtime serve` would.
    pub fn single(component: &Path, arguments: &[&str]) -> Self {
        Self::single_with(eyot(), component, arguments)
    }

    /// The same, with an environment of its own.
    pub fn single_with(mut command: Command, component: &Path, arguments: &[&str]) -> Self {
        command.arg("serve").arg(component).args(["--addr", "127.0.0.1:0"]).args(arguments);
        Self::spawn(command, tempfile::tempdir().expect("a folder"), 4 * PATIENCE)
    }

    /// Runs `eyot dev` on a folder.
    pub fn dev(path: &Path, arguments: &[&str]) -> Self {
        let mut command = eyot();
        command.arg("dev").arg(path).args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).args(arguments);
        Self::spawn(command, tempfile::tempdir().expect("a folder"), 4 * PATIENCE)
    }

    /// The same, started in this folder, for what it leaves there.
    pub fn dev_in(folder: &Path, path: &Path) -> Self {
        let mut command = eyot();
        command.current_dir(folder).arg("dev").arg(path).args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        Self::spawn(command, tempfile::tempdir().expect("a folder"), 4 * PATIENCE)
    }

    fn spawn(mut command: Command, folder: tempfile::TempDir, patience: Duration) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be started");
        let log = Arc::new(Mutex::new(String::new()));
        let out = child.stdout.take().expect("piped");
        let err = child.stderr.take().expect("piped");
        for stream in [Box::new(out) as Box<dyn Read + Send>, Box::new(err)] {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let mut log = log.lock().expect("not poisoned");
                    log.push_str(&line);
                    log.push('\n');
                }
            });
        }
        let mut node = Self { child, log, addresses: Vec::new(), admin: None, folder, tidy: true };
        node.wait_until_listening(patience);
        node
    }

    fn wait_until_listening(&mut self, patience: Duration) {
        let began = Instant::now();
        loop {
            let log = self.log();
            for line in log.lines() {
                if let Some(address) = line.strip_prefix("Serving HTTP on http://") {
                    self.addresses = vec![address.trim_end_matches('/').parse().expect("an address")];
                    return;
                }
            }
            // `eyot dev` says where its metrics are last.
            let told =
                |from: &str, to: &str| Some(log.split_once(from)?.1.split_once(to)?.0.parse().expect("an address"));
            if let (Some(address), Some(admin)) = (told("listens on http://", "/"), told("curl http://", "/metrics")) {
                self.addresses = vec![address];
                self.admin = Some(admin);
                return;
            }
            let ready = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            let (mut addresses, mut admin, mut done) = (Vec::new(), None, false);
            for line in ready {
                let address = line["address"].as_str().and_then(|address| address.parse().ok());
                match line["message"].as_str() {
                    Some("listening") => addresses.extend(address),
                    Some("admin") => admin = address,
                    Some("ready") => done = true,
                    _ => {}
                }
            }
            if done {
                self.addresses = addresses;
                self.admin = admin;
                return;
            }
            if let Some(status) = self.child.try_wait().expect("a child") {
                panic!("the node ended with {status}:\n{log}");
            }
            assert!(began.elapsed() < patience, "the node does not listen:\n{log}");
            pause();
        }
    }

    /// Everything that it has printed.
    pub fn log(&self) -> String {
        self.log.lock().expect("not poisoned").clone()
    }

    /// Waits until it has printed this.
    pub fn wait_for_log(&self, text: &str) {
        until(&format!("the log says {text:?}"), || self.log().contains(text));
    }

    /// Its first address.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// A request to its first listener.
    pub fn request(&self, method: &str, path: &str) -> reqwest::blocking::RequestBuilder {
        let method = method.parse().expect("a method");
        client().request(method, format!("http://{}{path}", self.address()))
    }

    /// GET, answered.
    pub fn get(&self, path: &str) -> Answer {
        Answer::of(self.request("GET", path))
    }

    /// GET with another Host.
    pub fn get_from(&self, host: &str, path: &str) -> Answer {
        Answer::of(self.request("GET", path).header("host", host))
    }

    /// A connection of one's own, for requests that no client library makes.
    pub fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address()).expect("the node accepts");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket
    }

    /// Sends raw bytes and reads until the node closes or `PATIENCE` is over.
    pub fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut socket = self.connect();
        socket.write_all(bytes.as_ref()).expect("bytes can be sent");
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The sum of a metric over all its labels that contain `labels`, such as `code="worker_trapped"`.
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        let text = self.metrics();
        let samples = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(labels)
        });
        samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// The text of `/metrics`.
    pub fn metrics(&self) -> String {
        let admin = self.admin.expect("a node with an admin listener");
        client().get(format!("http://{admin}/metrics")).send().and_then(|answer| answer.text()).expect("metrics")
    }

    /// Waits until no isolate is in use.
    pub fn wait_until_idle(&self) {
        until("no isolate is in use", || self.metric("eyot_isolates_in_use", "") == 0.0);
    }

    /// A test that breaks the node on purpose does not ask it at the end.
    pub fn untidy(&mut self) {
        self.tidy = false;
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: &str) {
        self.tidy = false;
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("kill runs").success());
    }

    /// Sends a signal and waits for the end.
    pub fn stop(&mut self, signal: &str) -> std::process::ExitStatus {
        self.signal(signal);
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "the node does not end:\n{}", self.log());
            pause();
        }
    }

    /// Ends it by a signal and starts it again in its folder, with the configuration that lies there.
    pub fn again(mut self, signal: &str) -> Self {
        if !self.ended() {
            self.stop(signal);
        }
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().expect("a folder"));
        let mut command = eyot();
        command.args(["serve", "--access-log", "off", "--config"]).arg(folder.path().join("node.toml"));
        Self::spawn(command, folder, 4 * PATIENCE)
    }

    /// Whether the process has ended.
    pub fn ended(&mut self) -> bool {
        let ended = self.child.try_wait().expect("a child").is_some();
        self.tidy &= !ended;
        ended
    }

    /// The resident memory of the node, in bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let fault =
            (self.tidy && self.admin.is_some() && !std::thread::panicking()).then(|| self.leftovers()).flatten();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(fault) = fault {
            panic!("the node was left with {fault}:\n{}", self.log());
        }
    }
}

impl Node {
    fn leftovers(&self) -> Option<String> {
        let began = Instant::now();
        loop {
            let isolates = self.metric("eyot_isolates_in_use", "");
            let tasks = self.metric("eyot_tasks", "name=\"isolate\"");
            if isolates == 0.0 && tasks == 0.0 {
                return None;
            }
            if began.elapsed() > PATIENCE {
                return Some(format!("{isolates} isolates and {tasks} tasks"));
            }
            pause();
        }
    }
}

/// An answer, read whole.
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: String,
}

impl Answer {
    /// Sends and reads.
    pub fn of(request: reqwest::blocking::RequestBuilder) -> Self {
        let answer = request.send().expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.bytes().expect("a whole body");
        Self { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
    }

    /// The same; `None` where the connection broke before all of it was there.
    pub fn try_of(request: reqwest::blocking::RequestBuilder) -> Option<Self> {
        let answer = request.send().ok()?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.bytes().ok()?;
        Some(Self { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// A header's value, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The failure's code.
    pub fn code(&self) -> &str {
        self.header("eyot-error")
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.body))
    }
}

/// One client for all tests: it keeps no proxy, follows no redirect.
pub fn client() -> &'static reqwest::blocking::Client {
    static CLIENT: OnceLock<reqwest::blocking::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        reqwest::blocking::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .timeout(2 * PATIENCE)
            .build()
            .expect("a client")
    })
}

/// Waits for a condition, for as long as patience lasts.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        pause();
    }
}

/// Percent-encodes every byte, so that any text fits the query of a mode's URL.
pub fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Between two looks at a condition; never a way to wait for something.
#[allow(clippy::disallowed_methods, reason = "a test's thread serves nobody")]
pub fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}
