//! `hello` on the bare interfaces of WASI 0.3, so that what is measured is the runtime and not an SDK.

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{spawn_local, wit_future, wit_stream};

const BODY: &[u8] = b"hello\n";

struct Hello;

wasip3::http::service::export!(Hello);

impl Guest for Hello {
    async fn handle(_request: Request) -> Result<Response, ErrorCode> {
        let headers = [
            ("content-type".to_owned(), b"text/plain".to_vec()),
            ("content-length".to_owned(), BODY.len().to_string().into_bytes()),
        ];
        let headers = Fields::from_list(&headers).expect("both fields are valid");
        let (mut body, contents) = wit_stream::new();
        // Without its writer, the future says at once that there are no trailers.
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(headers, Some(contents), trailers);
        // The host reads the body after it has the response.
        spawn_local(async move {
            body.write_all(BODY.to_vec()).await;
        });
        Ok(response)
    }
}
