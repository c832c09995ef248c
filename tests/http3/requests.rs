//! What is answered, and how.

use std::process::Command;

use serde_json::{Value, json};

use super::harness::until;
use super::{HEAD, POST, Site, aioquic, get, headers, hexadecimal, request};

#[test]
fn a_request_is_answered_and_its_worker_knows_how_it_came() {
    let site = Site::new();
    let steps = json!([["ask", "who", get("/client")], ["ask", "echo", get("/echo")], ["wait", "who", "echo"]]);
    let Some(seen) = site.sees(&steps) else { return };
    assert_eq!((seen.0["alpn"].as_str(), seen.status("who")), (Some("h3"), 200));
    let who: Value = serde_json::from_str(seen.body("who")).unwrap();
    assert_eq!((&who["protocol"], &who["address"]), (&json!("HTTP/3"), &json!("127.0.0.1")));
    assert_eq!(who["tls"]["version"], "TLSv1.3");
    assert_eq!(who["tls"]["server_name"], "shop.test");
    assert!(seen.header("who", "date").ends_with(" GMT"));
    assert!(seen.header("who", "x-request-id").len() > 8);
    let head: Value = serde_json::from_str(seen.body("echo").lines().next().unwrap()).unwrap();
    assert_eq!(
        (&head["scheme"], &head["authority"], &head["path"]),
        (&json!("https"), &json!("shop.test"), &json!("/echo"))
    );
    until("the access log tells of it", || site.node.log().contains("\"path\":\"/client\""));
}

#[test]
fn content_goes_both_ways_and_trailers_come_behind_it() {
    let site = Site::new();
    let long = "0123456789abcdef".repeat(20_000);
    let steps = json!([
        ["ask", "echo", request("POST", "/echo", &[("content-length", &long.len().to_string())]), long],
        ["ask", "in pieces", request("POST", "/echo", &[]), "one, ", null, false],
        ["body", "in pieces", "two, ", false],
        ["body", "in pieces", "", false],
        ["body", "in pieces", "three", true],
        ["ask", "with trailers", request("POST", "/read-body", &[]), "four", [["x-checksum", "5"]]],
        ["ask", "large", get("/big-body?mib=2")],
        ["ask", "trailers", get("/trailers")],
        ["wait", "echo", "in pieces", "with trailers", "large", "trailers"],
    ]);
    let Some(seen) = site.sees(&steps) else { return };
    assert_eq!(seen.body("echo").split_once('\n').unwrap().1, long);
    assert_eq!(seen.body("in pieces").split_once('\n').unwrap().1, "one, two, three");
    let read: Value = serde_json::from_str(seen.body("with trailers")).unwrap();
    assert_eq!(read, json!({ "bytes": 4, "error": null }));
    assert_eq!(seen.body("large").len(), 2 << 20);
    let trailers = seen.of("trailers")["trailers"].as_object().unwrap();
    assert!(!trailers.is_empty() && !trailers.contains_key("connection"), "{trailers:?}");
}

#[test]
fn what_has_no_content_has_none_and_keeps_its_length() {
    let site = Site::new();
    let steps = json!([
        ["ask", "none", get("/status?code=204")],
        ["ask", "same", get("/status?code=304")],
        ["wait", "none", "same"],
    ]);
    let Some(seen) = site.sees(&steps) else { return };
    for (name, status) in [("none", 204), ("same", 304)] {
        assert_eq!((seen.status(name), seen.header(name, "content-length"), seen.body(name)), (status, "", ""));
    }
    // The library does not know that an answer to HEAD has the length of what it leaves out.
    let steps = json!([
        ["raw", "control", "000400", false, true],
        ["raw", "head", headers(HEAD, "/status?body=abc&length=3", &[]), true],
        ["wait", "head"],
    ]);
    let Some(client) = aioquic::start(&site.plan_with(json!({ "http": false }), &steps)) else { return };
    let seen = client.end();
    let raw = seen.of("head")["raw"].as_str().unwrap();
    // One frame of less than 16 KiB, its length in two bytes or in one: HEADERS.
    let length = match u8::from_str_radix(&raw[2..4], 16).unwrap() {
        short @ ..0x40 => 2 + usize::from(short),
        _ => 3 + usize::from_str_radix(&raw[2..6], 16).unwrap() - 0x4000,
    };
    assert!(raw.starts_with("01") && raw.len() == 2 * length && seen.of("head")["ended"] == true, "{}", seen.0);
}

