//! How HTTP/1.1 is read: RFC 9112 (and 9110 where it says more), section by section, over real sockets. Every row is sent on a
//! connection of its own with one more request behind it. Where the connection stays, that one is answered too; where it closes,
//! those bytes are nobody's request, which is what keeps requests from being smuggled.

mod harness;

use harness::wire::Wire;
use harness::{Node, fixtures};

use End::{Closes, Stays};

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stays,
    Closes,
}

/// What comes behind each row.
const NEXT: &str = "GET /unread HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// A request of one line, with a good Host.
fn line(line: &str) -> String {
    format!("{line}\r\nhost: a\r\n\r\n")
}

/// A GET with these lines as its header section.
fn fields(lines: &str) -> String {
    format!("GET /unread HTTP/1.1\r\n{lines}\r\n\r\n")
}

/// A POST to a guest that reads its body.
fn post(lines: &str, body: &str) -> String {
    format!("POST /read-body HTTP/1.1\r\nhost: a\r\n{lines}\r\n\r\n{body}")
}

/// A POST with a body in chunks.
fn chunks(body: &str) -> String {
    post("transfer-encoding: chunked", body)
}

/// Sends the rows, and says of all of them together which are not answered as they should be.
#[track_caller]
fn check(rows: &[(String, u16, End)]) {
    let manifest = fixtures::manifest("[[route]]\npath = \"/*\"");
    // A connection that should close and does not is told from one that is slow to close by this.
    let node = Node::start("[[worker]]\npath = \"fixture\"\n", &[("fixture/eyot.toml", &manifest)]);
    let mut faults = Vec::new();
    for (request, status, end) in rows {
        let wire = Wire::exchange(node.connect(), latin1(&format!("{request}{NEXT}")));
        let statuses: Vec<u16> = wire.answers().iter().map(|(status, _)| *status).collect();
        let expected: &[u16] = match end {
            Stays => &[*status, 200],
            Closes => &[*status],
        };
        if statuses != expected || !wire.closed {
            let shown: String = request.chars().take(120).collect();
            faults.push(format!("{shown:?}: {statuses:?} in place of {expected:?} ({end:?})"));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Characters up to U+00FF stand for one byte each, so that a row can hold bytes that are not UTF-8.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(character).expect("a byte")).collect()
}

#[test]
fn rfc9112_section_3_request_lines() {
    check(&[
        (line("GET /unread HTTP/1.1"), 200, Stays),
        // §2.2: an empty line before the request line is ignored, and a lone LF may end a line.
        (format!("\r\n{}", line("GET /unread HTTP/1.1")), 200, Stays),
        ("GET /unread HTTP/1.1\nhost: a\n\n".to_owned(), 200, Stays),
        // §3.1: a method is case-sensitive, and any token.
        (line("get /unread HTTP/1.1"), 200, Stays),
        (line("M-SEARCH /unread HTTP/1.1"), 200, Stays),
        (line("G@T /unread HTTP/1.1"), 400, Closes),
        (line("GET\0 /unread HTTP/1.1"), 400, Closes),
        (line(" GET /unread HTTP/1.1"), 400, Closes),
        (line(" /unread HTTP/1.1"), 400, Closes),
        // §3: exactly one space between the three parts.
        (line("GET  /unread HTTP/1.1"), 400, Closes),
        (line("GET /unread  HTTP/1.1"), 400, Closes),
        (line("GET\t/unread\tHTTP/1.1"), 400, Closes),
        (line("GET /un read HTTP/1.1"), 400, Closes),
        (line("GET /unread HTTP/1.1 x"), 400, Closes),
        (line("GET"), 400, Closes),
        // §2.2: no bare CR.
        (line("GET /un\rread HTTP/1.1"), 400, Closes),
        ("GET /unread HTTP/1.1\rhost: a\r\r".to_owned(), 400, Closes),
        // §2.3: versions.
        (line("GET /unread"), 400, Closes),
        (line("GET /unread HTTP/0.9"), 400, Closes),
        (line("GET /unread HTTP/1.2"), 400, Closes),
        (line("GET /unread HTTP/2.0"), 400, Closes),
        (line("GET /unread HTTP/1"), 400, Closes),
        (line("GET /unread http/1.1"), 400, Closes),
        (line("GET /unread HTTPS/1.1"), 400, Closes),
        (line("GET /unread HTTP/1.1\0"), 400, Closes),
    ]);
}

#[test]
fn rfc9112_section_3_2_request_targets() {
    check(&[
        (line("GET /unread?a=b HTTP/1.1"), 200, Stays),
        (line("GET http://a/unread HTTP/1.1"), 200, Stays),
        (line("GET http://b/unread HTTP/1.1"), 400, Stays),
        (line("OPTIONS * HTTP/1.1"), 204, Stays),
        (line("GET * HTTP/1.1"), 400, Stays),
        (line("GET unread HTTP/1.1"), 400, Stays),
        (line("GET /\0 HTTP/1.1"), 400, Closes),
        (line("GET /\u{7f} HTTP/1.1"), 400, Closes),
        (line("GET /a/../unread HTTP/1.1"), 400, Stays),
        (line("GET /%00 HTTP/1.1"), 400, Stays),
        (line("TRACE /unread HTTP/1.1"), 405, Stays),
        // RFC 9110 §9.3.6: what comes behind may be meant for a tunnel.
        (line("CONNECT a:443 HTTP/1.1"), 405, Closes),
        // RFC 9110 §4.1 and §15.5.15.
        (line(&format!("GET /unread?{} HTTP/1.1", "x".repeat(15 << 10))), 200, Stays),
        (line(&format!("GET /unread?{} HTTP/1.1", "x".repeat(17 << 10))), 414, Stays),
        (line(&format!("GET /unread?{} HTTP/1.1", "x".repeat(70 << 10))), 414, Closes),
        // Past what is read of a head: hyper cannot tell that it was all target.
        (line(&format!("GET /unread?{} HTTP/1.1", "x".repeat(200 << 10))), 431, Closes),
        // §3.2.2: Host also beside an absolute target.
        ("GET http://a/unread HTTP/1.1\r\n\r\n".to_owned(), 400, Stays),
    ]);
}

#[test]
fn rfc9112_section_3_2_host() {
    check(&[
        (fields("host: a.example:8080"), 200, Stays),
        (fields("Host:a"), 200, Stays),
        (fields("host: [::1]:80"), 200, Stays),
        (fields("x: y"), 400, Stays),
        (fields("host: a\r\nhost: a"), 400, Stays),
        (fields("host: a\r\nhost: b"), 400, Stays),
        (fields("host:"), 400, Stays),
        (fields("host: a b"), 400, Stays),
        (fields("host: a, b"), 400, Stays),
        (fields("host: user@a"), 400, Stays),
        (fields("host: a/b"), 400, Stays),
        (fields("host: [::1"), 400, Stays),
        (fields("host: a\u{e9}"), 400, Stays),
        // An older client need not send one, and is gone after the answer.
        ("GET /unread HTTP/1.0\r\n\r\n".to_owned(), 200, Closes),
        ("GET /unread HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n".to_owned(), 400, Closes),
        ("GET /unread HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n".to_owned(), 200, Stays),
    ]);
}

#[test]
fn rfc9112_section_5_fields() {
    let with = |field: &str| fields(&format!("host: a\r\n{field}"));
    check(&[
        (with("x-empty:"), 200, Stays),
        (with("x-space: \t y \t "), 200, Stays),
        (with("x-obs-text: caf\u{e9}"), 200, Stays),
        (with("!#$%&'*+-.^_`|~09: y"), 200, Stays),
        // §5.1: no space between name and colon.
        (with("x : y"), 400, Closes),
        (with("x\t: y"), 400, Closes),
        (with(": y"), 400, Closes),
        (with("no colon"), 400, Closes),
        (with("x(y): z"), 400, Closes),
        (with("caf\u{e9}: y"), 400, Closes),
        // §5.2: obsolete line folding.
        (with("x: y\r\n folded"), 400, Closes),
        (with("x: y\r\n\tfolded"), 400, Closes),
        // §2.2: whitespace before the first field.
        (fields(" x: y\r\nhost: a"), 400, Closes),
        // RFC 9110 §5.5: no CR, LF or NUL in a value.
        (with("x: a\rb"), 400, Closes),
        (with("x: a\0b"), 400, Closes),
        (with("x: \u{1}"), 400, Closes),
        // RFC 6585 §5.
        (with("x: y\r\n".repeat(98).trim_end()), 431, Stays),
        (with(&format!("x: {}", "y".repeat(33 << 10))), 431, Stays),
        (with(&format!("x: {}", "y".repeat(500 << 10))), 431, Closes),
    ]);
}

#[test]
fn rfc9112_section_6_content_length() {
    check(&[
        (post("content-length: 3", "abc"), 200, Stays),
        (post("content-length: 003", "abc"), 200, Stays),
        (post("content-length: 0", ""), 200, Stays),
        (post("x: y", ""), 200, Stays),
        ("GET /unread HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc".to_owned(), 200, Stays),
        // §6.3: one number, and nothing else.
        (post("content-length: 3\r\ncontent-length: 4", "abcd"), 400, Closes),
        (post("content-length: 3, 4", "abcd"), 400, Closes),
        (post("content-length: +3", "abc"), 400, Closes),
        (post("content-length: -3", "abc"), 400, Closes),
        (post("content-length: 0x3", "abc"), 400, Closes),
        (post("content-length: 3a", "abc"), 400, Closes),
        (post("content-length: 3 3", "abc"), 400, Closes),
        (post("content-length:", "abc"), 400, Closes),
        (post("content-length: 99999999999999999999", "abc"), 400, Closes),
    ]);
}

#[test]
fn rfc9112_section_6_transfer_encoding() {
    let body = "3\r\nabc\r\n0\r\n\r\n";
    let coded = |codings: &str| post(&format!("transfer-encoding: {codings}"), body);
    check(&[
        (coded("chunked"), 200, Stays),
        (coded("Chunked"), 200, Stays),
        // §6.1: `chunked` comes last, and once.
        (coded("chunked, chunked"), 400, Closes),
        (coded("chunked\r\ntransfer-encoding: chunked"), 400, Closes),
        (coded("chunked, gzip"), 400, Closes),
        (coded("gzip"), 400, Closes),
        (coded("identity"), 400, Closes),
        (coded("xchunked"), 400, Closes),
        (coded("\u{b}chunked"), 400, Closes),
        (coded(""), 400, Closes),
        // §6.1: a coding that is not understood.
        (coded("gzip, chunked"), 501, Closes),
        (coded("gzip\r\ntransfer-encoding: chunked"), 501, Closes),
        (coded("identity, chunked"), 501, Closes),
        // §6.1: not from HTTP/1.0, whose connections may have a proxy on them that does not know it.
        (format!("POST /read-body HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n{body}"), 400, Closes),
    ]);
}

#[test]
fn rfc9112_section_7_1_chunks() {
    check(&[
        (chunks("3\r\nabc\r\n0\r\n\r\n"), 200, Stays),
        (chunks("0A\r\n0123456789\r\n000\r\n\r\n"), 200, Stays),
        (chunks("3;a=b;c=\"d\"\r\nabc\r\n0;e\r\n\r\n"), 200, Stays),
        (chunks("3\r\nabc\r\n0\r\nx-trailer: y\r\n\r\n"), 200, Stays),
        (chunks("\r\nabc\r\n0\r\n\r\n"), 400, Closes),
        (chunks("x\r\nabc\r\n0\r\n\r\n"), 400, Closes),
        (chunks("-3\r\nabc\r\n0\r\n\r\n"), 400, Closes),
        (chunks("+3\r\nabc\r\n0\r\n\r\n"), 400, Closes),
        (chunks("0x3\r\nabc\r\n0\r\n\r\n"), 400, Closes),
        (chunks("ffffffffffffffff1\r\nabc\r\n0\r\n\r\n"), 400, Closes),
        // The data ends where its size says, and a line ends with CR and LF.
        (chunks("3\r\nabcd\r\n0\r\n\r\n"), 400, Closes),
        (chunks("3\r\nabc0\r\n\r\n"), 400, Closes),
        (chunks("3\nabc\n0\n\n"), 400, Closes),
        (chunks("3\rabc\r\n0\r\n\r\n"), 400, Closes),
        // §7.1.1: extensions, one of which hides a line end, and one that is far too long.
        (chunks("3;a\nb\r\nabc\r\n0\r\n\r\n"), 400, Closes),
        (chunks(&format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(64 << 10))), 400, Closes),
        // §7.1.2: the trailer section is made of fields.
        (chunks("3\r\nabc\r\n0\r\nno colon\r\n\r\n"), 400, Closes),
    ]);
}

