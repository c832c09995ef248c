//! The live tail: who sees what, what it costs the node, and how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use reqwest::blocking::{RequestBuilder, Response};
use serde_json::{Value, json};
use sse_stream::SseByteStream;

use crate::harness::{Answer, Node, PATIENCE, client, eyot, fixtures, until};
use crate::operator::{Operator, configuration, first_token, node};

/// What a tail tells, as it comes.
struct Following(Receiver<(String, Value)>);

impl Following {
    /// Begins to look; from its answer on, everything is seen.
    fn by(operator: &Operator, query: &str) -> Self {
        Self::of(operator.request("GET", &format!("/v1/tail?{query}")))
    }

    fn of(request: RequestBuilder) -> Self {
        let mut response = request.send().expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let (sender, events) = channel();
        std::thread::spawn(move || {
            let chunks = stream::iter(std::iter::from_fn(|| chunk(&mut response)));
            let mut read = std::pin::pin!(SseByteStream::new(chunks));
            while let Some(Some(Ok(event))) = read.next().now_or_never() {
                let data = serde_json::from_str(&event.data.expect("data")).expect("JSON");
                if sender.send((event.event.expect("a name"), data)).is_err() {
                    return;
                }
            }
        });
        Self(events)
    }

    /// The next event, which has this name.
    #[track_caller]
    fn next(&self, name: &str) -> Value {
        let (found, data) = self.0.recv_timeout(PATIENCE).expect("an event");
        assert_eq!(found, name, "{data}");
        data
    }

    /// The path of the next request.
    #[track_caller]
    fn path(&self) -> String {
        self.next("request")["path"].as_str().expect("a path").to_owned()
    }

    /// Whether it is over.
    fn is_over(&self) -> bool {
        self.0.recv_timeout(PATIENCE).is_err()
    }
}

fn chunk(response: &mut Response) -> Option<std::io::Result<Bytes>> {
    let mut bytes = vec![0; 4096];
    let length = response.read(&mut bytes).ok().filter(|length| *length > 0)?;
    bytes.truncate(length);
    Some(Ok(bytes.into()))
}

/// A node on which these workers serve.
fn serving(workers: &[&str]) -> (Node, Operator) {
    let node = node("");
    let first = Operator::first(&node);
    for worker in workers {
        first.serve(worker, first.version(worker, "one"));
    }
    (node, first)
}

/// Asks a worker that is there and answers 200.
#[track_caller]
fn ask(node: &Node, worker: &str, path: &str) {
    assert_eq!(node.get_from(&format!("{worker}.example"), path).status, 200);
}

#[test]
fn a_request_is_seen_with_its_worker_and_version_and_so_is_what_its_guest_wrote() {
    let (node, first) = serving(&["shop"]);
    first.serve("shop", first.version("shop", "two"));
    let following = Following::by(&first, "");
    ask(&node, "shop", "/background?ms=1&secret=1");
    let (mut request, mut log) = (Value::Null, Value::Null);
    for _ in 0..2 {
        let (name, data) = following.0.recv_timeout(PATIENCE).expect("an event");
        assert!(!data.to_string().contains("secret"), "{data}");
        *(if name == "log" { &mut log } else { &mut request }) = data;
    }
    assert_eq!(log["message"], "background: done after 1 ms");
    assert_eq!((&log["stream"], &log["level"], &log["worker"]), (&json!("stdout"), &json!("INFO"), &json!("shop")));
    assert_eq!(log["request_id"], request["request_id"]);
    assert_eq!((&request["worker"], &request["version"]), (&json!("shop"), &json!("2")), "{request}");
    assert_eq!((&request["path"], &request["status"]), (&json!("/background"), &json!(200)));
    assert_eq!((&request["host"], &request["method"]), (&json!("shop.example"), &json!("GET")));
    assert!(request["cpu_us"].is_u64() && request["duration_us"].is_u64() && request["start"].is_string(), "{request}");
}

#[test]
fn filters_leave_out_what_is_not_asked_for() {
    let (node, first) = serving(&["a-shop", "b-shop"]);
    let follow = |query: &str| Following::by(&first, query);
    let (status, class) = (follow("status=404"), follow("status=5xx&status=404"));
    let (method, header) = (follow("method=POST"), follow("header=x-tenant:acme"));
    let (search, worker) = (follow("search=/conf"), follow("worker=a-*"));
    let nothing = follow("sample=0");
    ask(&node, "b-shop", "/count");
    assert_eq!(Answer::of(node.request("POST", "/count").header("host", "b-shop.example")).status, 200);
    let with = |value| node.request("GET", "/headers").header("host", "b-shop.example").header("x-tenant", value);
    Answer::of(with("other"));
    Answer::of(with("acme"));
    assert_eq!(node.get_from("nobody.example", "/nowhere").status, 404);
    ask(&node, "b-shop", "/config?key=is");
    ask(&node, "a-shop", "/count");
    assert_eq!(node.get_from("a-shop.example", "/trap").status, 500);
    assert_eq!((status.path(), class.path(), class.path()), ("/nowhere".into(), "/nowhere".into(), "/trap".into()));
    assert_eq!(method.next("request")["method"], "POST");
    assert_eq!((header.path(), search.path()), ("/headers".into(), "/config".into()));
    assert_eq!(worker.next("request")["worker"], "a-shop");
    assert!(nothing.0.try_recv().is_err());
}

