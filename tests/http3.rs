//! HTTP/3 from outside, by a client that is not ours: what is answered, who asks, what ends a stream or a connection, and drains.

mod harness;

#[path = "http3/aioquic.rs"]
mod aioquic;
#[allow(dead_code, reason = "the tests of TLS use all of it")]
#[path = "tls/certificates.rs"]
mod certificates;
#[path = "http3/ending.rs"]
mod ending;
#[path = "http3/hostile.rs"]
mod hostile;
#[path = "http3/malformed.rs"]
mod malformed;
#[path = "http3/names.rs"]
mod names;
#[path = "http3/requests.rs"]
mod requests;

use aioquic::{Running, Seen};
use certificates::Authority;
use harness::{Node, eyot, fixtures};
use serde_json::{Value, json};

/// Codes of HTTP/3 (RFC 9114 §8.1).
mod code {
    pub const NO_ERROR: u64 = 0x100;
    pub const STREAM_CREATION_ERROR: u64 = 0x103;
    pub const FRAME_UNEXPECTED: u64 = 0x105;
    pub const FRAME_ERROR: u64 = 0x106;
    pub const EXCESSIVE_LOAD: u64 = 0x107;
    pub const MESSAGE_ERROR: u64 = 0x10e;
}

/// A node with the fixture at every path behind one listener with HTTP/3, and a client's idea of it.
struct Site {
    node: Node,
}

impl Site {
    fn new() -> Self {
        Self::with("")
    }

    /// Under these limits.
    fn with(limits: &str) -> Self {
        Self::start(&format!("[limits]\n{limits}"), "")
    }

    /// With these lines before all others, and these in the table of TLS.
    fn start(first: &str, tls: &str) -> Self {
        let authority = Authority::new("authority");
        let own = authority.issue(&["shop.test"]);
        let configuration = format!(
            "{first}\n[[listener]]\naddress = \"127.0.0.1:0\"\nhttp3 = true\n\
             tls = {{ certificate = \"tls/shop.pem\", key = \"tls/shop.key\"{tls} }}\n\
             [admin]\naddress = \"127.0.0.1:0\"\n[[worker]]\npath = \"fixture\"\n"
        );
        let ca = authority.pem();
        let files = [
            ("fixture/eyot.toml", &*fixtures::manifest("[[route]]\npath = \"/*\"")),
            ("tls/shop.pem", &own.pem),
            ("tls/shop.key", &own.key),
            ("authority.pem", &ca),
        ];
        let node = Node::start_by(eyot(), &configuration, &files, "stdout");
        Self { node }
    }

    /// A plan of these steps.
    fn plan(&self, steps: &Value) -> Value {
        let ca = self.node.folder.path().join("authority.pem");
        json!({ "address": self.node.address(), "name": "shop.test", "ca": ca, "steps": steps })
    }

    /// The same with more than steps.
    fn plan_with(&self, more: Value, steps: &Value) -> Value {
        let mut plan = self.plan(steps);
        if let (Some(plan), Value::Object(more)) = (plan.as_object_mut(), more) {
            plan.extend(more);
        }
        plan
    }

    fn start_client(&self, steps: &Value) -> Option<Running> {
        aioquic::start(&self.plan(steps))
    }

    /// What a client of these steps sees.
    fn sees(&self, steps: &Value) -> Option<Seen> {
        Some(self.start_client(steps)?.end())
    }

    fn is_fine(&self) {
        let Some(seen) = self.sees(&json!([["ask", "one", get("/count")], ["wait", "one"]])) else { return };
        assert_eq!(seen.status("one"), 200, "{}", self.node.log());
        assert!(!self.node.log().contains("panicked"), "{}", self.node.log());
    }
}

/// The head of a request for this path.
fn get(path: &str) -> Value {
    request("GET", path, &[])
}

fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Value {
    let own = [(":method", method), (":scheme", "https"), (":authority", "shop.test"), (":path", path)];
    json!(own.iter().chain(more).map(|(name, value)| [name, value]).collect::<Vec<_>>())
}

/// Places of methods in the static table of RFC 9204.
const HEAD: u8 = 18;
const POST: u8 = 20;

/// A whole frame HEADERS in hexadecimal: POST of this path.
fn post(path: &str) -> String {
    headers(POST, path, &[])
}

/// The same of another method and with more fields, whose names have less than seven letters.
fn headers(method: u8, path: &str, more: &[(&str, &str)]) -> String {
    // The table has https at 23, and the names of path and authority at 1 and 0.
    let literal = |name: u8, value: &str| [&[0x50 | name, value.len() as u8], value.as_bytes()].concat();
    let mut fields = [&[0, 0, 0xc0 | method, 0xd7][..], &literal(1, path), &literal(0, "shop.test")].concat();
    for (name, value) in more {
        fields.extend([&[0x20 | name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat());
    }
    hexadecimal(&[&[1, fields.len() as u8][..], &fields].concat())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A length that nothing has (RFC 9000 §16): 2^40 bytes.
const ENDLESS: &str = "c000010000000000";