#[test]
fn tunnels_are_refused_and_content_that_is_held_back_is_asked_for() {
    let site = Site::new();
    let steps = json!([
        ["ask", "connect", [[":method", "CONNECT"], [":authority", "shop.test:443"]]],
        ["ask", "trace", request("TRACE", "/", &[])],
        ["wait", "connect", "trace"],
    ]);
    let Some(seen) = site.sees(&steps) else { return };
    assert_eq!((seen.status("connect"), seen.status("trace")), (405, 405));
    // The library knows of no answers but the last one.
    let steps = json!([
        ["raw", "control", "000400", false, true],
        ["raw", "expect", headers(POST, "/read-body", &[("expect", "100-continue")])],
        ["heard", "expect"],
        ["say", "heard"],
        ["raw", "expect", format!("0005{}", hexadecimal(b"hello")), true],
        ["wait", "expect"],
    ]);
    let Some(mut client) = aioquic::start(&site.plan_with(json!({ "http": false }), &steps)) else { return };
    client.says("heard");
    let seen = client.end();
    let raw = seen.of("expect")["raw"].as_str().unwrap();
    // `:status 100` has the place 63 in the static table.
    assert!(raw.starts_with("01040000ff00") && raw.contains(&hexadecimal(b"\"bytes\":5")), "{}", seen.0);
}

#[test]
fn as_many_requests_as_h2_streams_are_at_work_and_the_next_one_waits() {
    let site = Site::with("h2_streams = 2");
    let asks: Vec<Value> = (0..4).map(|n| json!(["ask", n.to_string(), get("/sleep?ms=700")])).collect();
    let steps = json!([&asks[..], &[json!(["say", "asked"]), json!(["wait", "0", "1", "2", "3"])]].concat());
    let Some(mut client) = site.start_client(&steps) else { return };
    client.says("asked");
    let mut most = 0.0_f64;
    until("two are at work", || {
        most = most.max(site.node.metric("eyot_isolates_in_use", ""));
        most >= 2.0
    });
    let seen = client.end();
    assert!((0..4).all(|n| seen.status(&n.to_string()) == 200));
    assert!(most <= 2.0, "{most} at a time");
}

#[test]
fn what_is_too_large_is_told_as_on_http_1_and_2() {
    let site = Site::with("header_bytes = \"2KiB\"\nheader_count = 20\nuri = \"1KiB\"");
    let long = "x".repeat(3000);
    let many: Vec<String> = (0..21).map(|n| format!("x-{n}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (&**name, "y")).collect();
    let steps = json!([
        ["ask", "long", request("GET", "/count", &[("x-long", &long)])],
        ["ask", "many", request("GET", "/count", &many)],
        ["ask", "uri", get(&format!("/count?{}", &long[..2000]))],
        ["raw", "huge", format!("0180030d40{}", "00".repeat(5000))],
        ["wait", "long", "many", "uri", "huge"],
        ["ask", "good", get("/count")],
        ["wait", "good"],
    ]);
    let Some(seen) = site.sees(&steps) else { return };
    for name in ["long", "many"] {
        assert_eq!((seen.status(name), seen.header(name, "eyot-error")), (431, "request_header_too_large"), "{name}");
    }
    assert_eq!((seen.status("uri"), seen.header("uri", "eyot-error")), (414, "uri_too_long"));
    assert_eq!((seen.status("huge"), seen.body("huge")), (431, ""));
    assert_eq!(seen.status("good"), 200, "the connection goes on");
    assert_eq!(site.node.metric("eyot_failures_total", "code=\"request_header_too_large\""), 3.0);
}

#[test]
fn clients_of_tcp_are_told_where_http_3_is_and_find_it_there() {
    let site = Site::new();
    let port = site.node.address().port();
    for version in ["--http1.1", "--http2"] {
        let mut answer = String::new();
        until("it is told", || {
            let output = Command::new("curl")
                .args(["-si", "--noproxy", "*", version, "--cacert"])
                .arg(site.node.folder.path().join("authority.pem"))
                .args(["--resolve", &format!("shop.test:{port}:127.0.0.1"), &format!("https://shop.test:{port}/count")])
                .output();
            answer = String::from_utf8_lossy(&output.expect("curl can be run").stdout).to_lowercase();
            assert!(answer.starts_with("http/"), "{answer}");
            answer.contains("alt-svc")
        });
        assert!(answer.contains(&format!("alt-svc: h3=\":{port}\"; ma=86400\r\n")), "{version}: {answer}");
    }
    let Some(seen) = site.sees(&json!([["ask", "one", get("/count")], ["wait", "one"]])) else { return };
    assert_eq!((seen.status("one"), seen.header("one", "alt-svc")), (200, ""), "who is there need not be told");
}
