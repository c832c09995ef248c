//! Sockets that systemd has opened.

use std::io::Write;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

use super::harness::wire::Wire;
use super::harness::{Node, eyot, until};
use super::{answer, confined};

/// The smallest parent that does what systemd does: these sockets are the program's from 3 on, and the process's id is its own.
fn activated(sockets: &[&TcpListener], names: &str) -> Activated {
    let (mut moves, mut kept) = (String::new(), Vec::new());
    for (index, socket) in sockets.iter().enumerate() {
        // Out of the way of where they are to be.
        let socket = fcntl_dupfd_cloexec(socket, 100).expect("a descriptor");
        fcntl_setfd(&socket, FdFlags::empty()).expect("a socket");
        moves += &format!(" {}<&{number} {number}<&-", index + 3, number = socket.as_raw_fd());
        kept.push(socket);
    }
    let count = sockets.len();
    let script = format!("exec{moves}; LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES={names} exec \"$0\" \"$@\"");
    Activated { command: by_script(&script), script, _sockets: kept }
}

/// The command, for as long as the sockets are there.
struct Activated {
    command: Command,
    script: String,
    _sockets: Vec<OwnedFd>,
}

fn by_script(script: &str) -> Command {
    let (binary, mut command) = (eyot(), Command::new("bash"));
    command.args(["-c", script]).arg(binary.get_program());
    command.envs(binary.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

fn listener() -> (TcpListener, String) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address").to_string();
    (socket, address)
}

fn configuration(listeners: &[&str], admin: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let listeners: String = listeners.iter().map(|one| format!("[[listener]]\naddress = \"{one}\"\n")).collect();
    let text = format!(
        "state = \"state\"\n{listeners}[admin]\naddress = \"{admin}\"\n[[route]]\nrespond = {{ body = \"ok\" }}\n"
    );
    std::fs::write(folder.path().join("node.toml"), text).expect("a file");
    folder
}

#[test]
fn sockets_that_systemd_has_opened_are_served_by_their_addresses_and_so_is_who_came_before_the_node() {
    let ((socket, address), (operators, admin)) = (listener(), listener());
    let folder = configuration(&["127.0.0.1:0", &address], &admin);
    // It waits in the kernel's queue for a node that is not there yet.
    let mut early = std::net::TcpStream::connect(&address).expect("systemd listens");
    early.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").expect("sent");
    let activated = activated(&[&operators, &socket], "admin:web");
    let mut node = Node::start_beside(activated.command, &folder.path().join("node.toml"), confined());
    assert!(Wire::read(&mut early).text().ends_with("ok"));
    // The first listener had none, and is Eyot's own.
    assert_eq!(answer(&node).as_deref(), Some("ok"));
    assert_eq!(node.addresses[1].to_string(), address);
    assert_eq!(node.admin.expect("an operator's").to_string(), admin);
    assert!(node.metrics().contains("eyot_build_info"));
    // An upgrade gets them from the node that runs.
    let successor = super::Successor::of(&mut node);
    until("the one before has ended", || node.ended());
    assert_eq!(answer(&node).as_deref(), Some("ok"));
    successor.signal("-TERM");
    until("it ends", || !successor.is_running());
    // systemd still has its own: who comes now waits for the next start.
    let late = std::net::TcpStream::connect(&address);
    assert!(late.is_ok(), "{late:?}");
}

fn refused(mut activated: Activated, folder: &tempfile::TempDir) -> String {
    let output =
        activated.command.args(["serve", "--config"]).arg(folder.path().join("node.toml")).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    said
}

#[test]
fn a_socket_that_no_listener_names_is_a_fault_and_so_is_what_does_not_listen() {
    let ((socket, address), folder) = (listener(), configuration(&["127.0.0.1:0"], "127.0.0.1:0"));
    let said = refused(activated(&[&socket], "web"), &folder);
    assert!(said.contains("the socket web that was given to this process"), "{said}");
    assert!(said.contains(&format!("write address = \"{address}\" in node.toml")), "{said}");
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let said = refused(activated(&[&silent.into()], "web"), &folder);
    assert!(said.contains("it does not listen"), "{said}");
}

#[test]
fn what_was_given_to_another_process_is_not_taken() {
    let ((socket, _address), folder) = (listener(), configuration(&["127.0.0.1:0"], "127.0.0.1:0"));
    let activated = activated(&[&socket], "web");
    let node =
        Node::start_beside(by_script(&activated.script.replace("$$", "1")), &folder.path().join("node.toml"), &[]);
    assert_eq!(answer(&node).as_deref(), Some("ok"));
}
