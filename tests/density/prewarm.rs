//! A TLS handshake names the host that will be asked for: what its request would wait for is loaded meanwhile.

use std::fs;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::certificates::Authority;
use crate::dial::{Client, Connection, VERSIONS};
use crate::harness::{Node, until};
use crate::workers::{self, is_full};

/// So many workers, of which one fits into memory.
const WORKERS: usize = 5;

/// A node with a listener for TLS, and a client that trusts it.
struct Secured {
    node: Node,
    client: Client,
    folder: tempfile::TempDir,
}

impl Secured {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new("authority");
        // Whoever has named any of them may ask for any of them.
        let hosts: Vec<String> = (0..WORKERS).map(host).chain(["nobody.test".to_owned()]).collect();
        let issued = authority.issue(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
        fs::write(folder.path().join("own.pem"), &issued.pem).expect("a file");
        fs::write(folder.path().join("own.key"), &issued.key).expect("a file");
        let client = Client::new(&authority, VERSIONS[1]).forgetful();
        // Compiled, and forgotten.
        drop(Self::node(&folder));
        let node = Self::node(&folder);
        let secured = Self { node, client, folder };
        until("one is in memory", || secured.metric("eyot_components_loaded") == 1.0);
        secured
    }

    fn node(folder: &tempfile::TempDir) -> Node {
        let lines: String = (0..WORKERS).map(|number| workers::write(number, folder.path())).collect();
        let below = folder.path().display();
        let configuration = format!(
            "state = \"{below}/state\"\n{lines}[limits]\nloaded_components = 1\n[admin]\naddress = \"127.0.0.1:0\"\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\n\
             tls = {{ certificate = \"{below}/own.pem\", key = \"{below}/own.key\" }}\n"
        );
        Node::start_exactly(&configuration, &[])
    }

    fn again(self) -> Self {
        let Self { node, client, folder } = self;
        drop(node);
        let secured = Self { node: Self::node(&folder), client, folder };
        until("one is in memory", || secured.metric("eyot_components_loaded") == 1.0);
        secured
    }

    fn metric(&self, name: &str) -> f64 {
        self.node.metric(name, "")
    }

    /// How many components have come into memory.
    fn loads(&self) -> f64 {
        self.node.metric("eyot_component_load_seconds_count", "start=\"cold\"")
    }

    fn requests(&self, start: &str) -> f64 {
        self.node.metric("eyot_isolates_started_total", &format!("start=\"{start}\""))
    }

    fn greet(&self, host: &str) -> Connection {
        self.client.connect(self.node.address(), Some(host)).expect("a handshake")
    }

    /// A worker that is not in memory.
    fn cold(&self) -> usize {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.node.id())).expect("a process");
        let mapped = |number: &usize| maps.contains(&hex::encode(Sha256::digest(workers::component(*number))));
        (0..WORKERS).find(|number| !mapped(number)).expect("one of them is not in memory")
    }
}

fn host(number: usize) -> String {
    format!("w{number:05}.test")
}

#[test]
fn who_asks_a_moment_after_the_handshake_meets_a_worker_in_memory() {
    let secured = Secured::start();
    let (cold, before) = (secured.cold(), secured.loads());
    let mut connection = secured.greet(&host(cold));
    until("it is loaded", || secured.loads() > before);
    assert_eq!(secured.metric("eyot_components_loaded"), 1.0, "one that nobody used has made way");
    asked(&mut connection, cold);
    assert_eq!((secured.requests("cold"), secured.requests("warm")), (0.0, 1.0));
    assert_eq!(secured.node.metric("eyot_component_load_seconds_count", "start=\"compile\""), 0.0);
}

#[test]
fn a_handshake_for_a_host_that_nothing_answers_for_loads_nothing() {
    let secured = Secured::start();
    let (cold, before) = (secured.cold(), secured.loads());
    for number in 0..50 {
        drop(secured.greet(&format!("nobody-{number}.test")));
    }
    drop(secured.greet(&host(cold)));
    until("the last one is loaded", || secured.loads() > before);
    assert_eq!(secured.loads(), before + 1.0, "and it alone");
}

#[test]
fn what_is_in_use_makes_no_way_for_what_nobody_has_asked_for() {
    let secured = Secured::start();
    let cold = secured.cold();
    let mut connection = secured.greet("nobody.test");
    // In memory, and used again.
    for _ in 0..2 {
        asked(&mut connection, cold);
    }
    let (other, before) = ((cold + 1) % WORKERS, secured.loads());
    for _ in 0..20 {
        drop(secured.greet(&host(other)));
    }
    asked(&mut connection, cold);
    assert_eq!(secured.loads(), before);
}

#[test]
fn the_first_request_after_a_handshake_waits_for_no_load() {
    let mut secured = Secured::start();
    let (mut named, mut unnamed) = (Vec::new(), Vec::new());
    for _ in 0..if is_full() { 20 } else { 1 } {
        // It had been asked for by nobody since the start.
        let (cold, before) = (secured.cold(), secured.loads());
        let mut connection = secured.greet(&host(cold));
        until("it is loaded", || secured.loads() > before);
        named.push(asked(&mut connection, cold));
        // The same, but that the handshake names another host of the certificate.
        let cold = secured.cold();
        let mut connection = secured.greet("nobody.test");
        unnamed.push(asked(&mut connection, cold));
        secured = secured.again();
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    eprintln!(
        "first request: {:?} where the handshake named its host, {:?} else",
        median(&mut named),
        median(&mut unnamed)
    );
}

/// How long it takes the worker of this number to answer.
fn asked(connection: &mut Connection, number: usize) -> Duration {
    let began = Instant::now();
    let answer = connection.ask(&host(number), "/").expect("an answer");
    let took = began.elapsed();
    assert!(answer.ends_with(&workers::answer(number)), "{answer}");
    took
}
