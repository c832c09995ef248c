//! Answers what another worker answers, or at the path `/alone` the same by itself: what a call costs, on the bare interfaces of WASI 0.2.
//! `alone` is this one turned round.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingRequest, IncomingResponse, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam,
    Scheme,
};

/// More than the other worker answers.
const MOST: u64 = 4096;

const BODY: &[u8] = b"hello\n";

/// Whether `/` is answered alone.
const IS_ALONE: bool = cfg!(feature = "alone");

struct Caller;

wasip2::http::proxy::export!(Caller);

impl Guest for Caller {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let at_root = request.path_with_query().as_deref() == Some("/");
        let (fields, text) = if at_root == IS_ALONE { own() } else { called() };

        let response = OutgoingResponse::new(Fields::from_list(&fields).expect("they were valid before"));
        let body = response.body().expect("nobody took the body before");
        ResponseOutparam::set(response_out, Ok(response));
        let stream = body.write().expect("nobody took the stream before");
        stream.blocking_write_and_flush(&text).expect("the host takes six bytes");
        // The stream is a child of the body and must go first.
        drop(stream);
        OutgoingBody::finish(body, None).expect("the body is as long as it said");
    }
}

type Answer = (Vec<(String, Vec<u8>)>, Vec<u8>);

fn own() -> Answer {
    let fields = vec![
        ("content-type".to_owned(), b"text/plain".to_vec()),
        ("content-length".to_owned(), BODY.len().to_string().into_bytes()),
    ];
    (fields, BODY.to_vec())
}

fn called() -> Answer {
    let answer = call("hello.worker.internal");
    let fields = answer.headers().entries().into_iter().filter(|(name, _)| name.starts_with("content-"));
    (fields.collect(), read(answer))
}

fn call(worker: &str) -> IncomingResponse {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
    request.set_authority(Some(worker)).expect("an authority");
    request.set_path_with_query(Some("/")).expect("a path");
    let answer = outgoing_handler::handle(request, None).expect("it may be called");
    answer.subscribe().block();
    answer.get().expect("it is there").expect("it is taken once").expect("it answers")
}

/// The whole body, which comes in one piece.
fn read(answer: IncomingResponse) -> Vec<u8> {
    let body = answer.consume().expect("it is taken once");
    let stream = body.stream().expect("it is taken once");
    stream.blocking_read(MOST).expect("it has a body")
}
