//! An authority of its own: pebble, the test server of Let's Encrypt, and its DNS server, to which every name is 127.0.0.1.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use crate::certificates::Authority;
use crate::harness::until;

/// Where an authority is to be, and what it is like.
pub struct Site {
    folder: tempfile::TempDir,
    authority: Authority,
    port: u16,
    management: u16,
    names: u16,
    /// Where it looks whether a name is its client's.
    pub looks_at: u16,
    /// For so many seconds its certificates are good.
    pub validity: u32,
    /// It issues none for this name.
    pub blocked: &'static str,
    /// For so many seconds at most it does nothing before it looks.
    pub sleeps: u32,
    /// Of a hundred nonces it refuses so many, as it may do with a good one. With 30, three are refused in a row for one request of forty.
    pub bad_nonces: u32,
    /// It has customers, and this is the key of the only one.
    pub external: Option<&'static str>,
}

/// What that one is called.
pub const CUSTOMER: &str = "customer-1";

/// A running authority.
pub struct Directory {
    children: [Child; 2],
    log: Arc<Mutex<String>>,
    management: u16,
}

/// A port that nobody has, for a process that is told its port.
pub fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("an address").port()
}

fn here(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Whether there is a pebble on this machine; said where there is none.
pub fn is_there() -> bool {
    let found = Command::new("pebble").arg("-help").stdin(Stdio::null()).output();
    if let Err(error) = &found {
        let why = format!("SKIPPED: pebble cannot be run: {error}");
        assert!(std::env::var_os("EYOT_TESTS_SKIP_NOTHING").is_none(), "{why}");
        eprintln!("{why}");
    }
    found.is_ok()
}

impl Site {
    /// It will look at this port.
    pub fn new(looks_at: u16) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new("whoever vouches for the authority");
        let own = authority.issue(&["localhost"]);
        std::fs::write(folder.path().join("own.pem"), &own.pem).expect("a file");
        std::fs::write(folder.path().join("own.key"), &own.key).expect("a file");
        let (port, management, names) = (free_port(), free_port(), free_port());
        let (validity, blocked, sleeps, bad_nonces, external) = (90 * 86_400, "blocked.test", 0, 0, None);
        Self { folder, authority, port, management, names, looks_at, validity, blocked, sleeps, bad_nonces, external }
    }

    /// The directory's URL.
    pub fn url(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// Whom its clients have to trust.
    pub fn roots(&self) -> String {
        self.authority.pem()
    }

    pub fn open(&self) -> Directory {
        let file = |name: &str| self.folder.path().join(name);
        let configuration = json!({ "pebble": {
            "listenAddress": here(self.port),
            "managementListenAddress": here(self.management),
            "certificate": file("own.pem"),
            "privateKey": file("own.key"),
            "httpPort": 1,
            "tlsPort": self.looks_at,
            "domainBlocklist": [self.blocked],
            "certificateValidityPeriod": self.validity,
            "externalAccountBindingRequired": self.external.is_some(),
            "externalAccountMACKeys": { CUSTOMER: self.external.unwrap_or("AAAA") },
        }});
        std::fs::write(file("pebble.json"), configuration.to_string()).expect("a file");
        let mut command = Command::new("pebble");
        command.arg("-strict").arg("-config").arg(file("pebble.json")).arg("-dnsserver").arg(here(self.names));
        // A name that was validated is validated again.
        command.env("PEBBLE_WFE_NONCEREJECT", self.bad_nonces.to_string()).env("PEBBLE_AUTHZREUSE", "0");
        match self.sleeps {
            0 => command.env("PEBBLE_VA_NOSLEEP", "1"),
            seconds => command.env("PEBBLE_VA_SLEEPTIME", seconds.to_string()),
        };
        let mut names = Command::new("pebble-challtestsrv");
        names.args(["-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""]);
        names.args(["-dns01", &here(self.names), "-management", &here(free_port())]);
        let log = Arc::new(Mutex::new(String::new()));
        let children = [command, names].map(|mut command| {
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().expect("it runs");
            hear(child.stdout.take().expect("piped"), &log);
            hear(child.stderr.take().expect("piped"), &log);
            child
        });
        let directory = Directory { children, log, management: self.management };
        for port in [self.port, self.management, self.names] {
            until("the authority listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        }
        directory
    }
}

impl Directory {
    /// Everything that it has said.
    pub fn log(&self) -> String {
        self.log.lock().expect("not poisoned").clone()
    }

    /// How often it has said this.
    pub fn said(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    /// The root of all that it issues, which is another one each time it starts.
    pub fn root(&self) -> CertificateDer<'static> {
        let client = reqwest::blocking::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build();
        let url = format!("https://localhost:{}/roots/0", self.management);
        let answer = client.expect("a client").get(url).send().and_then(|answer| answer.text());
        CertificateDer::from_pem_slice(answer.expect("a root").as_bytes()).expect("a certificate")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn hear(from: impl std::io::Read + Send + 'static, log: &Arc<Mutex<String>>) {
    let log = Arc::clone(log);
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            log.lock().expect("not poisoned").push_str(&(line + "\n"));
        }
    });
}