#[test]
fn a_filter_that_means_nothing_is_refused() {
    let (node, first) = serving(&[]);
    for bad in ["status=6xx", "sample=2", "sample=x", "header=x", "worker=A", "method=G%20T", "colour=1", "search="] {
        let answer = first.get(&format!("/v1/tail?{bad}"));
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (400, Some("bad_request")),
            "{bad}: {}",
            answer.body
        );
    }
    let nobody = Operator::with(&node, "eyot_x");
    assert_eq!(nobody.get("/v1/tail").status, 401);
}

#[test]
fn a_tenant_sees_nothing_of_others() {
    let (node, first) = serving(&["a-shop", "b-shop"]);
    let body = json!({ "name": "tenant", "scope": "read", "workers": ["a-*"], "hosts": [] });
    let token = first.send("POST", "/v1/tokens", &body).json();
    let tenant = Operator::with(&node, token["token"].as_str().expect("a token"));
    let each = ["", "worker=*", "worker=b-shop&worker=a-shop"].map(|query| Following::by(&tenant, query));
    let theirs = Following::by(&tenant, "worker=b-*");
    ask(&node, "b-shop", "/background?ms=1");
    assert_eq!(node.get_from("nobody.example", "/").status, 404);
    node.wait_until_idle();
    ask(&node, "a-shop", "/count");
    for following in each {
        assert_eq!(following.next("request")["worker"], "a-shop");
    }
    assert!(theirs.0.try_recv().is_err());
}

#[test]
fn a_reader_that_is_slow_holds_nobody_up_and_is_told_what_it_missed() {
    let (node, _) = serving(&["shop"]);
    let mut slow = TcpStream::connect(node.admin.expect("an admin listener")).expect("a connection");
    slow.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let token = first_token(&node);
    write!(slow, "GET /v1/tail HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n").expect("sent");
    let mut answer = BufReader::new(slow);
    let mut head = String::new();
    answer.read_line(&mut head).expect("an answer");
    assert_eq!(head, "HTTP/1.1 200 OK\r\n");
    // More than sockets and queues have room for.
    let began = Instant::now();
    for _ in 0..400 {
        ask(&node, "shop", "/hostcall?bytes=60000&via=stdout");
    }
    let took = began.elapsed();
    let mut found = None;
    let mut line = String::new();
    while found.is_none() && answer.read_line(&mut line).expect("more") > 0 {
        found = (line == "event: dropped\n").then(|| {
            line.clear();
            answer.read_line(&mut line).expect("its data")
        });
        if found.is_none() {
            line.clear();
        }
    }
    let data: Value = serde_json::from_str(line.strip_prefix("data: ").expect("data")).expect("JSON");
    assert!(data["events"].as_u64() > Some(100), "{data}");
    assert!(took < PATIENCE, "{took:?}");
}

#[test]
fn there_are_sixteen_at_once_and_one_that_goes_makes_room() {
    let (_node, first) = serving(&[]);
    let mut all: Vec<_> = (0..16).map(|_| first.request("GET", "/v1/tail").send().expect("an answer")).collect();
    assert!(all.iter().all(|response| response.status() == 200));
    let refused = first.get("/v1/tail");
    assert_eq!((refused.status, refused.json()["code"].as_str()), (429, Some("too_many_tails")));
    all.pop();
    until("there is room", || first.request("GET", "/v1/tail").send().expect("an answer").status() == 200);
}

#[test]
fn a_tail_sees_the_last_requests_of_a_node_and_is_told_that_it_ends() {
    let (mut node, first) = serving(&["shop"]);
    let following = Following::by(&first, "");
    let mut socket = node.connect();
    socket.write_all(b"GET /sleep?ms=1000 HTTP/1.1\r\nhost: shop.example\r\n\r\n").expect("sent");
    until("it runs", || node.metric("eyot_isolates_in_use", "") == 1.0);
    assert_eq!(node.stop("-TERM").code(), Some(0));
    assert_eq!(following.path(), "/sleep");
    assert_eq!(following.next("end")["why"], "the node ends");
    assert!(following.is_over());
}