#[test]
fn rfc9112_section_6_3_a_length_beside_chunked_is_never_what_frames_a_body() {
    // "This might indicate an attempt at request smuggling": the body is read as chunks or not at all, and the connection ends.
    let manifest = fixtures::manifest("[[route]]\npath = \"/*\"");
    let node = Node::start("[[worker]]\npath = \"fixture\"\n", &[("fixture/eyot.toml", &manifest)]);
    for lines in [
        "content-length: 3\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 100",
        "content-length: 0\r\ntransfer-encoding: chunked",
    ] {
        let request = post(lines, "3\r\nabc\r\n0\r\n\r\n") + NEXT;
        let wire = Wire::exchange(node.connect(), request);
        let (answers, text) = (wire.answers(), wire.text());
        let refused = answers.len() == 1 && answers[0].0 == 400;
        let as_chunks = answers[0].0 == 200 && text.contains("\"bytes\":3");
        assert!(wire.closed && (refused || as_chunks), "{lines:?}: {text}");
    }
}

#[test]
fn rfc9112_section_9_connections() {
    let good = fields("host: a");
    check(&[
        (fields("host: a\r\nconnection: close"), 200, Closes),
        (fields("host: a\r\nconnection: x, CLOSE"), 200, Closes),
        (fields("host: a\r\nconnection: keep-alive"), 200, Stays),
        // RFC 9110 §7.8: an upgrade that is not taken is ignored, and what follows is HTTP/1.1.
        (fields("host: a\r\nconnection: upgrade\r\nupgrade: websocket"), 200, Stays),
        (
            fields("host: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk"),
            200,
            Stays,
        ),
        // §9.3.2: nothing behind what could not be read is a request.
        (format!("GET / HTTP/9\r\n\r\n{good}"), 400, Closes),
    ]);
}

