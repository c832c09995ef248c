//! What wasmtime's own tests do to `wasmtime serve` (tests/all/cli_tests.rs, `cli_serve_*`), done to `eyot serve` with fixtures of ours:
//! the same command lines, the same reading of its output, the same end.

mod harness;

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use harness::{client, eyot, fixtures};

/// A server as wasmtime's harness runs it: it reads two lines of stderr in this order, and ends it by a connection.
struct Server {
    child: Child,
    output: [JoinHandle<String>; 2],
    address: SocketAddr,
    shutdown: SocketAddr,
}

impl Server {
    fn new(component: &Path, arguments: &[&str]) -> Self {
        let mut command = eyot();
        command.args(["serve", "--addr=127.0.0.1:0"]).arg(component).args(arguments);
        Self::spawn(&mut command).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn spawn(command: &mut Command) -> Result<Self, String> {
        command.arg("--shutdown-addr=127.0.0.1:0");
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary can be started");
        let mut errors = BufReader::new(child.stderr.take().expect("piped"));
        let mut address = |begin: &str| {
            let mut line = String::new();
            errors.read_line(&mut line).expect("a line");
            let address = line.strip_prefix(begin).and_then(|rest| rest.trim_end().strip_suffix('/'));
            address.and_then(|address| address.parse().ok()).ok_or(line)
        };
        let shutdown = address("Listening for shutdown on tcp://");
        let serving = address("Serving HTTP on http://");
        match (shutdown, serving) {
            (Ok(shutdown), Ok(address)) => {
                let output = [read(child.stdout.take().expect("piped")), read(errors)];
                Ok(Self { child, output, address, shutdown })
            }
            (first, second) => {
                child.kill().expect("a child");
                child.wait().expect("a child");
                let mut rest = first.err().unwrap_or_default() + &second.err().unwrap_or_default();
                errors.read_to_string(&mut rest).expect("text");
                Err(rest)
            }
        }
    }

    fn get(&self, path: &str) -> reqwest::blocking::RequestBuilder {
        client().get(format!("http://{}{path}", self.address))
    }

    /// Ends it, and gives what it wrote to stdout and stderr.
    fn finish(mut self) -> (String, String) {
        TcpStream::connect(self.shutdown).expect("it listens for its end");
        let status = self.child.wait().expect("a child");
        let [output, errors] = self.output.map(|reading| reading.join().expect("read"));
        assert!(status.success(), "{status}: {errors}");
        (output, errors)
    }
}

fn read(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("text");
        text
    })
}

fn body(request: reqwest::blocking::RequestBuilder) -> String {
    request.send().expect("an answer").text().expect("a body")
}

#[test]
fn echo_env() {
    let mut command = eyot();
    command.env("FROM_OURS", "inherited").env_remove("NOT_SET");
    command.args(["serve", "--addr=127.0.0.1:0"]).arg(fixtures::fixture());
    command.args(["--env=FOO=bar", "--env=FROM_OURS", "--env=NOT_SET", "-Scli"]);
    let server = Server::spawn(&mut command).expect("it serves");
    let env = body(server.get("/env"));
    assert!(env.contains("FOO") && env.contains("bar") && env.contains("inherited"), "{env}");
    assert!(!env.contains("NOT_SET"), "{env}");
    server.finish();
}

#[test]
fn header_replaces_request_header() {
    let server = Server::new(&fixtures::fixture(), &["--header=probe: one", "-H", "probe: two", "-Scli"]);
    let seen = body(server.get("/echo").header("probe", "the client's"));
    assert!(seen.contains("one") && seen.contains("two") && !seen.contains("the client's"), "{seen}");
    server.finish();
}

#[test]
fn header_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("headers.txt");
    std::fs::write(&file, "probe: from a file\n\nunused: value\n").expect("a file");
    let server = Server::new(&fixtures::fixture(), &[&format!("--header=@{}", file.display()), "-Scli"]);
    assert!(body(server.get("/echo")).contains("from a file"));
    server.finish();
}

#[test]
fn outgoing_body_config() {
    let options = ["-Scli", "-Shttp-outgoing-body-buffer-chunks=2", "-Shttp-outgoing-body-chunk-size=1024"];
    let server = Server::new(&fixtures::fixture(), &options);
    assert!(server.get("/count").send().expect("an answer").status().is_success());
    let (_, errors) = server.finish();
    assert!(errors.contains("-S http-outgoing-body-chunk-size=1024 changes nothing here"), "{errors}");
}

#[test]
fn only_one_process_allowed() {
    let server = Server::new(&fixtures::fixture(), &["-Scli"]);
    let mut second = eyot();
    second.args(["serve", "-Scli", &format!("--addr={}", server.address)]).arg(fixtures::fixture());
    let errors = Server::spawn(&mut second).err().expect("the address is taken");
    assert!(errors.contains(&server.address.to_string()) && !errors.contains("Serving"), "{errors}");
    server.finish();
}

