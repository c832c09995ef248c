//! `eyot serve X.wasm` takes wasmtime serve's command line and prints what it prints.

mod harness;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use harness::{Answer, Node, eyot, fixtures};

#[test]
fn the_first_line_on_stderr_tells_the_address() {
    let mut child = eyot()
        .arg("serve")
        .arg(fixtures::fixture())
        .args(["--addr", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary can be started");
    let mut line = String::new();
    BufReader::new(child.stderr.take().expect("piped")).read_line(&mut line).expect("a line");
    let address = line.trim().strip_prefix("Serving HTTP on http://").and_then(|rest| rest.strip_suffix('/'));
    assert!(address.is_some_and(|address| address.parse::<std::net::SocketAddr>().is_ok()), "{line:?}");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

#[test]
fn sigint_and_sigterm_end_it_with_zero() {
    for signal in ["-INT", "-TERM"] {
        let mut node = Node::single(&fixtures::fixture(), &[]);
        assert_eq!(node.get("/count").status, 200);
        assert_eq!(node.stop(signal).code(), Some(0), "{signal}");
    }
}

#[test]
fn a_connection_to_the_shutdown_address_ends_it() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let mut node = Node::single(&fixtures::fixture(), &["--shutdown-addr", &address.to_string()]);
    assert_eq!(node.get("/count").status, 200);
    node.wait_for_log("Listening for shutdown");
    std::net::TcpStream::connect(address).expect("it listens");
    harness::until("it ends", || node.ended());
}

#[test]
fn the_guest_s_output_has_wasmtime_s_prefix() {
    let node = Node::single(&fixtures::fixture(), &[]);
    node.get("/log?bytes=10");
    node.wait_for_log("stdout [0] :: ");
    node.get("/log?bytes=10");
    node.wait_for_log("stdout [1] :: ");
}

#[test]
fn env_and_config_var_reach_the_guest() {
    let node =
        Node::single(&fixtures::fixture(), &["--env", "GREETING=moin", "-S", "cli,config,config-var=colour=blue"]);
    assert!(node.get("/env").body.contains("moin"));
    assert!(node.get("/config").body.contains("blue"));
}

#[test]
fn timeout_and_max_memory_size_are_enforced() {
    let node = Node::single(&fixtures::fixture(), &["-W", "timeout=300ms", "-W", "max-memory-size=33554432"]);
    assert_eq!(node.get("/sleep?ms=10000").code(), "worker_timeout");
    assert_eq!(node.get("/grow?mib=64").code(), "worker_memory_exceeded");
}

#[test]
fn an_option_that_we_do_not_do_is_refused_with_what_is_known() {
    for (option, value) in [("-S", "nn"), ("-W", "fuel=1000"), ("-S", "tcp=y")] {
        let output = eyot().arg("serve").arg(fixtures::fixture()).args([option, value]).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains("known are"), "{errors}");
    }
}

#[test]
fn what_is_not_a_component_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases: [(&str, &[u8], &str); 4] = [
        ("text.wasm", b"hello", "not WebAssembly"),
        ("empty.wasm", b"", "not WebAssembly"),
        ("broken.wasm", b"\0asm\x0d\0\x01\0\xff\xff\xff", "not valid"),
        ("elf.wasm", b"\x7fELF", ".cwasm"),
    ];
    for (name, bytes, expected) in cases {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        refused(&path, expected);
    }
    refused(&fixtures::text("core-module", folder.path()), "core module");
    refused(&fixtures::text("no-handler", folder.path()), "exports neither");
    refused(&folder.path().join("missing.wasm"), "cannot be read");
}

#[track_caller]
fn refused(component: &std::path::Path, expected: &str) {
    let output = eyot().arg("serve").arg(component).args(["--addr", "127.0.0.1:0"]).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains(expected), "{expected:?} in {errors}");
}

#[test]
fn a_port_in_use_is_said_and_nothing_is_half_started() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = eyot().arg("serve").arg(fixtures::fixture()).args(["--addr", &address]).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains(&address), "{errors}");
}

