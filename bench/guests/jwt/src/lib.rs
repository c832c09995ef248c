//! `jwt` on the bare interfaces of WASI 0.2.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, Headers, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Jwt;

wasip2::http::proxy::export!(Jwt);

impl Guest for Jwt {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let received = request.headers();
        let answer = greeting::answer(
            text(&received, "authorization").as_deref(),
            text(&received, "accept-language").as_deref(),
        );

        let headers = [
            ("content-type".to_owned(), greeting::MEDIA_TYPE.as_bytes().to_vec()),
            ("content-length".to_owned(), answer.body.len().to_string().into_bytes()),
        ];
        let response = OutgoingResponse::new(Fields::from_list(&headers).expect("both fields are valid"));
        response.set_status_code(answer.status).expect("200 and 401 are statuses");
        let body = response.body().expect("nobody took the body before");
        ResponseOutparam::set(response_out, Ok(response));

        let stream = body.write().expect("nobody took the stream before");
        stream.blocking_write_and_flush(&answer.body).expect("the host takes a short answer");
        // The stream is a child of the body and must go first.
        drop(stream);
        OutgoingBody::finish(body, None).expect("the body is as long as it said");
    }
}

fn text(headers: &Headers, name: &str) -> Option<String> {
    headers.get(name).into_iter().next().and_then(|value| String::from_utf8(value).ok())
}