#[test]
fn quick_rebind_allowed() {
    let mut server = Server::new(&fixtures::fixture(), &["-Scli"]);
    let address = server.address;
    let mut open = TcpStream::connect(address).expect("it listens");
    std::io::Write::write_all(&mut open, b"GET /count HTTP/1.1\r\nhost: x\r\n\r\n").expect("written");
    open.read_exact(&mut [0; 12]).expect("a status");
    // Its end of the connection is in TIME_WAIT then.
    server.child.kill().expect("a child");
    server.child.wait().expect("a child");
    drop(open);
    let mut second = eyot();
    second.args(["serve", "-Scli", &format!("--addr={address}")]).arg(fixtures::fixture());
    Server::spawn(&mut second).expect("the address is free again").finish();
}

#[test]
fn with_print_and_with_print_no_prefix() {
    let server = Server::new(&fixtures::fixture(), &["-Scli"]);
    for _ in 0..2 {
        server.get("/log?bytes=10&to=both").send().expect("an answer");
    }
    let (output, errors) = server.finish();
    for number in 0..2 {
        assert!(output.contains(&format!("stdout [{number}] :: ")), "{output}");
        assert!(errors.contains(&format!("stderr [{number}] :: ")), "{errors}");
    }
    let server = Server::new(&fixtures::fixture(), &["-Scli", "--no-logging-prefix"]);
    server.get("/log?bytes=10&to=both").send().expect("an answer");
    let (output, errors) = server.finish();
    assert!(!output.is_empty() && !output.contains("::") && !errors.contains("stderr ["), "{output}{errors}");
}

#[test]
fn config() {
    let server = Server::new(&fixtures::fixture(), &["-Scli", "-Sconfig", "-Sconfig-var=hello=world"]);
    assert!(body(server.get("/config")).contains("world"));
    server.finish();
}

#[test]
fn guest_never_invoked_set() {
    let server = Server::new(&fixtures::fixture(), &["-Scli"]);
    for _ in 0..2 {
        assert_eq!(server.get("/no-response").send().expect("an answer").status(), 500);
    }
    let (_, errors) = server.finish();
    assert!(errors.contains("guest never invoked `response-outparam::set` method"), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
}

/// Twenty connections with five requests each; then it ends the server, and gives what that wrote.
fn many(server: Server, path: &str, is_good: impl Fn(reqwest::StatusCode) -> bool) -> (String, String) {
    let url = format!("http://{}{path}", server.address);
    let statuses = std::thread::scope(|scope| {
        let get_five = || {
            let client = reqwest::blocking::Client::new();
            (0..5).map(|_| client.get(&url).send().expect("an answer").status()).collect::<Vec<_>>()
        };
        let connections: Vec<_> = (0..20).map(|_| scope.spawn(get_five)).collect();
        connections.into_iter().flat_map(|connection| connection.join().expect("asked")).collect::<Vec<_>>()
    });
    let (output, errors) = server.finish();
    let bad: Vec<_> = statuses.into_iter().filter(|status| !is_good(*status)).collect();
    assert!(bad.is_empty(), "{bad:?}: {errors}");
    (output, errors)
}

#[test]
fn hello_world_many_with_and_without_reuse() {
    let p3: &[&str] = &["-Wcomponent-model-async", "-Sp3,cli"];
    let cases: [(_, &[&str]); 4] = [
        (fixtures::fixture(), &["-Scli"]),
        (fixtures::fixture(), &["-Scli", "--max-instance-reuse-count=128", "--idle-instance-timeout=100ms"]),
        (fixtures::fixture3(), &[p3, &["--max-instance-reuse-count=1"]].concat()),
        (fixtures::fixture3(), &[p3, &["--max-instance-concurrent-reuse-count=1"]].concat()),
    ];
    for (component, arguments) in cases {
        many(Server::new(&component, arguments), "/count", |status| status.is_success());
    }
}

#[test]
fn sleep_many() {
    let p3: &[&str] = &["-Wcomponent-model-async", "-Sp3,cli", "-Wtimeout=100us"];
    for (component, arguments) in
        [(fixtures::fixture(), &["-Scli", "-Wtimeout=100us"] as &[&str]), (fixtures::fixture3(), p3)]
    {
        let server = Server::new(&component, arguments);
        let (output, errors) = many(server, "/sleep?ms=10000", |status| status.is_server_error());
        assert_eq!(output, "");
        assert!(errors.contains("guest timed out"), "{errors}");
    }
}

#[test]
fn a_bound_on_concurrent_requests_is_the_worker_s_concurrency() {
    let server = Server::new(&fixtures::fixture(), &["--max-concurrent-requests=1", "--max-concurrent-connections=9"]);
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..3).map(|_| scope.spawn(|| server.get("/sleep?ms=100").send())).collect();
        let began = std::time::Instant::now();
        for asked in asked {
            assert!(asked.join().expect("asked").expect("an answer").status().is_success());
        }
        assert!(began.elapsed().as_millis() >= 250, "they ran at once: {:?}", began.elapsed());
    });
    server.finish();
}
