//! wasi:http 0.3, as the modes want it.

use modes::Query;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_bindgen::{StreamReader, StreamWriter};
use wasip3::{spawn_local, wit_future, wit_stream};

/// A request and its arguments.
pub(crate) struct Exchange {
    pub(crate) request: Request,
    pub(crate) query: Query,
}

impl Exchange {
    pub(crate) fn new(request: Request) -> Self {
        let query = Query::parse(&request.get_path_with_query().unwrap_or_default());
        Self { request, query }
    }
}

/// A response of text. It is written after the handler has returned.
pub(crate) fn text(status: u16, text: String) -> Response {
    let (response, mut body) = start(status, "text/plain");
    spawn_local(async move {
        // What the client does not read is its affair.
        let _ = body.write_all(text.into_bytes()).await;
    });
    response
}

/// A response whose body is still to be written, by a spawned task; dropping the writer ends it.
pub(crate) fn start(status: u16, content_type: &str) -> (Response, StreamWriter<u8>) {
    let headers = Fields::from_list(&[("content-type".to_owned(), content_type.as_bytes().to_vec())])
        .expect("the headers are valid");
    let (body, contents) = wit_stream::new();
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(headers, Some(contents), trailers);
    response.set_status_code(status).expect("the status is valid");
    (response, body)
}

/// The body of a request, and what says at its end whether it was whole.
pub(crate) fn consume(request: Request) -> (StreamReader<u8>, impl Future<Output = Option<ErrorCode>>) {
    let (_, received) = wit_future::new(|| Ok(()));
    let (contents, trailers) = Request::consume_body(request, received);
    (contents, async { trailers.await.err() })
}

/// Reads a body to its end without keeping it; returns its length.
pub(crate) async fn drain(contents: &mut StreamReader<u8>) -> u64 {
    let mut length = 0;
    while let Some(bytes) = next(contents).await {
        length += bytes.len() as u64;
    }
    length
}

/// The next bytes of a body; nothing at the end.
pub(crate) async fn next(contents: &mut StreamReader<u8>) -> Option<Vec<u8>> {
    let (result, bytes) = contents.read(Vec::with_capacity(64 * 1024)).await;
    match result {
        wasip3::wit_bindgen::StreamResult::Complete(_) => Some(bytes),
        _ => None,
    }
}

/// The name of an error code, without what it carries: `HttpRequestDenied`.
pub(crate) fn name_of(code: &ErrorCode) -> String {
    let debug = format!("{code:?}");
    let name = debug.rsplit("ErrorCode::").next().unwrap_or(&debug);
    name.split(['(', ' ']).next().unwrap_or(name).to_owned()
}
