//! A handler made with the raw bindings of WASI 0.3. Every guest of this folder answers with the same lines about what it saw.

use wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use wasip3::{spawn_local, wit_future, wit_stream};

wasip3::http::service::export!(Handler);

struct Handler;

impl wasip3::exports::http::handler::Guest for Handler {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let method = format!("{:?}", request.get_method()).trim_start_matches("Method::").to_uppercase();
        let scheme = match request.get_scheme() {
            Some(Scheme::Http) => "http",
            Some(Scheme::Https) => "https",
            Some(Scheme::Other(_)) => "other",
            None => "none",
        };
        let authority = request.get_authority().unwrap_or_else(|| "none".to_owned());
        let path = request.get_path_with_query().unwrap_or_else(|| "none".to_owned());

        let (_, result) = wit_future::new(|| Ok(()));
        let (contents, trailers) = Request::consume_body(request, result);
        let length = contents.collect().await.len();
        trailers.await?;

        let answer = format!(
            "toolchain: wasip3\nmethod: {method}\nscheme: {scheme}\nauthority: {authority}\npath: {path}\nbody: {length} bytes\n"
        );
        let (mut body, contents) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(Fields::new(), Some(contents), trailers);
        spawn_local(async move {
            // What the client does not read is its affair.
            let _ = body.write_all(answer.into_bytes()).await;
        });
        Ok(response)
    }
}