#[test]
fn egress_is_open_as_with_wasmtime_serve_and_deny_closes_it() {
    let origin = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http%3A%2F%2F{}%2F", origin.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut socket in origin.incoming().flatten() {
            let _ = socket.read(&mut [0; 1024]);
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    let open = Node::single(&fixtures::fixture(), &[]);
    assert!(open.get(&format!("/fetch?url={url}")).body.contains("200"));
    open.wait_for_log("egress is open");
    let closed = Node::single(&fixtures::fixture(), &["--egress", "deny"]);
    assert!(!closed.get(&format!("/fetch?url={url}")).body.contains("200"));
}

#[test]
fn a_second_start_maps_what_the_first_compiled() {
    use std::os::unix::fs::MetadataExt;
    let state = tempfile::tempdir().expect("a folder");
    let argument = state.path().to_str().expect("text");
    let component = fixtures::fixture();
    // Compiled code is written to a new file that then takes its name, so one that was compiled again is another one.
    let compiled = || {
        let files = std::fs::read_dir(state.path().join("compiled")).expect("a folder").flatten();
        let identity = |entry: std::fs::DirEntry| {
            let about = entry.metadata().expect("a file");
            (entry.file_name(), about.ino(), about.mtime(), about.mtime_nsec(), about.size())
        };
        let mut files: Vec<_> = files.map(identity).collect();
        files.sort();
        files
    };
    drop(Node::single(&component, &["--state", argument]));
    let first = compiled();
    assert_eq!(first.len(), 2, "compiled code and its digest: {first:?}");
    let node = Node::single(&component, &["--state", argument]);
    assert_eq!(Answer::of(node.request("GET", "/count")).status, 200);
    assert_eq!(compiled(), first, "nothing was compiled again");
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", node.id())).expect("a process");
    let name = first.iter().map(|file| file.0.to_string_lossy()).find(|name| name.ends_with(".cwasm"));
    assert!(maps.contains(&*name.expect("compiled code")), "it is mapped:\n{maps}");
}

#[test]
fn a_folder_that_others_can_write_to_is_not_trusted_with_compiled_code() {
    use std::os::unix::fs::PermissionsExt;
    let state = tempfile::tempdir().expect("a folder");
    let compiled = state.path().join("compiled");
    std::fs::create_dir(&compiled).expect("a folder");
    std::fs::set_permissions(&compiled, std::fs::Permissions::from_mode(0o777)).expect("its owner");
    let output = eyot()
        .arg("serve")
        .arg(fixtures::fixture())
        .args(["--addr", "127.0.0.1:0", "--state"])
        .arg(state.path())
        .output()
        .expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("others can write") && errors.contains("--state"), "{errors}");
}

#[test]
fn a_shutdown_address_in_use_is_wrong_input_and_nothing_is_half_started() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut command = eyot();
    command.arg("serve").arg(fixtures::fixture()).args(["--addr", "127.0.0.1:0", "--shutdown-addr", &address]);
    let output = command.output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains(&address) && !errors.contains("Serving"), "{errors}");
}

#[test]
fn both_streams_of_an_invocation_have_its_number() {
    let node = Node::single(&fixtures::fixture(), &[]);
    node.get("/log?bytes=10&to=both");
    node.wait_for_log("stdout [0] :: ");
    node.wait_for_log("stderr [0] :: ");
}

#[test]
fn compiled_code_that_was_changed_is_compiled_anew() {
    let state = tempfile::tempdir().expect("a folder");
    let component = fixtures::fixture();
    let argument = state.path().to_str().expect("text");
    drop(Node::single(&component, &["--state", argument]));
    let compiled = std::fs::read_dir(state.path().join("compiled")).expect("a folder").flatten();
    let compiled = compiled.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|end| end == "cwasm"));
    let compiled = compiled.expect("compiled code");
    let mut bytes = std::fs::read(&compiled).expect("bytes");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&compiled, &bytes).expect("written");
    let node = Node::single(&component, &["--state", argument]);
    assert_eq!(node.get("/count").status, 200);
    node.wait_for_log("does not have its digest");
    assert_ne!(std::fs::read(&compiled).expect("bytes"), bytes, "it was replaced");
}

#[test]
fn help_has_examples() {
    for command in ["serve", "dev", "build", "check", "limits"] {
        let output = Command::new(env!("CARGO_BIN_EXE_eyot")).args([command, "--help"]).output().expect("it runs");
        let help = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && help.contains("Examples:"), "{command}: {help}");
    }
}
