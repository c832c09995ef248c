//! Messages that are worked off. The first word of a message says what is to be done, the second is its argument.

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, OutgoingRequest, Scheme};

use crate::Worker;
use crate::bindings::kv::{Expected, Namespace, Options};
use crate::bindings::queue::Message;
use crate::bindings::{Guest, client};

impl Guest for Worker {
    fn handle(queue: String, messages: Vec<Message>) -> Result<(), String> {
        let seen = Namespace::open("seen").expect("eyot.toml lists it");
        let call = seen.increment("calls", 1).expect("it is written");
        put(&seen, &format!("batch:{call}"), &format!("{queue} {}", messages.len()));
        let mut ended = Ok(());
        for message in &messages {
            let body = String::from_utf8_lossy(&message.body()).into_owned();
            let told = format!("{} {}", message.attempts(), message.content_type().unwrap_or_default());
            put(&seen, &format!("told:{}", key(&body)), told.trim_end());
            seen.increment(&format!("body:{}", key(&body)), 1).expect("it is written");
            put(&seen, &format!("id:{}", message.id()), &message.sent().to_string());
            let result = obey(message, &body);
            ended = ended.and(result);
        }
        ended
    }
}

/// A key is not as long as a message may be.
fn key(body: &str) -> &str {
    &body[..body.floor_char_boundary(100)]
}

fn put(seen: &Namespace, key: &str, value: &str) {
    let options = Options { ttl: None, metadata: None, expected: Expected::Anything };
    seen.put(key, value.as_bytes(), &options).expect("it is written");
}

fn obey(message: &Message, body: &str) -> Result<(), String> {
    let mut words = body.split_whitespace();
    let (verb, argument) = (words.next().unwrap_or_default(), words.next());
    let number = || argument.and_then(|number| number.parse::<u64>().ok());
    match verb {
        "ack" => message.ack(),
        "retry" => message.retry(number(), Some("not now")),
        // Again and again, and well at this delivery.
        "until" => match u64::from(message.attempts()) < number().unwrap_or(1) {
            true => message.retry(Some(1), None),
            false => message.ack(),
        },
        "fail" => return Err("it does not work".to_owned()),
        "trap" => panic!("as it was told"),
        "spin" => loop {
            std::hint::spin_loop();
        },
        "sleep" => subscribe_duration(number().unwrap_or(0) * 1_000_000).block(),
        // The lease is short; what takes long asks for more.
        "slow" => {
            assert!(message.extend(60_000), "in time");
            subscribe_duration(number().unwrap_or(0) * 1_000_000).block();
        }
        "client" => println!("{:?}", client::current().address),
        "say" => eprintln!("{body}"),
        "ask" => println!("{}", ask(argument.unwrap_or_default())),
        _ => {}
    }
    Ok(())
}

/// What another worker says about whoever asks it.
fn ask(worker: &str) -> String {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
    request.set_authority(Some(&format!("{worker}.worker.internal"))).expect("an authority");
    request.set_path_with_query(Some("/client")).expect("a path");
    let answer = outgoing_handler::handle(request, None).expect("it may be called");
    assert!(answer.get().is_none(), "nothing is there before it is waited for");
    answer.subscribe().block();
    let answer = answer.get().expect("it is there").expect("it is taken once").expect("it answers");
    let body = answer.consume().expect("it is taken once");
    let stream = body.stream().expect("it is taken once");
    let text = String::from_utf8(stream.blocking_read(4096).expect("it has a body")).expect("it is text");
    // As it stands in a log line.
    text.replace('"', "")
}
