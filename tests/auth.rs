//! Authentication at the edge, with tokens that another library signed.

mod harness;

use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Answer, Node, fixtures};

const SECRET: &str = "a demo secret of more than thirty-two bytes";

const AUTH: &str = r#"
[[auth]]
name = "users"
issuers = ["https://id.example.com"]
audiences = ["shop"]
leeway = "0s"
realm = "shop"
[[auth.key]]
algorithm = "HS256"
file = "secret"
[[auth]]
name = "cookies"
source = { cookie = "session" }
[[auth.key]]
algorithm = "HS256"
file = "secret"
"#;

fn node() -> Node {
    let manifest = fixtures::manifest(
        "auth = \"users\"\n[[route]]\npath = \"/*\"\n[[route]]\npath = \"/cookie\"\nauth = \"cookies\"",
    );
    let files = [("secret", SECRET), ("fixture/eyot.toml", &manifest)];
    Node::start(&format!("{AUTH}\n[[worker]]\npath = \"fixture\"\n"), &files)
}

fn bearer(node: &Node, token: &str) -> Answer {
    Answer::of(node.request("GET", "/count").header("authorization", format!("Bearer {token}")))
}

/// Claims that are good at `node()`, as JSON, with these replaced.
fn claims(changes: serde_json::Value) -> serde_json::Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let mut claims = serde_json::json!({
        "iss": "https://id.example.com", "aud": "shop", "sub": "ada", "exp": now + 600,
    });
    for (name, value) in changes.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims
}

/// Python with PyJWT, if it can be had.
fn pyjwt() -> Option<std::path::PathBuf> {
    Some(harness::python::programs("pyjwt[crypto]==2.15.1")?.join("python"))
}

/// A token by PyJWT, signed with this key (a file's content) and these headers.
fn sign(python: &std::path::Path, key: &str, algorithm: &str, claims: &serde_json::Value) -> String {
    let program = "import jwt, json, sys; key, algorithm, claims = sys.argv[1:]; \
                   print(jwt.encode(json.loads(claims), key if algorithm != 'none' else None, algorithm=algorithm))";
    let output =
        Command::new(python).args(["-c", program, key, algorithm, &claims.to_string()]).output().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_token_of_another_library_is_accepted_and_forged_ones_are_not() {
    let Some(python) = pyjwt() else { return };
    let node = node();
    let good = sign(&python, SECRET, "HS256", &claims(serde_json::json!({})));
    assert_eq!(bearer(&node, &good).status, 200);
    let started = node.metric("eyot_isolates_started_total", "");
    let forged = [
        sign(&python, "another secret of more than thirty-two bytes", "HS256", &claims(serde_json::json!({}))),
        sign(&python, SECRET, "HS384", &claims(serde_json::json!({}))),
        sign(&python, "", "none", &claims(serde_json::json!({}))),
        sign(&python, SECRET, "HS256", &claims(serde_json::json!({"exp": 1}))),
        sign(&python, SECRET, "HS256", &claims(serde_json::json!({"nbf": 4_000_000_000_u64}))),
        sign(&python, SECRET, "HS256", &claims(serde_json::json!({"iss": "https://evil.example.com"}))),
        sign(&python, SECRET, "HS256", &claims(serde_json::json!({"aud": "other"}))),
        sign(&python, SECRET, "HS256", &claims(serde_json::json!({"exp": "soon"}))),
        format!("{good}x"),
        good.rsplit_once('.').expect("three parts").0.to_owned() + ".",
        "..".to_owned(),
    ];
    for token in &forged {
        let answer = bearer(&node, token);
        assert_eq!((answer.status, answer.code()), (401, "unauthorized"), "{token}");
        assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""));
    }
    assert_eq!(node.metric("eyot_isolates_started_total", ""), started, "a rejection starts no isolate");
}

#[test]
fn the_verified_claims_reach_the_guest() {
    let Some(python) = pyjwt() else { return };
    let node = node();
    let token = sign(&python, SECRET, "HS256", &claims(serde_json::json!({"scope": "read write"})));
    let answer = Answer::of(node.request("GET", "/identity").header("authorization", format!("bearer {token}")));
    let seen = answer.json();
    assert_eq!(seen["subject"], "ada", "{seen}");
    assert_eq!(seen["scopes"], serde_json::json!(["read", "write"]));
}

#[test]
fn who_has_asked_is_who_a_worker_is_told_of_that_is_called() {
    let Some(python) = pyjwt() else { return };
    let lines = "auth = \"users\"\n[[route]]\npath = \"/*\"\n[[service]]\nworker = \"prices\"";
    let shop = fixtures::worker("shop", &fixtures::fixture(), lines);
    let prices = fixtures::worker("prices", &fixtures::fixture(), "callers = [\"shop\"]");
    let files = [("secret", SECRET), ("shop/eyot.toml", &shop), ("prices/eyot.toml", &prices)];
    let workers = "[[worker]]\npath = \"shop\"\n[[worker]]\npath = \"prices\"\n";
    let node = Node::start(&format!("{AUTH}\n{workers}"), &files);
    let token = sign(&python, SECRET, "HS256", &claims(serde_json::json!({})));
    let call = format!("/fetch?text=1&url={}", harness::escaped("http://prices.worker.internal/identity"));
    let answer = Answer::of(node.request("GET", &call).header("authorization", format!("Bearer {token}")));
    let told = answer.json();
    let seen: serde_json::Value =
        serde_json::from_str(told[0]["text"].as_str().unwrap_or_else(|| panic!("{told}"))).expect("JSON");
    assert_eq!(seen["subject"], "ada", "{seen}");
}

