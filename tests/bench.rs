//! `eyot bench` from outside: what it measures, what it writes, and what it tells of wrong input. The figures are those of a debug build
//! for some hundred milliseconds, so only relations that always hold are looked at.

mod harness;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{LazyLock, Mutex, PoisonError};

use harness::{Node, eyot, fixtures};
use serde_json::Value;

/// One measurement at a time: two would measure each other.
static MACHINE: Mutex<()> = Mutex::new(());

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn bench(arguments: &[&str]) -> Ran {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let Output { status, stdout, stderr } = eyot().arg("bench").args(arguments).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: status.code(), out: text(stdout), err: text(stderr) }
}

/// A measurement that all tests look at: five rounds of the smallest component.
struct Measured {
    _folder: tempfile::TempDir,
    ran: Ran,
    json: PathBuf,
    html: PathBuf,
}

static MEASURED: LazyLock<Measured> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let (json, html) = (folder.path().join("hello.json"), folder.path().join("hello.html"));
    let component = fixtures::hello();
    let ran = bench(&[
        text(&component),
        "--scenario=warm,compile",
        "--concurrency=8,1",
        "--duration=300ms",
        "--rounds=5",
        "--json",
        text(&json),
        "--html",
        text(&html),
    ]);
    Measured { _folder: folder, ran, json, html }
});

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("it was written")).expect("it is JSON")
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().unwrap_or_else(|| panic!("no list {name} in {value}"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn every_subject_is_measured_in_every_round_and_every_answer_is_right() {
    let Measured { ran, json, .. } = &*MEASURED;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let report = read(json);
    assert_eq!(report["format"], 1);
    assert_eq!(report["method"]["concurrency"], serde_json::json!([1, 8]), "in order");
    assert_eq!(list(&report, "faults"), [Value::Null; 0]);
    assert_eq!(list(&report, "runs").len(), 2 * 2 * 5, "subjects, concurrencies, rounds");
    for run in list(&report, "runs") {
        let (closed, open) = (&run["closed"], &run["open"]);
        for looped in [closed, open] {
            assert!(looped["answers"].as_u64() > Some(0) && looped["wrong"] == 0, "{run}");
            let latency = &looped["latency"];
            let percentiles = ["p50", "p90", "p99", "p999", "max"].map(|name| number(&latency[name]));
            assert!(percentiles.is_sorted() && percentiles[0] > 0.0, "{latency}");
        }
        // What was due was sent: the rate times the duration.
        let due = (number(&open["rate"]) * 0.3).ceil();
        assert_eq!(number(&open["answers"]) + number(&open["unsent"]), due, "{run}");
    }
}

#[test]
fn a_fresh_isolate_costs_more_than_the_limit_and_there_is_one_for_each_answer() {
    let report = read(&MEASURED.json);
    for run in list(&report, "runs").iter().filter(|run| run["subject"] == "eyot warm") {
        let answers = &run["closed"]["answers"];
        assert_eq!(run["closed"]["server"]["isolates"], serde_json::json!({ "warm": answers }), "{run}");
    }
    for median in list(&report, "medians") {
        let ratio = number(&median["cpu_to_limit"]);
        match median["subject"].as_str() {
            Some("plain hyper") => assert_eq!(ratio, 1.0),
            Some("eyot warm") => assert!(ratio > 1.5, "{median}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(number(&report["component"]["isolate_bytes"]) >= 65536.0, "a page of Wasm: {}", report["component"]);
}

#[test]
fn each_scenario_has_the_isolates_that_it_is_called_after() {
    let component = fixtures::hello();
    let share = |start: &str| {
        let scenario = format!("--scenario={start}");
        let ran = bench(&[text(&component), &scenario, "--concurrency=1", "--duration=1s", "--rounds=1", "--json=-"]);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out));
        let mut runs = list(&report, "runs").iter();
        let run = runs.find(|run| run["subject"] == format!("eyot {start}")).unwrap_or_else(|| panic!("no {start}"));
        let (closed, isolates) = (&run["closed"], &run["closed"]["server"]["isolates"]);
        // Of those of which there were none it says nothing.
        isolates[start].as_f64().unwrap_or(0.0) / number(&closed["answers"])
    };
    for start in ["cold", "reused"] {
        let share = share(start);
        assert!(share >= 0.9, "{start}: {share}");
    }
    // One is made ahead by a core that has nothing to do, which other processes of this machine may be using, and not again for
    // seconds when that took long.
    harness::until("isolates are made ahead", || share("prepared") >= 0.3);
}

#[test]
fn compiling_is_measured_once_a_round() {
    let report = read(&MEASURED.json);
    let compiles = list(&report, "compiles");
    assert_eq!(compiles.iter().map(|compile| number(&compile["round"])).collect::<Vec<_>>(), [1.0, 2.0, 3.0, 4.0, 5.0]);
    for compile in compiles {
        assert!(number(&compile["time_us"]) > 1000.0 && number(&compile["peak_bytes"]) > 1e6, "{compile}");
    }
}

#[test]
fn the_table_has_each_concurrency_and_what_the_machine_is() {
    let Measured { ran, .. } = &*MEASURED;
    for part in ["1 connection\n", "8 connections\n", "plain hyper", "eyot warm", "× limit", "Linux", "█", "p99.9"] {
        assert!(ran.out.contains(part), "{part:?} is not in\n{}", ran.out);
    }
    // No terminal: a line for each run, and no bar.
    assert!(ran.err.contains("round 5, 8 connections, eyot warm: "), "{}", ran.err);
    assert!(!ran.err.contains('\u{1b}'), "{}", ran.err);
}

#[test]
fn a_scenario_is_measured_alone_and_json_on_stdout_is_all_that_is_there() {
    let component = fixtures::hello();
    let ran = bench(&[text(&component), "--scenario=compile", "--rounds=1", "--json=-"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out));
    assert_eq!((list(&report, "compiles").len(), list(&report, "runs").len()), (1, 0));
    assert!(ran.err.contains("compile"), "{}", ran.err);
}

#[test]
fn servers_are_loaded_by_their_urls_and_their_cpu_time_is_left_out() {
    let (one, other) = (Node::single(&fixtures::hello(), &[]), Node::single(&fixtures::hello(), &[]));
    let urls = [&one, &other].map(|node| format!("http://{}/a?b=c", node.address()));
    let arguments = [
        &*urls[0],
        "--against",
        &urls[1],
        "--concurrency=2",
        "--duration=200ms",
        "--rounds=1",
        "--rate=50",
        "--json=-",
    ];
    let ran = bench(&arguments);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out));
    let runs = list(&report, "runs");
    assert_eq!(runs.iter().map(|run| &run["subject"]).collect::<Vec<_>>(), [&urls[0], &urls[1]]);
    for run in runs {
        assert_eq!((&run["closed"]["server"], &run["open"]["answers"]), (&Value::Null, &10.into()), "{run}");
    }
    assert!(report["component"].is_null() && list(&report, "compiles").is_empty());
}

#[test]
fn a_server_that_answers_500_ends_with_1_whatever_the_others_do() {
    let node = Node::single(&fixtures::fixture(), &[]);
    let (bad, good) = (format!("http://{}/no-response", node.address()), format!("http://{}/count", node.address()));
    let ran = bench(&[&good, "--against", &bad, "--concurrency=1", "--duration=100ms", "--rounds=1"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("it answers 500") && ran.err.contains("worker_no_response"), "{}", ran.err);
    assert!(ran.out.contains(&good), "{}", ran.out);
}

#[test]
fn a_component_that_answers_500_or_whom_nobody_reaches_ends_with_1() {
    let ran = bench(&[text(&fixtures::fixture()), "--path=/no-response", "--rounds=1"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("it answers 500"), "{}", ran.err);
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let ran = bench(&[&format!("http://{nobody}/"), "--rounds=1"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("cannot be reached"), "{}", ran.err);
}

#[test]
fn answers_that_turn_wrong_are_counted_and_make_no_figure() {
    let address = turning(20);
    let ran = bench(&[&format!("http://{address}/"), "--concurrency=1", "--duration=200ms", "--rounds=1", "--json=-"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out));
    assert!(number(&list(&report, "runs")[0]["closed"]["wrong"]) > 0.0, "{report}");
    assert!(list(&report, "medians").is_empty(), "{report}");
    assert!(list(&report, "faults")[0].as_str().expect("text").contains("status 500"), "{report}");
}

/// A server that answers so many requests well, and all further ones with 500.
fn turning(good: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut count = 0;
        for mut socket in listener.incoming().map_while(Result::ok) {
            let mut buffer = [0; 4096];
            while socket.read(&mut buffer).is_ok_and(|read| read > 0) {
                count += 1;
                let status = if count <= good { "200 OK" } else { "500 Internal Server Error" };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok");
                if socket.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    address
}

#[test]
fn wrong_input_ends_with_2_and_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path.to_str().expect("text").to_owned()
    };
    let (no_wasm, no_json) = (file("x.wasm", "nonsense"), file("x.json", "{\n  \"format\": 1,\n  \"command\": 5\n}"));
    let (newer, missing) = (file("newer.json", "{\"format\": 99}"), folder.path().join("missing"));
    let hello = fixtures::hello();
    let handler = fixtures::text("no-handler", folder.path());
    let cases: [(&[&str], &str); 12] = [
        (&[text(&missing)], "cannot be read"),
        (&[&no_wasm], "this is not WebAssembly"),
        (&[text(&handler)], "exports none of wasi:http"),
        (&["https://127.0.0.1/"], "TLS is not measured"),
        (&[text(&hello), "--against", "127.0.0.1:80"], "write it as http://HOST:PORT/PATH"),
        (&["http://127.0.0.1/", "--scenario=warm"], "scenarios are of components"),
        (&[text(&hello), "--scenario=hot"], "hot"),
        (&[text(&hello), "--json", "/no/such/folder/x.json"], "this cannot be written"),
        (&["--compare", &no_json, &newer], "x.json:3:14"),
        (&["--compare", &newer, &newer], "format 99"),
        (&["--compare", text(&missing), &no_json], "missing"),
        (&[], "X.wasm|URL"),
    ];
    for (arguments, said) in cases {
        let ran = bench(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(said), "{arguments:?}: {}", ran.err);
    }
}

#[test]
fn a_doubled_cost_is_told_from_noise() {
    let folder = tempfile::tempdir().expect("a folder");
    let measured = read(&MEASURED.json);
    // The same rounds, in which an answer takes 100 µs of CPU time, plain hyper's 10 µs, and a factor of the round: what is looked at is
    // the comparison, not this machine.
    let with = |name: &str, factor: &dyn Fn(f64) -> f64| {
        let mut report = measured.clone();
        for run in report["runs"].as_array_mut().expect("a list") {
            let cpu = if run["subject"] == "eyot warm" { 100.0 * factor(number(&run["round"])) } else { 10.0 };
            run["closed"]["server"]["cpu_us"] = cpu.into();
        }
        let path = folder.path().join(name);
        std::fs::write(&path, report.to_string()).expect("a file");
        path
    };
    let steady = with("steady.json", &|_| 1.0);
    let noise = with("noise.json", &|round| if round % 2.0 == 0.0 { 1.01 } else { 0.99 });
    let doubled = with("doubled.json", &|_| 2.0);
    let compare = |before: &Path, after: &Path| bench(&["--compare", text(before), text(after)]);
    let same = compare(&steady, &noise);
    assert_eq!(same.code, Some(0), "{}{}", same.out, same.err);
    let worse = compare(&noise, &doubled);
    assert_eq!(worse.code, Some(1), "{}{}", worse.out, worse.err);
    let is_worse = |line: &&str| line.contains("WORSE");
    assert!(
        worse.out.lines().filter(is_worse).all(|line| line.contains("eyot warm") && line.contains("CPU")),
        "{}",
        worse.out
    );
    assert_eq!(worse.out.lines().filter(is_worse).count(), 4, "two figures at two concurrencies:\n{}", worse.out);
    let better = compare(&doubled, &noise);
    assert_eq!(better.code, Some(0), "{}{}", better.out, better.err);
    assert!(better.out.contains("better"), "{}", better.out);
}

#[test]
fn of_few_rounds_or_other_machines_it_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut report = read(&MEASURED.json);
        change(&mut report);
        let path = folder.path().join(name);
        std::fs::write(&path, report.to_string()).expect("a file");
        path
    };
    let few = write("few.json", &|report| {
        report["runs"].as_array_mut().expect("a list").retain(|run| number(&run["round"]) <= 2.0);
    });
    let ran = bench(&["--compare", text(&few), text(&MEASURED.json)]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains("too few rounds"), "{}", ran.out);
    let other = write("other.json", &|report| report["machine"]["kernel"] = "Linux 2.4".into());
    let ran = bench(&["--compare", text(&other), text(&MEASURED.json)]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains("the machines differ (kernel)"), "{}", ran.out);
}

/// Where a browser is that can be told to draw a page.
fn chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let found =
        names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|it| it.is_file());
    if found.is_none() {
        let why = format!("skipped: there is none of {}; install one", names.join(", "));
        assert!(std::env::var_os("EYOT_TESTS_SKIP_NOTHING").is_none(), "{why}");
        eprintln!("{why}");
    }
    found
}

#[test]
fn a_browser_draws_the_page() {
    let page = std::fs::read_to_string(&MEASURED.html).expect("it was written");
    assert!(page.matches("<svg ").count() >= 4, "CPU time, throughput, latency at two concurrencies");
    let Some(chromium) = chromium() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let shot = folder.path().join("page.png");
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1000,2400"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("--screenshot={}", shot.display()))
        .arg(format!("file://{}", MEASURED.html.display()))
        .output()
        .expect("it runs");
    let image = std::fs::read(&shot)
        .unwrap_or_else(|error| panic!("no picture ({error}): {}", String::from_utf8_lossy(&output.stderr)));
    assert!(image.starts_with(b"\x89PNG\r\n\x1a\n"), "it is no PNG");
    let size = |at: usize| u32::from_be_bytes(image[at..at + 4].try_into().expect("four bytes"));
    assert_eq!((size(16), size(20)), (1000, 2400));
    // An empty page of that size has some ten thousand bytes.
    assert!(image.len() > 40_000, "{} bytes are a page with nothing on it", image.len());
}
