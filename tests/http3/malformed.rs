//! What is no request, or no HTTP/3: a stream ends, or the connection, each with its own code.

use serde_json::{Value, json};

use super::{Site, code, get, post, request};

#[test]
fn a_request_that_is_malformed_ends_its_stream_and_starts_nothing() {
    let site = Site::new();
    let own = [[":method", "GET"], [":scheme", "https"], [":authority", "shop.test"], [":path", "/count"]];
    let with = |more: &[[&str; 2]]| json!([&own[..], more].concat());
    let bad = [
        ("upper case", with(&[["X-Upper", "1"]])),
        ("connection", with(&[["connection", "close"]])),
        ("keep-alive", with(&[["keep-alive", "5"]])),
        ("transfer-encoding", with(&[["transfer-encoding", "chunked"]])),
        ("upgrade", with(&[["upgrade", "websocket"]])),
        ("te", with(&[["te", "gzip"]])),
        ("a line end", with(&[["x-bad", "a\r\nb"]])),
        ("another host", with(&[["host", "other.test"]])),
        ("two paths", with(&[[":path", "/other"]])),
        ("a status", with(&[[":status", "200"]])),
        ("an unknown pseudo-header field", with(&[[":x", "y"]])),
        ("a protocol", with(&[[":protocol", "webtransport"]])),
        ("two lengths", with(&[["content-length", "1"], ["content-length", "2"]])),
        ("no number", with(&[["content-length", "+1"]])),
        ("a length without content", with(&[["content-length", "5"]])),
        ("no path", json!(own[..3])),
        ("no scheme", json!([own[0], own[2], own[3]])),
        ("no method", json!(own[1..])),
        ("no authority", json!([own[0], own[1], own[3]])),
        ("late", json!([own[0], own[1], own[2], ["x-a", "b"], own[3]])),
        ("connect with a path", json!([[":method", "CONNECT"], own[1], own[2], own[3]])),
    ];
    // One after the other, since each costs of a budget.
    let mut steps: Vec<Value> = Vec::new();
    for (name, head) in &bad {
        steps.extend([json!(["ask", name, head]), json!(["wait", name])]);
    }
    steps.extend([json!(["ask", "good", with(&[["host", "shop.test"], ["te", "trailers"]])]), json!(["wait", "good"])]);
    let Some(seen) = site.sees(&json!(steps)) else { return };
    for (name, _) in &bad {
        assert_eq!(seen.reset(name), Some(code::MESSAGE_ERROR), "{name}: {}", seen.of(name));
    }
    assert_eq!(seen.status("good"), 200, "the connection goes on: {}", seen.0);
    assert_eq!(site.node.metric("eyot_requests_total", ""), 1.0);
}

#[test]
fn content_that_has_not_its_length_is_malformed_whoever_reads_it() {
    let site = Site::new();
    let post = |length: &str| request("POST", "/read-body", &[("content-length", length)]);
    let steps = json!([
        ["ask", "short", post("5"), "abc"],
        ["ask", "long", post("2"), "abc"],
        ["ask", "later", post("5"), "ab", null, false],
        ["body", "later", "cdef", false],
        ["wait", "short", "long", "later"],
        ["ask", "right", post("3"), "abc"],
        ["wait", "right"],
    ]);
    let Some(seen) = site.sees(&steps) else { return };
    for name in ["short", "long", "later"] {
        assert_eq!(seen.reset(name), Some(code::MESSAGE_ERROR), "{name}: {}", seen.of(name));
    }
    assert_eq!(seen.status("right"), 200);
}

#[test]
fn a_host_alone_will_do_and_another_one_is_misdirected() {
    let site = Site::new();
    let host = json!([[":method", "GET"], [":scheme", "https"], [":path", "/count"], ["host", "shop.test"]]);
    let other = json!([[":method", "GET"], [":scheme", "https"], [":authority", "other.test"], [":path", "/count"]]);
    let plain = json!([[":method", "GET"], [":scheme", "http"], [":authority", "shop.test"], [":path", "/count"]]);
    let steps = json!([
        ["ask", "host", host],
        ["ask", "other", other],
        ["ask", "plain", plain],
        ["ask", "relative", get("count")],
        ["wait", "host", "other", "plain", "relative"],
    ]);
    let Some(seen) = site.sees(&steps) else { return };
    assert_eq!((seen.status("host"), seen.status("other"), seen.status("plain")), (200, 421, 421));
    let relative = (seen.of("relative")["status"].as_u64(), seen.reset("relative"));
    assert!(relative.0 == Some(400) || relative.1 == Some(code::MESSAGE_ERROR), "{relative:?}");
}

#[test]
fn frames_that_break_the_protocol_end_the_connection_and_nothing_else() {
    let site = Site::new();
    let head = post("/read-body");
    // Behind a request: DATA that is cut off, of which h3 makes a clean end and a panic; SETTINGS; PING of HTTP/2; and what is cut off
    // within a type or a length.
    for (bytes, expected) in [
        (format!("{head}000a"), code::FRAME_ERROR),
        (format!("{head}000a6162"), code::FRAME_ERROR),
        (format!("{head}0400"), code::FRAME_UNEXPECTED),
        (format!("{head}0600"), code::FRAME_UNEXPECTED),
        (format!("{head}40"), code::FRAME_ERROR),
        (head[..8].to_owned(), code::FRAME_ERROR),
        ("000161".to_owned(), code::FRAME_UNEXPECTED),
    ] {
        let Some(seen) = site.sees(&json!([["raw", "bad", bytes, true], ["closed"]])) else { return };
        assert_eq!(seen.closed(), Some(expected), "{bytes}: {}", seen.0);
    }
    // On streams in one direction: a second SETTINGS, DATA, a GOAWAY without a number, and a stream of pushes.
    for (bytes, expected) in [
        ("0004000400", code::FRAME_UNEXPECTED),
        ("000700", code::FRAME_ERROR),
        ("000400000161", code::FRAME_UNEXPECTED),
        ("0100", code::STREAM_CREATION_ERROR),
    ] {
        let steps = json!([["raw", "bad", bytes, false, true], ["closed"]]);
        let Some(client) = super::aioquic::start(&site.plan_with(json!({ "http": false }), &steps)) else { return };
        let seen = client.end();
        assert_eq!(seen.closed(), Some(expected), "{bytes}: {}", seen.0);
    }
    site.is_fine();
}

#[test]
fn an_empty_frame_is_no_end_and_unknown_ones_are_passed_over() {
    let site = Site::new();
    let bytes = format!("{}2106677265617365{}{}{}{}", post("/read-body"), "0000", "000161", "2100", "000162");
    let Some(seen) = site.sees(&json!([["raw", "one", bytes, true], ["wait", "one"]])) else { return };
    assert_eq!(seen.status("one"), 200, "{}", seen.0);
    assert!(seen.body("one").contains("\"bytes\":2"), "{}", seen.body("one"));
}
