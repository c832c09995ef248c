//! What systemd is told.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::{Duration, Instant};

use super::harness::{Node, PATIENCE, eyot, until};
use super::{Site, Successor, confined};

/// Plays systemd.
struct Supervisor {
    socket: UnixDatagram,
    name: String,
}

impl Supervisor {
    /// With a socket of this name, which begins with `@` where it has no place in a file system.
    fn named(name: &str) -> Self {
        let socket = match name.strip_prefix('@') {
            Some(name) => UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name).expect("a name")),
            None => UnixDatagram::bind(name),
        };
        let socket = socket.expect("a free name");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { socket, name: name.to_owned() }
    }

    fn of(site: &Site) -> Self {
        Self::named(site.folder.path().join("notify").to_str().expect("text"))
    }

    fn command(&self) -> Command {
        let mut command = eyot();
        command.env("NOTIFY_SOCKET", &self.name);
        command
    }

    /// The next message; it must come.
    fn hear(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).expect("a message");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    fn hears(&self, wanted: &str) -> String {
        let said = self.hear();
        assert!(said.lines().any(|line| line.starts_with(wanted)), "{said:?} has no {wanted}");
        said
    }

    /// What has come so far.
    fn heard(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).expect("an option");
        let mut bytes = [0; 4096];
        let heard = std::iter::from_fn(|| {
            let length = self.socket.recv(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
        });
        let heard = heard.collect();
        self.socket.set_nonblocking(false).expect("an option");
        heard
    }
}

fn hears_from_start_to_end(supervisor: &Supervisor, site: &Site) {
    let mut node = site.start_by(supervisor.command(), confined());
    let said = supervisor.hears("READY=1");
    assert!(said.contains("STATUS=serving 0 workers"), "{said}");
    node.signal("-HUP");
    let said = supervisor.hears("RELOADING=1");
    let since: u128 = said.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")?.parse().ok()).expect("a time");
    assert!(since > 0);
    supervisor.hears("READY=1");
    assert_eq!(node.stop("-TERM").code(), Some(0));
    supervisor.hears("STOPPING=1");
    assert_eq!(supervisor.heard(), [""; 0]);
}

#[test]
fn systemd_hears_that_a_node_is_ready_reloads_and_stops() {
    let site = Site::new("ok");
    hears_from_start_to_end(&Supervisor::of(&site), &site);
}

#[test]
fn a_confined_node_reaches_a_supervisor_that_has_no_place_in_the_file_system() {
    let site = Site::new("ok");
    let name = format!("@eyot-test-{}", std::process::id());
    hears_from_start_to_end(&Supervisor::named(&name), &site);
}

#[test]
fn in_an_upgrade_the_old_process_names_the_new_one_and_then_only_that_one_speaks() {
    let site = Site::new("old");
    let supervisor = Supervisor::of(&site);
    let mut node = site.start_by(supervisor.command(), confined());
    supervisor.hears("READY=1");
    site.configure("new", "[[route]]\npath = \"/x\"\nworker = \"nobody\"\n");
    node.signal("-USR2");
    node.wait_for_log("the process that was to take over has ended");
    assert_eq!(supervisor.heard(), [""; 0], "nothing has changed");
    site.configure("new", "");
    let successor = Successor::of(&mut node);
    supervisor.hears(&format!("MAINPID={}", successor.0));
    supervisor.hears("READY=1");
    until("the one before has ended", || node.ended());
    assert_eq!(supervisor.heard(), [""; 0], "it is not the service that stops");
    successor.signal("-TERM");
    supervisor.hears("STOPPING=1");
}

#[test]
fn signs_of_life_come_while_the_cores_answer_and_after_an_upgrade_from_the_new_process() {
    let site = Site::new("old");
    let supervisor = Supervisor::of(&site);
    let mut command = supervisor.command();
    // As systemd does: for the process that it has started.
    command.env("WATCHDOG_USEC", "600000");
    let mut node = site.start_by(command, confined());
    supervisor.hears("READY=1");
    let began = Instant::now();
    for _ in 0..5 {
        supervisor.hears("WATCHDOG=1");
    }
    assert!(began.elapsed() < Duration::from_millis(600) * 5, "{:?}", began.elapsed());
    let _successor = Successor::of(&mut node);
    until("the one before has ended", || node.ended());
    let heard = supervisor.heard();
    let from = heard.iter().position(|said| said.contains("MAINPID=")).expect("a new main process");
    assert!(heard[from..].iter().any(|said| said.contains("READY=1")), "{heard:?}");
    for _ in 0..3 {
        supervisor.hears("WATCHDOG=1");
    }
}

#[test]
fn a_supervisor_that_is_not_there_is_told_of() {
    let site = Site::new("ok");
    let mut command = site.command(&[]);
    let output = command.env("NOTIFY_SOCKET", "/nowhere/notify").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("NOTIFY_SOCKET"), "{said}");
}

#[test]
fn a_probe_tells_by_its_exit_code_whether_a_node_is_alive_and_ready() {
    let site = Site::new("ok");
    std::fs::write(
        site.configuration(),
        std::fs::read_to_string(site.configuration()).expect("a file") + "[limits]\ndrain_delay = \"30s\"\n",
    )
    .expect("a file");
    let mut node = site.start(&[]);
    let admin = node.admin.expect("an operator's listener").to_string();
    let probe = |what: &str| {
        let output = eyot().args(["probe", what, "--admin", &admin, "--timeout", "10s"]).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said)
    };
    assert_eq!(probe("live"), (Some(0), "ok\n".to_owned()));
    assert_eq!(probe("ready"), (Some(0), "ready\n".to_owned()));
    node.signal("-TERM");
    until("it is not ready", || probe("ready").0 == Some(1));
    assert!(probe("ready").1.contains("503"), "{}", probe("ready").1);
    assert_eq!(probe("live").0, Some(0));
    drop::<Node>(node);
    let (code, said) = probe("live");
    assert!(code == Some(1) && said.contains("cannot be reached"), "{said}");
}
