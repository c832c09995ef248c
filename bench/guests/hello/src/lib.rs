//! `hello` on the bare interfaces of WASI 0.2, so that what is measured is the runtime and not an SDK.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

const BODY: &[u8] = b"hello\n";

struct Hello;

wasip2::http::proxy::export!(Hello);

impl Guest for Hello {
    fn handle(_request: IncomingRequest, response_out: ResponseOutparam) {
        let headers = [
            ("content-type".to_owned(), b"text/plain".to_vec()),
            ("content-length".to_owned(), BODY.len().to_string().into_bytes()),
        ];
        let response = OutgoingResponse::new(Fields::from_list(&headers).expect("both fields are valid"));
        let body = response.body().expect("nobody took the body before");
        ResponseOutparam::set(response_out, Ok(response));

        let stream = body.write().expect("nobody took the stream before");
        stream.blocking_write_and_flush(BODY).expect("the host takes six bytes");
        // The stream is a child of the body and must go first.
        drop(stream);
        OutgoingBody::finish(body, None).expect("the body is as long as it said");
    }
}
