//! From the host's call to the handler, and from its response back to the host.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::handler::Handler;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Method, StatusCode};
use http_body::Body as _;
use tower_service::Service;
use wasip2::http::types::{ErrorCode, IncomingRequest, OutgoingResponse, ResponseOutparam};

use crate::body::{self, Incoming, Source};
use crate::head;

/// What [`serve!`](crate::serve) takes: an axum handler, or an axum [`Router`].
///
/// `M` only keeps the two implementations apart; it is always inferred.
pub trait Worker<M> {
    /// Answers one request.
    fn answer(self, request: Request) -> impl Future<Output = Response>;
}

/// Marks the implementation of [`Worker`] for routers.
#[doc(hidden)]
pub struct ByRouter;

/// Marks the implementation of [`Worker`] for handlers.
#[doc(hidden)]
pub struct ByHandler<T>(std::marker::PhantomData<T>);

impl Worker<ByRouter> for Router {
    async fn answer(mut self, request: Request) -> Response {
        self.call(request).await.unwrap_or_else(|never| match never {})
    }
}

impl<H: Handler<T, ()>, T> Worker<ByHandler<T>> for H {
    async fn answer(self, request: Request) -> Response {
        self.call(request, ()).await
    }
}

/// Runs a worker on one request. Called by the code that [`serve!`](crate::serve) makes.
#[doc(hidden)]
pub fn run<M, W: Worker<M>>(incoming: IncomingRequest, out: ResponseOutparam, worker: impl FnOnce() -> W) {
    #[cfg(feature = "log")]
    crate::logging::start();
    wstd::runtime::block_on(async move {
        let request = match head::request(&incoming) {
            Ok(request) => request,
            Err(code) => return ResponseOutparam::set(out, Err(code)),
        };
        let length = head::content_length(request.headers());
        let request = request.map(|()| Incoming::body(Source::Request(incoming), length));
        let method = request.method().clone();
        let response = worker().answer(request).await;
        respond(&method, response, out).await;
    });
}

async fn respond(method: &Method, mut response: Response, out: ResponseOutparam) {
    let status = response.status();
    let bodiless = without_body(method, status);
    set_content_length(&mut response, bodiless);
    let (parts, body) = response.into_parts();
    let fields = match head::fields(&parts.headers) {
        Ok(fields) => fields,
        Err(_) => return fail(out, "the host refuses a header field of the response"),
    };
    let response = OutgoingResponse::new(fields);
    if status != StatusCode::OK && response.set_status_code(status.as_u16()).is_err() {
        return fail(out, "the host refuses the status of the response");
    }
    if bodiless || body.is_end_stream() {
        // A body that is never opened keeps `content-length` for HEAD and 304, where it tells the length of what is not sent.
        return ResponseOutparam::set(out, Ok(response));
    }
    let Ok(outgoing) = response.body() else {
        return fail(out, "the host gives no body, or its length is announced twice");
    };
    ResponseOutparam::set(out, Ok(response));
    // A failure here has nobody left to tell: the client has gone, or the source of the body broke and the host now breaks
    // the response off.
    let _ = body::send(None, body, outgoing).await;
}

/// The length is known for most bodies; announcing it saves the chunked coding (RFC 9112 §7.1).
fn set_content_length(response: &mut Response<Body>, bodiless: bool) {
    let status = response.status();
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        // RFC 9110 §8.6: neither carries one.
        response.headers_mut().remove(CONTENT_LENGTH);
    } else if let Some(length) = response.body().size_hint().exact()
        && !(bodiless && (length == 0 || response.headers().contains_key(CONTENT_LENGTH)))
    {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// RFC 9112 §6.3: these end with their head.
pub(crate) fn without_body(method: &Method, status: StatusCode) -> bool {
    *method == Method::HEAD
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

fn fail(out: ResponseOutparam, why: &str) {
    ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some(why.to_owned()))));
}

/// Makes this component answer requests by the given handler or router.
///
/// It takes an `async fn` with extractors (any axum [`Handler`]) or an expression that makes an axum [`Router`], and is written
/// once, at the top level of the crate. The crate is a `cdylib`.
///
/// ```no_run
/// use eyot_sdk::prelude::*;
///
/// async fn hello() -> &'static str {
///     "hello\n"
/// }
///
/// serve!(hello);
/// # fn main() {}
/// ```
///
/// ```no_run
/// use eyot_sdk::prelude::*;
///
/// async fn user(Path(name): Path<String>) -> String {
///     format!("hello {name}\n")
/// }
///
/// serve!(Router::new().route("/users/{name}", get(user)));
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! serve {
    ($worker:expr $(,)?) => {
        const _: () = {
            struct Exported;

            impl $crate::__private::wasip2::exports::http::incoming_handler::Guest for Exported {
                fn handle(
                    request: $crate::__private::wasip2::http::types::IncomingRequest,
                    out: $crate::__private::wasip2::http::types::ResponseOutparam,
                ) {
                    $crate::__private::run(request, out, || $worker);
                }
            }

            $crate::__private::wasip2::http::proxy::export!(
                Exported with_types_in $crate::__private::wasip2
            );
        };
    };
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::response::{IntoResponse, Response};
    use http::header::{CONTENT_LENGTH, HeaderValue};
    use http::{Method, StatusCode};

    use super::{set_content_length, without_body};

    fn length(method: &Method, mut response: Response) -> Option<String> {
        let bodiless = without_body(method, response.status());
        set_content_length(&mut response, bodiless);
        response.headers().get(CONTENT_LENGTH).map(|length| length.to_str().unwrap().to_owned())
    }

    fn announced(status: StatusCode, body: Body) -> Response {
        let mut response = (status, body).into_response();
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("100"));
        response
    }

    #[test]
    fn a_whole_body_announces_its_length() {
        assert_eq!(length(&Method::GET, "hello\n".into_response()).as_deref(), Some("6"));
        assert_eq!(length(&Method::GET, ().into_response()).as_deref(), Some("0"));
        assert_eq!(length(&Method::GET, announced(StatusCode::OK, "hello\n".into())).as_deref(), Some("6"));
    }

    #[test]
    fn a_head_tells_the_length_of_what_is_not_sent() {
        assert_eq!(length(&Method::HEAD, "hello\n".into_response()).as_deref(), Some("6"));
        assert_eq!(length(&Method::HEAD, announced(StatusCode::OK, Body::empty())).as_deref(), Some("100"));
        assert_eq!(length(&Method::GET, announced(StatusCode::NOT_MODIFIED, Body::empty())).as_deref(), Some("100"));
        assert_eq!(length(&Method::HEAD, ().into_response()), None);
    }

    #[test]
    fn no_content_has_no_length() {
        assert_eq!(length(&Method::GET, announced(StatusCode::NO_CONTENT, Body::empty())), None);
    }
}
