//! The smallest honest handler, as a raw WASI 0.2 component: what the benchmark measures.

use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

wasip2::http::proxy::export!(Hello);

const BODY: &[u8] = b"hello\n";

struct Hello;

impl wasip2::exports::http::incoming_handler::Guest for Hello {
    fn handle(_request: IncomingRequest, outparam: ResponseOutparam) {
        let headers = Fields::from_list(&[
            ("content-type".to_owned(), b"text/plain".to_vec()),
            ("content-length".to_owned(), BODY.len().to_string().into_bytes()),
        ])
        .expect("the headers are valid");
        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("the body is taken once");
        ResponseOutparam::set(outparam, Ok(response));

        let stream = body.write().expect("the stream is taken once");
        stream.blocking_write_and_flush(BODY).expect("the body is written");
        drop(stream);
        OutgoingBody::finish(body, None).expect("the body has its declared length");
    }
}