#[test]
fn a_cookie_can_carry_the_token() {
    let Some(python) = pyjwt() else { return };
    let node = node();
    let mut claims = claims(serde_json::json!({}));
    claims.as_object_mut().expect("an object").remove("aud");
    let token = sign(&python, SECRET, "HS256", &claims);
    let ask = |cookie: String| Answer::of(node.request("GET", "/cookie").header("cookie", cookie)).status;
    assert_ne!(ask(format!("a=b; session={token}")), 401);
    assert_eq!(ask("session=forged".to_owned()), 401);
    assert_eq!(bearer(&node, &token).status, 401, "that key is for the cookie's routes, with other rules");
}

#[test]
fn a_request_without_a_token_gets_a_challenge_without_an_error() {
    let node = node();
    let answer = node.get("/count");
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"shop\"");
    let cookie = node.get("/cookie");
    assert_eq!(cookie.status, 401);
    assert_eq!(cookie.header("www-authenticate"), "Cookie realm=\"cookies\", cookie-name=\"session\"");
}

#[test]
fn two_tokens_are_a_bad_request_with_a_challenge() {
    let node = node();
    let twice = node.request("GET", "/count").header("authorization", "Bearer a").header("authorization", "Bearer b");
    let answer = Answer::of(twice);
    assert_eq!((answer.status, answer.code()), (400, "bad_request"));
    let challenge = answer.header("www-authenticate");
    assert!(
        challenge.starts_with("Bearer realm=\"shop\", error=\"invalid_request\", error_description="),
        "{challenge}"
    );
}

#[test]
fn headers_of_ours_cannot_be_set_by_a_client() {
    let manifest = fixtures::manifest("[[route]]\npath = \"/*\"");
    let node = Node::start("[[worker]]\npath = \"fixture\"\n", &[("fixture/eyot.toml", &manifest)]);
    let answer = Answer::of(node.request("GET", "/echo").header("eyot-claims", "forged").header("eyot-anything", "x"));
    assert!(!answer.body.contains("eyot-"), "{}", answer.body);
}

#[test]
fn the_path_that_is_authenticated_is_the_path_that_is_routed() {
    let open = "[[route]]\npath = \"/*\"\n[[route]]\npath = \"/admin/*\"\nauth = \"users\"";
    let manifest = fixtures::manifest(open);
    let files = [("secret", SECRET), ("fixture/eyot.toml", &manifest)];
    let node = Node::start(&format!("{AUTH}\n[[worker]]\npath = \"fixture\"\n"), &files);
    assert_eq!(node.get("/count").status, 200);
    for path in [
        "/admin",
        "/admin/",
        "/admin/x",
        "//admin/x",
        "/./admin/x",
        "/x/../admin/x",
        "/x/..%2fadmin/x",
        "/%61dmin/x",
        "/%2e/admin/x",
        "/x/%2e%2e/admin/x",
        "/x\\..\\admin/x",
        "/admin%2fx/../x",
        "/admin%2Fx",
        "/admin%2f",
        "/%2Fadmin/x",
        "/%2f%2fadmin%2fx",
        "/admin;a=b/../admin/x",
        "/admin//x",
    ] {
        let answer = node.raw(format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"));
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(["400", "401"].contains(&status), "{path}: {answer}");
    }
}

#[test]
fn a_rejection_takes_less_than_a_millisecond() {
    let node = node();
    let client = reqwest::blocking::Client::builder().no_proxy().build().expect("a client");
    let url = format!("http://{}/count", node.address());
    let p99 = || {
        let mut times: Vec<Duration> = (0..1000)
            .map(|_| {
                let began = Instant::now();
                let answer = client.get(&url).bearer_auth("not.a.token").send().expect("an answer");
                assert_eq!(answer.status(), 401);
                began.elapsed()
            })
            .collect();
        times.sort();
        println!("rejected in p50 {:?}, p99 {:?}", times[500], times[990]);
        times[990]
    };
    // Three tries, because other processes of a shared machine may take the core for longer than the bound.
    let best = (0..3).map(|_| p99()).find(|p99| *p99 < Duration::from_millis(1));
    // Claimed of the build that people run.
    assert!(best.is_some() || cfg!(debug_assertions), "p99 was over a millisecond three times");
    assert_eq!(node.metric("eyot_isolates_started_total", ""), 0.0);
}
