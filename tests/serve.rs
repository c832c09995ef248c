//! `eyot serve X.wasm` takes wasmtime serve's command line and prints what it prints.

mod harness;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use harness::{Node, eyot, fixtures};

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
    assert_eq!(node.get("/grow-checked").status, 200);
    let bounds = ["-W", "max-memory-size=33554432,trap-on-grow-failure"];
    assert_eq!(Node::single(&fixtures::fixture(), &bounds).get("/grow-checked").code(), "worker_memory_exceeded");
}

#[test]
fn an_option_that_we_do_not_do_is_refused_with_what_to_do() {
    let cases: &[(&[&str], &str)] = &[
        (&["-S", "nonsense"], "known are"),
        (&["-S", "nn"], "leave it out"),
        (&["-W", "fuel=1000"], "cpu_time"),
        (&["-S", "tcp=y"], "wasi:http"),
        (&["-S", "keyvalue"], "no key-value store"),
        (&["-D", "coredump=x"], "wasmtime serve"),
        (&["--dir", "."], "no files"),
        (&["--allow-precompiled"], "never accepted"),
        (&["--target", "x86_64"], "leave it out"),
        (&["-W", "timeout=18446744073709551615"], "longer than a year"),
        (&["-W", "timeout=18446744073709551615s"], "longer than a year"),
        (&["-W", "timeout=0"], "above 0"),
        (&["-W", "max-memory-size=0"], "above 0"),
        (&["--env", "=x"], "no name"),
        (&["-S", "config-var==y"], "no name"),
        (&["-H", "no colon"], "no colon"),
        (&["-H", "content-length: 3"], "own business"),
        (&["-H", "proxy-authorization: basic x"], "own business"),
        (&["-H", "traceparent: 00-1-1-01"], "each request its own"),
        (&["-H", "@/nonexistent/headers"], "/nonexistent/headers"),
        (&["--max-instance-reuse-count", "0"], "write 1"),
        (&["--max-concurrent-requests", "0"], "above 0"),
        (&["--addr", "8080"], "127.0.0.1:8080"),
        (&["--access-log", "/nonexistent/log"], "/nonexistent/log"),
    ];
    for (arguments, expected) in cases {
        let mut command = eyot();
        let output = command.arg("serve").arg(fixtures::hello()).args(*arguments).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains(expected) && !errors.contains("panicked"), "{arguments:?}: {errors}");
        assert!(!errors.contains("--> \n"), "{arguments:?}: {errors}");
    }
}

#[test]
fn an_environment_that_is_not_utf_8_is_inherited_as_far_as_it_is() {
    use std::os::unix::ffi::OsStrExt;
    let mut command = eyot();
    command.env("BAD", std::ffi::OsStr::from_bytes(b"\xff\xfe")).env("GOOD", "moin");
    let node = Node::single_with(command, &fixtures::fixture(), &["-S", "inherit-env"]);
    let env = node.get("/env").body;
    assert!(env.contains("moin") && !env.contains("BAD"), "{env}");
    node.wait_for_log("leaves \"BAD\" out");
}

#[test]
fn without_anything_to_do_both_ways_of_saying_it_are_shown() {
    for (command, one, other) in [("serve", "--config node.toml", "X.wasm"), ("check", "--config node.toml", "check .")]
    {
        let output = eyot().arg(command).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(one) && errors.contains(other), "{errors}");
    }
}

#[test]
fn a_node_s_configuration_and_what_is_for_one_component_do_not_go_together() {
    for argument in ["x.wasm", "--no-logging-prefix", "--max-concurrent-requests=1", "-Scli", "-Oopt-level=2"] {
        let output = eyot().args(["serve", "--config", "node.toml", argument]).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{argument}: {errors}");
        assert!(errors.contains("cannot be used with"), "{argument}: {errors}");
    }
}

#[test]
fn what_is_no_regular_file_or_too_large_is_refused_without_reading_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe.wasm");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    refused(&pipe, "not a regular file");
    refused(std::path::Path::new("/dev/zero"), "not a regular file");
    let limits = folder.path().join("limits.toml");
    std::fs::write(&limits, "component_size = \"1KiB\"").expect("a file");
    let mut command = eyot();
    let output = command.arg("serve").arg(fixtures::hello()).arg("--limits").arg(limits).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("more than 1024 bytes") && errors.contains("component_size"), "{errors}");
}

#[test]
fn a_signal_before_anything_is_served_ends_the_process_and_its_build_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = "name = \"slow\"\ncomponent = \"slow.wasm\"\n[build]\ncommand = \"echo $$ > pid; exec sleep 600\"";
    std::fs::write(folder.path().join("eyot.toml"), manifest).expect("a file");
    let mut command = eyot();
    command.arg("dev").arg(folder.path()).args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut building = String::new();
    harness::until("it builds", || {
        building = std::fs::read_to_string(folder.path().join("pid")).unwrap_or_default();
        building.ends_with('\n')
    });
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill runs").success());
    let began = std::time::Instant::now();
    assert_eq!(child.wait().expect("a child").code(), Some(0));
    assert!(began.elapsed() < harness::PATIENCE);
    harness::until("the build has ended", || !std::path::Path::new("/proc").join(building.trim()).exists());
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
    refused(&fixtures::text("no-handler", folder.path()), "exports none of");
    refused(&fixtures::text("wrong-handle", folder.path()), "is not a handler");
    refused(&fixtures::text("unknown-import", folder.path()), "remove the import");
    refused(&folder.path().join("missing.wasm"), "cannot be read");
}

#[track_caller]
fn refused(component: &std::path::Path, expected: &str) {
    let output = eyot().arg("serve").arg(component).args(["--addr", "127.0.0.1:0"]).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains(expected), "{expected:?} in {errors}");
    assert_eq!(errors.matches("error: ").count(), 1, "{errors}");
    assert!(errors.contains("help: "), "{errors}");
}

#[test]
fn a_newer_handler_that_cannot_be_used_gives_way_to_the_older_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::single(&fixtures::text("both-handlers", folder.path()), &[]);
    assert_eq!(node.get("/").code(), "worker_no_response");
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
fn help_has_examples() {
    for command in ["serve", "dev", "build", "check", "limits"] {
        let output = Command::new(env!("CARGO_BIN_EXE_eyot")).args([command, "--help"]).output().expect("it runs");
        let help = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && help.contains("Examples:"), "{command}: {help}");
    }
}
