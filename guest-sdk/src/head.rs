//! Between the types of `wasi:http` and those of the crate `http`: methods, URIs, header fields.

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri};
use wasip2::http::types::{self as wasi, ErrorCode, Fields, HeaderError, IncomingRequest};

/// The head of a request as the host hands it over. The body stays unread.
pub(crate) fn request(incoming: &IncomingRequest) -> Result<Request<()>, ErrorCode> {
    let mut request = Request::new(());
    *request.method_mut() = method(incoming.method()).ok_or(ErrorCode::HttpRequestMethodInvalid)?;
    *request.uri_mut() = uri(incoming).map_err(|_| ErrorCode::HttpRequestUriInvalid)?;
    *request.headers_mut() = headers(&incoming.headers());
    Ok(request)
}

fn method(method: wasi::Method) -> Option<Method> {
    Some(match method {
        wasi::Method::Get => Method::GET,
        wasi::Method::Head => Method::HEAD,
        wasi::Method::Post => Method::POST,
        wasi::Method::Put => Method::PUT,
        wasi::Method::Delete => Method::DELETE,
        wasi::Method::Connect => Method::CONNECT,
        wasi::Method::Options => Method::OPTIONS,
        wasi::Method::Trace => Method::TRACE,
        wasi::Method::Patch => Method::PATCH,
        wasi::Method::Other(name) => return Method::from_bytes(name.as_bytes()).ok(),
    })
}

/// The method as the host wants it.
pub(crate) fn wasi_method(method: &Method) -> wasi::Method {
    match *method {
        Method::GET => wasi::Method::Get,
        Method::HEAD => wasi::Method::Head,
        Method::POST => wasi::Method::Post,
        Method::PUT => wasi::Method::Put,
        Method::DELETE => wasi::Method::Delete,
        Method::CONNECT => wasi::Method::Connect,
        Method::OPTIONS => wasi::Method::Options,
        Method::TRACE => wasi::Method::Trace,
        Method::PATCH => wasi::Method::Patch,
        _ => wasi::Method::Other(method.as_str().to_owned()),
    }
}

/// An absolute URI where the host knows scheme and authority, otherwise only path and query.
fn uri(incoming: &IncomingRequest) -> Result<Uri, http::Error> {
    let path = match incoming.path_with_query() {
        Some(path) => PathAndQuery::from_maybe_shared(path)?,
        None => PathAndQuery::from_static("/"),
    };
    let scheme = match incoming.scheme() {
        Some(wasi::Scheme::Http) => Some(Scheme::HTTP),
        Some(wasi::Scheme::Https) => Some(Scheme::HTTPS),
        Some(wasi::Scheme::Other(name)) => Some(Scheme::try_from(name.as_str())?),
        None => None,
    };
    let mut parts = http::uri::Parts::default();
    if let (Some(scheme), Some(authority)) = (scheme, incoming.authority()) {
        parts.scheme = Some(scheme);
        parts.authority = Some(Authority::from_maybe_shared(authority)?);
    }
    parts.path_and_query = Some(path);
    Ok(Uri::from_parts(parts)?)
}

/// The scheme as the host wants it.
pub(crate) fn wasi_scheme(scheme: &Scheme) -> wasi::Scheme {
    if *scheme == Scheme::HTTP {
        wasi::Scheme::Http
    } else if *scheme == Scheme::HTTPS {
        wasi::Scheme::Https
    } else {
        wasi::Scheme::Other(scheme.as_str().to_owned())
    }
}

/// Header fields from the host. It has checked them; what `http` would not take all the same is left out, not a reason to fail.
pub(crate) fn headers(fields: &Fields) -> HeaderMap {
    let entries = fields.entries();
    let mut headers = HeaderMap::try_with_capacity(entries.len()).unwrap_or_default();
    for (name, value) in entries {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_maybe_shared(bytes::Bytes::from(value))) {
            // Fails beyond 32,768 fields, which no host lets through; append would end the isolate.
            let _ = headers.try_append(name, value);
        }
    }
    headers
}

/// Header fields for the host: in one call, unless it refuses one.
///
/// A host refuses fields that belong to one connection, such as `connection` and `transfer-encoding` (RFC 9110 §7.6.1). They are
/// its own to write, so they are left out, and a response copied from elsewhere is no reason to fail.
pub(crate) fn fields(headers: &HeaderMap) -> Result<Fields, HeaderError> {
    let entries: Vec<_> = headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    match Fields::from_list(&entries) {
        Err(HeaderError::Forbidden) => {}
        done => return done,
    }
    let fields = Fields::new();
    for (name, value) in &entries {
        match fields.append(name, value) {
            Ok(()) | Err(HeaderError::Forbidden) => {}
            Err(refused) => return Err(refused),
        }
    }
    Ok(fields)
}

/// The length that a message announces, if it announces one.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