#[test]
fn a_quiet_tail_stays_and_ends_with_its_token() {
    let node = node("[limits]\nkeepalive_idle = \"1s\"\nheader_timeout = \"1s\"\nwrite_idle = \"2s\"\n");
    let first = Operator::first(&node);
    let body = json!({ "name": "short", "scope": "read", "workers": ["*"], "hosts": [] });
    let token = first.send("POST", "/v1/tokens", &body).json();
    let stays = Following::by(&first, "");
    let short = Following::by(&Operator::with(&node, token["token"].as_str().expect("a token")), "");
    let path = format!("/v1/tokens/{}", token["id"].as_str().expect("an id"));
    assert_eq!(Answer::of(first.request("DELETE", &path)).status, 200);
    let why = short.next("end")["why"].to_string();
    assert!(why.contains("no token here that is accepted"), "{why}");
    assert!(short.is_over());
    assert_eq!(node.get_from("nobody.example", "/late").status, 404);
    assert_eq!(stays.path(), "/late", "ten seconds later");
}

#[test]
fn dev_needs_no_token_and_says_what_it_does_not_have() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("eyot.toml"), fixtures::manifest("")).expect("a file");
    let node = Node::dev(folder.path(), &[]);
    let admin = node.admin.expect("an admin listener");
    let get = |path: &str| client().get(format!("http://{admin}{path}"));
    let following = Following::of(get("/v1/tail"));
    assert_eq!(node.get_from("fixture.localhost", "/count").status, 200);
    assert_eq!(following.next("request")["worker"], "fixture");
    for path in ["/v1/workers", "/v1/status", "/v1/tokens"] {
        let answer = Answer::of(get(path));
        assert_eq!((answer.status, answer.json()["code"].as_str()), (404, Some("no_store")), "{path}");
    }
    let described = Answer::of(get("/openapi.json")).json();
    let paths: Vec<_> = described["paths"].as_object().expect("paths").keys().cloned().collect();
    let is_there = |path: &str| {
        let kept = path.strip_prefix("/v1/workers/{worker}/").unwrap_or_default();
        path == "/v1/tail" || ["kv", "queues", "schedules"].iter().any(|noun| kept.starts_with(noun))
    };
    assert!(paths.len() > 3 && paths.iter().all(|path| is_there(path)), "the tail and what workers keep: {paths:?}");
}

/// `eyot tail`, and what it prints.
struct Printed {
    child: Child,
    lines: Receiver<String>,
}

impl Printed {
    fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        let (sender, lines) = channel();
        let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        for stream in [Box::new(out) as Box<dyn Read + Send>, Box::new(err)] {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let lines = BufReader::new(stream).lines().map_while(Result::ok);
                lines.for_each(|line| drop(sender.send(line)));
            });
        }
        Self { child, lines }
    }

    #[track_caller]
    fn next(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }

    /// Makes requests until the first is seen, and reads all of them.
    fn begins(&self, mut ask: impl FnMut()) {
        until("it looks", || {
            ask();
            self.lines.recv_timeout(Duration::from_millis(100)).is_ok()
        });
        while self.lines.recv_timeout(Duration::from_millis(500)).is_ok() {}
    }
}

impl Drop for Printed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_command_shows_a_line_for_each_request_goes_on_after_a_restart_and_ends_at_ctrl_c() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
    let lines = format!("[[listener]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"{free}\"\n");
    let node = Node::start_exactly(&format!("{}\n{lines}", configuration("")), &[]);
    let first = Operator::first(&node);
    first.serve("shop", first.version("shop", "one"));
    let token = first_token(&node);
    let command = |arguments: &[&str]| {
        let mut command = eyot();
        command.arg("tail").args(arguments).args(["--admin", &format!("http://{free}")]);
        command.env("EYOT_TOKEN", &token);
        command
    };
    let (mut text, json) = (Printed::of(command(&["sh*"])), Printed::of(command(&["--json", "--status", "2xx"])));
    for printed in [&text, &json] {
        printed.begins(|| ask(&node, "shop", "/count"));
    }
    while text.lines.recv_timeout(Duration::from_millis(500)).is_ok() {}

    assert_eq!(node.get_from("nobody.example", "/").status, 404);
    ask(&node, "shop", "/background?ms=50");
    let request = text.next().split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
    assert!(request.starts_with("GET shop.example/background 200 ") && request.ends_with(" shop@1"), "{request}");
    assert!(text.next().contains("info background: done after 50 ms"));
    let event: Value = serde_json::from_str(&json.next()).expect("JSON");
    assert_eq!((&event["event"], &event["data"]["path"]), (&json!("request"), &json!("/background")), "{event}");

    let node = node.again("-TERM");
    assert_eq!(text.next(), "the node ends; waiting for a node");
    assert_eq!(text.next(), "a node answers again");
    ask(&node, "shop", "/count");
    assert!(text.next().contains("shop.example/count"));
    assert!(Command::new("kill").args(["-INT", &text.child.id().to_string()]).status().expect("it runs").success());
    assert_eq!(text.child.wait().expect("an end").code(), Some(0));

    let wrong = command(&["--status", "9xx"]).output().expect("it runs");
    assert_eq!(wrong.status.code(), Some(2), "{}", String::from_utf8_lossy(&wrong.stderr));
}
