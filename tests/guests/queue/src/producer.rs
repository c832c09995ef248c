//! Requests: `/send?queue=Q&body=B` with `times`, `bytes`, `delay`, `key` and `type`; `/seen?key=K` for what the consumer has written.

use modes::Query;
use serde_json::{Value, json};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

use crate::Worker;
use crate::bindings::kv::Namespace;
use crate::bindings::queue::{Error, NewMessage, send};

impl Guest for Worker {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let query = Query::parse(&request.path_with_query().unwrap_or_default());
        let answer = match query.mode() {
            "send" => sent(&query),
            "seen" => seen(&query),
            other => json!({ "error": other }),
        };
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("the only body");
        ResponseOutparam::set(outparam, Ok(response));
        let stream = body.write().expect("the only stream");
        for piece in answer.to_string().as_bytes().chunks(4096) {
            stream.blocking_write_and_flush(piece).expect("the client reads");
        }
        drop(stream);
        OutgoingBody::finish(body, None).expect("it is whole");
    }
}

fn sent(query: &Query) -> Value {
    let body = match query.text("bytes") {
        Some(_) => vec![b'x'; query.size("bytes", 0)],
        None => query.text("body").unwrap_or_default().as_bytes().to_vec(),
    };
    let message = NewMessage {
        body,
        content_type: query.text("type").map(str::to_owned),
        delay: query.text("delay").map(|_| query.number("delay", 0)),
        idempotency_key: query.text("key").map(str::to_owned),
    };
    let queue = query.text("queue").unwrap_or("jobs");
    let messages: Vec<_> = (0..query.number("times", 1)).map(|_| message.clone()).collect();
    let mut last = json!(null);
    for _ in 0..query.number("calls", 1) {
        last = match send(queue, &messages) {
            Ok(ids) => json!({ "ids": ids }),
            Err(Error::NoSuchQueue(why)) => json!({ "error": "no-such-queue", "why": why }),
            Err(Error::TooLarge(why)) => json!({ "error": "too-large", "why": why }),
            Err(Error::Full(why)) => json!({ "error": "full", "why": why }),
            Err(Error::TooMany(why)) => json!({ "error": "too-many", "why": why }),
            Err(Error::Unavailable(why)) => json!({ "error": "unavailable", "why": why }),
        };
    }
    last
}

fn seen(query: &Query) -> Value {
    let seen = Namespace::open("seen").expect("eyot.toml lists it");
    let entry = seen.get(query.text("key").unwrap_or_default()).expect("it is read");
    json!(entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()))
}
