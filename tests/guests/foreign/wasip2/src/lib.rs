//! A handler made with the raw bindings of WASI 0.2. Every guest of this folder answers with the same lines about what it saw.

use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam, Scheme};
use wasip2::io::streams::StreamError;

wasip2::http::proxy::export!(Handler);

struct Handler;

impl wasip2::exports::http::incoming_handler::Guest for Handler {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let answer = format!(
            "toolchain: wasip2\nmethod: {}\nscheme: {}\nauthority: {}\npath: {}\nbody: {} bytes\n",
            format!("{:?}", request.method()).trim_start_matches("Method::").to_uppercase(),
            scheme(&request),
            request.authority().as_deref().unwrap_or("none"),
            request.path_with_query().as_deref().unwrap_or("none"),
            body_length(&request),
        );
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("the body is taken once");
        ResponseOutparam::set(outparam, Ok(response));
        let stream = body.write().expect("the stream is taken once");
        stream.blocking_write_and_flush(answer.as_bytes()).expect("the body is written");
        drop(stream);
        OutgoingBody::finish(body, None).expect("the body may have any length");
    }
}

fn scheme(request: &IncomingRequest) -> &'static str {
    match request.scheme() {
        Some(Scheme::Http) => "http",
        Some(Scheme::Https) => "https",
        Some(Scheme::Other(_)) => "other",
        None => "none",
    }
}

fn body_length(request: &IncomingRequest) -> usize {
    let body = request.consume().expect("the body is taken once");
    let stream = body.stream().expect("the stream is taken once");
    let mut length = 0;
    loop {
        match stream.blocking_read(64 * 1024) {
            Ok(bytes) => length += bytes.len(),
            Err(StreamError::Closed) => return length,
            Err(error) => panic!("the request body ended early: {error:?}"),
        }
    }
}
