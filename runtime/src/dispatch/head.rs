//! A request's head: what is checked before anything is decided, and the form in which it goes on.

use std::borrow::Cow;

use http::header::{COOKIE, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};

use super::respond::METHODS;
use crate::config::NodeLimits;
use crate::failure::Failure;
use crate::http::{Client, host, path, strip_ours, tokens};

/// What the head says, in the one form that routing, authentication, guests and origins see.
pub(super) struct Head {
    /// Canonical: lower case, without port.
    pub(super) host: String,
    /// Canonical, as it is handed on.
    pub(super) path: String,
}

/// Checks a head against limits and RFC 9110, and rewrites it to absolute form without any header of ours. A trusted proxy may ask for
/// a scheme and for hosts that its own connection to us does not stand for.
///
/// # Errors
/// When it breaks a rule, with the status that RFC 9110 and 9112 give.
pub(super) fn read<B>(
    request: &mut Request<B>,
    client: &Client,
    limits: &NodeLimits,
    trusted: bool,
) -> Result<Head, Failure> {
    sizes(request, limits)?;
    match request.version() {
        Version::HTTP_2 | Version::HTTP_3 => values(request.headers())?,
        _ => transfer_coding(request.headers())?,
    }
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(Failure::MethodNotAllowed { allow: METHODS.to_owned() });
    }
    let authority = authority(request, client)?;
    let host = host::canonical(authority.as_str())?;
    if !trusted {
        directed(request.uri(), &host, client)?;
    }
    let (path, target) = target(request.uri())?;
    *request.uri_mut() = absolute(client.scheme(), authority, target)?;
    join_cookies(request.headers_mut());
    strip_ours(request.headers_mut());
    Ok(Head { host, path })
}

/// The canonical path, and the target with it: what is routed is what guests and origins see.
fn target(uri: &Uri) -> Result<(String, PathAndQuery), Failure> {
    let path = path::canonical(uri.path())?;
    let target = match (&path, uri.path_and_query()) {
        (Cow::Borrowed(same), Some(target)) if *same == uri.path() => target.clone(),
        (path, _) => {
            let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            PathAndQuery::try_from(format!("{path}{query}"))
                .map_err(|_| Failure::BadRequest("the target is not a path"))?
        }
    };
    Ok((path.into_owned(), target))
}

fn sizes<B>(request: &Request<B>, limits: &NodeLimits) -> Result<(), Failure> {
    let target = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    if target as u64 > limits.uri {
        return Err(Failure::UriTooLong { limit: limits.uri });
    }
    let headers = request.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if headers.len() as u64 > limits.header_count || bytes as u64 > limits.header_bytes {
        return Err(Failure::RequestHeaderTooLarge);
    }
    Ok(())
}

/// hyper decodes one `chunked` and nothing before it: with another coding the content would not be what was sent. One that we do not
/// know is 501, and `chunked` twice is an error of the client (RFC 9112 §6.1).
fn transfer_coding(headers: &HeaderMap) -> Result<(), Failure> {
    if !headers.contains_key(TRANSFER_ENCODING) {
        return Ok(());
    }
    let mut codings = tokens(headers, &TRANSFER_ENCODING).map(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    match (codings.next(), codings.next()) {
        (Some(true), None) => Ok(()),
        (Some(true), Some(true)) => Err(Failure::BadRequest("chunked more than once")),
        _ => Err(Failure::NotImplemented("a transfer coding besides chunked")),
    }
}

/// RFC 9113 §8.2.1, and for HTTP/3 RFC 9114 §4.2 by RFC 9110 §5.5: a value neither starts nor ends with a space or a tab. HTTP/1 takes them
/// off while it reads the line.
fn values(headers: &HeaderMap) -> Result<(), Failure> {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let padded = |value: &HeaderValue| blank(value.as_bytes().first()) || blank(value.as_bytes().last());
    if headers.values().any(padded) {
        return Err(Failure::BadRequest("a field value with a space around it"));
    }
    Ok(())
}

/// Whether this connection is one to ask such a thing on (RFC 9110 §7.4, RFC 9113 §8.3.1). On TLS the host is the one that the client
/// named in the handshake, or another one of the same certificate: a client that came for another name has lost its way. One that
/// named none (RFC 6066 §3: addresses never are), such as a health check, has not said where it wanted to go.
fn directed(target: &Uri, host: &str, client: &Client) -> Result<(), Failure> {
    if target.scheme().is_some_and(|scheme| *scheme != client.scheme()) {
        return Err(Failure::Misdirected("the scheme is not that of the connection"));
    }
    match &client.tls {
        Some(tls) if !tls.is_for(host) => Err(Failure::Misdirected("the certificate is not for this host")),
        _ => Ok(()),
    }
}

/// HTTP/2 and HTTP/3 may send each cookie in a field of its own (RFC 9113 §8.2.3, RFC 9114 §4.2.1); everybody after us wants them in one.
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() < 2 {
        return;
    }
    // Values that were valid are valid together.
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, cookie);
    }
}

/// RFC 9112 §3.2: exactly one Host, also beside an absolute target. That the two may differ, and then the target counts, is old and a
/// way to be misunderstood, so they may not; a default port that is spelled out is no difference (RFC 9113 §8.3.1).
fn authority<B>(request: &Request<B>, client: &Client) -> Result<Authority, Failure> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Failure::BadRequest("more than one Host"));
    }
    let named = match host {
        Some(host) => Some(
            Authority::try_from(host.as_bytes()).map_err(|_| Failure::BadRequest("Host is not a valid authority"))?,
        ),
        None => None,
    };
    match (request.uri().authority(), named) {
        (Some(target), Some(named)) if !is_same(target, &named, request.uri().scheme())? => {
            Err(Failure::BadRequest("Host is not the authority of the target"))
        }
        (Some(_), None) if request.version() == Version::HTTP_11 => Err(Failure::BadRequest("no Host")),
        (Some(target), _) => Ok(target.clone()),
        (None, Some(named)) => Ok(named),
        (None, None) if request.version() <= Version::HTTP_10 => {
            Authority::try_from(client.local.to_string()).map_err(|_| Failure::BadRequest("no Host"))
        }
        (None, None) => Err(Failure::BadRequest("no Host")),
    }
}

fn is_same(a: &Authority, b: &Authority, scheme: Option<&Scheme>) -> Result<bool, Failure> {
    let default = if scheme == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default);
    Ok(a == b || (port(a) == port(b) && host::canonical(a.as_str())? == host::canonical(b.as_str())?))
}

fn absolute(scheme: Scheme, authority: Authority, path: PathAndQuery) -> Result<Uri, Failure> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_| Failure::BadRequest("the target is not a path"))
}
