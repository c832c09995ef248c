//! `jwt` on the bare interfaces of WASI 0.3.

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Headers, Request, Response};
use wasip3::{spawn_local, wit_future, wit_stream};

struct Jwt;

wasip3::http::service::export!(Jwt);

impl Guest for Jwt {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let received = request.get_headers();
        let answer = greeting::answer(
            text(&received, "authorization").as_deref(),
            text(&received, "accept-language").as_deref(),
        );

        let headers = [
            ("content-type".to_owned(), greeting::MEDIA_TYPE.as_bytes().to_vec()),
            ("content-length".to_owned(), answer.body.len().to_string().into_bytes()),
        ];
        let headers = Fields::from_list(&headers).expect("both fields are valid");
        let (mut body, contents) = wit_stream::new();
        // Without its writer, the future says at once that there are no trailers.
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(headers, Some(contents), trailers);
        response.set_status_code(answer.status).expect("200 and 401 are statuses");
        // The host reads the body after it has the response.
        spawn_local(async move {
            body.write_all(answer.body).await;
        });
        Ok(response)
    }
}

fn text(headers: &Headers, name: &str) -> Option<String> {
    headers.get(name).into_iter().next().and_then(|value| String::from_utf8(value).ok())
}
