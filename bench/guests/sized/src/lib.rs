//! Answers `/N` with a body of N bytes, written a chunk at a time: how the cost of an answer grows with its size.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

/// As much as `blocking-write-and-flush` takes at once (wasi:io 0.2).
static CHUNK: [u8; 4096] = [b'x'; 4096];

struct Sized;

wasip2::http::proxy::export!(Sized);

impl Guest for Sized {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let Ok(size) = path.trim_start_matches('/').parse::<usize>() else {
            let response = OutgoingResponse::new(Fields::new());
            response.set_status_code(404).expect("404 is a status");
            return ResponseOutparam::set(response_out, Ok(response));
        };
        let headers = [("content-length".to_owned(), size.to_string().into_bytes())];
        let response = OutgoingResponse::new(Fields::from_list(&headers).expect("the field is valid"));
        let body = response.body().expect("nobody took the body before");
        ResponseOutparam::set(response_out, Ok(response));

        let stream = body.write().expect("nobody took the stream before");
        let mut left = size;
        while left > 0 {
            let now = left.min(CHUNK.len());
            if stream.blocking_write_and_flush(&CHUNK[..now]).is_err() {
                // The client has gone.
                return;
            }
            left -= now;
        }
        drop(stream);
        OutgoingBody::finish(body, None).expect("the body is as long as it said");
    }
}