#[test]
fn rfc9112_section_9_3_2_pipelined_requests_are_answered_in_order() {
    let manifest = fixtures::manifest("[[route]]\npath = \"/*\"");
    let node = Node::start("[[worker]]\npath = \"fixture\"\n", &[("fixture/eyot.toml", &manifest)]);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    let requests = [
        get("/sleep?ms=200"),
        get("/status?code=201"),
        // Bodies that nobody reads, one of which looks like a request.
        "POST /unread HTTP/1.1\r\nhost: a\r\ncontent-length: 23\r\n\r\nGET /trap HTTP/1.1\r\n\r\n ".to_owned(),
        chunks("3\r\nabc\r\n0\r\n\r\n"),
        get("/status?code=202"),
        NEXT.to_owned(),
    ];
    let wire = Wire::exchange(node.connect(), requests.concat());
    let statuses: Vec<u16> = wire.answers().iter().map(|(status, _)| *status).collect();
    assert!(wire.closed && statuses == [200, 201, 200, 200, 202, 200], "{statuses:?}: {}", wire.text());
}

#[test]
fn rfc9112_section_9_6_a_client_that_says_that_it_is_done_is_still_answered() {
    let manifest = fixtures::manifest("[[route]]\npath = \"/*\"");
    let node = Node::start("[[worker]]\npath = \"fixture\"\n", &[("fixture/eyot.toml", &manifest)]);
    for request in [fields("host: a"), post("content-length: 3", "abc"), fields("host: a").repeat(3)] {
        let wire = Wire::last_words(node.connect(), &request);
        let statuses: Vec<u16> = wire.answers().iter().map(|(status, _)| *status).collect();
        let asked = request.matches("HTTP/1.1").count();
        assert!(wire.closed && statuses == vec![200; asked], "{request:?}: {}", wire.text());
    }
}
