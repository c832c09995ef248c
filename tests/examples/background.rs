//! Examples of work that a response does not need: what each is good for, measured. `--nocapture` prints it.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Dev;
use crate::harness::origin::{OK, Origin};
use crate::harness::{Node, client, eyot, root, until};

impl Dev {
    pub(super) fn ask(&self, method: &str, worker: &str, path: &str) -> reqwest::blocking::RequestBuilder {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let method = method.parse().expect("a method");
        client().request(method, url).header("host", format!("{worker}.localhost"))
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[test]
fn an_invitation_whose_letter_is_sent_later_is_answered_without_waiting_for_the_mail_service() {
    let dev = Dev::start();
    let time = |path: &str, status: u16| {
        let began = Instant::now();
        let answer =
            dev.ask("POST", "invite", path).json(&json!({ "to": "ada@example.com" })).send().expect("an answer");
        assert_eq!(answer.status(), status, "{path}");
        began.elapsed()
    };
    let pairs: Vec<_> = (0..10).map(|_| (time("/sync", 201), time("/async", 202))).collect();
    let (at_once, later): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let (at_once, later) = (median(at_once), median(later));
    println!("POST /sync {} ms, POST /async {} ms (medians of ten)", at_once.as_millis(), later.as_millis());
    assert!(at_once >= Duration::from_millis(400) && later >= Duration::from_millis(100));
    assert!(later + Duration::from_millis(250) < at_once, "{at_once:?} and {later:?}");
}

#[test]
fn the_deletion_of_an_account_is_answered_at_once_and_says_how_far_it_is() {
    let dev = Dev::start();
    let began = Instant::now();
    let answer = dev.ask("DELETE", "delete-account", "/account/ada").send().expect("an answer");
    let answered = began.elapsed();
    assert_eq!(answer.status(), 202);
    let place = answer.headers()["location"].to_str().expect("text").to_owned();
    let progress =
        || dev.ask("GET", "delete-account", &place).send().expect("an answer").json::<Value>().expect("JSON");
    let done = || progress()["done"].as_u64().expect("a number");
    until("some of it is gone", || (1..8).contains(&done()));
    until("all of it is gone", || done() == 8);
    let gone = began.elapsed();
    println!("answered after {} ms, all parts gone after {:.1} s", answered.as_millis(), gone.as_secs_f64());
    assert!(answered < Duration::from_secs(2) && gone >= Duration::from_secs(8), "{answered:?}, {gone:?}");
}

#[test]
fn an_image_is_taken_at_once_and_is_small_a_moment_later() {
    let dev = Dev::start();
    let image = std::fs::read(root().join("examples/thumbnails/river.png")).expect("an image");
    let began = Instant::now();
    let answer = dev.ask("PUT", "thumbnails", "/images/river").body(image).send().expect("an answer");
    let taken = began.elapsed();
    assert_eq!(answer.status(), 202);
    let small = || dev.ask("GET", "thumbnails", "/thumbnails/river").send().expect("an answer");
    until("it is small", || small().status() == 200);
    let ready = began.elapsed();
    let thumbnail = small().bytes().expect("a body");
    println!("taken after {} ms, small after {} ms", taken.as_millis(), ready.as_millis());
    let size = |at: usize| u32::from_be_bytes(thumbnail[at..at + 4].try_into().expect("four bytes"));
    assert!(thumbnail.starts_with(b"\x89PNG"), "it is a PNG");
    assert_eq!((size(16), size(20)), (128, 96), "800 × 600, scaled");
    let large = [b"\x89PNG\r\n\x1a\n".to_vec(), vec![0; 1 << 20]].concat();
    let answer = dev.ask("PUT", "thumbnails", "/images/large").body(large).send().expect("an answer");
    assert_eq!(answer.status(), 413);
}

#[test]
fn letters_that_the_mail_service_does_not_take_come_again_and_are_kept_when_it_never_does() {
    let example = root().join("examples/mailer");
    let built = eyot().arg("build").arg(&example).status().expect("it runs");
    assert!(built.success());
    let service = Origin::silent();
    // As the example has it, but for the waits.
    let manifest = std::fs::read_to_string(example.join("eyot.toml")).expect("a manifest");
    let component = root().join("examples/target/wasm32-wasip2/release/mailer.wasm");
    let manifest = manifest
        .replace("name = \"mailer\"", &format!("name = \"mailer\"\ncomponent = \"{}\"", component.display()))
        .replace("retry = \"1s\"", "retry = \"20ms\"");
    let origin = format!("[[origin]]\nname = \"mail\"\nurl = \"http://{}\"\n", service.address);
    let listed = format!("store = \"store\"\n[[worker]]\npath = \"mailer\"\n{origin}");
    let node = Node::start(&listed, &[("mailer/eyot.toml", &manifest)]);
    let queue = |arguments: &[&str]| {
        let output = Command::new(eyot().get_program())
            .arg("queue")
            .args(arguments)
            .args(["--admin", &format!("http://{}", node.admin.expect("an admin listener"))])
            .env("EYOT_TOKEN_FILE", node.folder.path().join("store/admin.token"))
            .stdin(std::process::Stdio::null())
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let id = queue(&["send", "mailer", "mail"]);
    for _ in 0..5 {
        let asked = service.next();
        assert!(asked.head.contains(&format!("idempotency-key: {}", id.trim())), "{}", asked.head);
        asked.answer("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    }
    until("it is a dead letter", || queue(&["peek", "mailer", "mail-dead"]).contains(id.trim()));
    let told = queue(&["peek", "mailer", "mail-dead"]);
    assert!(told.contains("the mail service answered 503"), "{told}");
    queue(&["redrive", "mailer", "mail"]);
    service.next().answer(OK);
    node.wait_for_log("is sent, at the 1. try");
    until("nothing is left", || queue(&["peek", "mailer", "mail"]).contains("is empty"));
    println!("refused five times, kept as a dead letter, redriven, sent");
}
