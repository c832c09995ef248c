//! A request's head: what is checked before anything is decided, and the form in which it goes on.

use std::borrow::Cow;

use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, Method, Request, Uri, Version};

use super::respond::METHODS;
use crate::config::NodeLimits;
use crate::failure::Failure;
use crate::http::{Client, host, path};

/// Names that only we give a meaning to: nobody else sets them.
const OURS: &str = "eyot-";

/// What the head says, in the one form that routing, authentication, guests and origins see.
pub(super) struct Head {
    /// Canonical: lower case, without port.
    pub(super) host: String,
    /// Canonical, as it is handed on.
    pub(super) path: String,
}

/// Checks a head against limits and RFC 9110, and rewrites it to absolute form without any header of ours.
///
/// # Errors
/// When it breaks a rule, with the status that RFC 9110 and 9112 give.
pub(super) fn read<B>(request: &mut Request<B>, client: &Client, limits: &NodeLimits) -> Result<Head, Failure> {
    sizes(request, limits)?;
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(Failure::MethodNotAllowed { allow: METHODS.to_owned() });
    }
    let authority = authority(request, client)?;
    let host = host::canonical(authority.as_str())?;
    let (path, target) = target(request.uri())?;
    *request.uri_mut() = absolute(client.scheme(), authority, target)?;
    remove_ours(request.headers_mut());
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

/// RFC 9112 §3.2: exactly one Host, and the same as in an absolute target.
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
        (Some(target), Some(named)) if *target != named => {
            Err(Failure::BadRequest("Host is not the authority of the target"))
        }
        (Some(target), _) => Ok(target.clone()),
        (None, Some(named)) => Ok(named),
        (None, None) if request.version() <= Version::HTTP_10 => {
            Authority::try_from(client.local.to_string()).map_err(|_| Failure::BadRequest("no Host"))
        }
        (None, None) => Err(Failure::BadRequest("no Host")),
    }
}

fn absolute(scheme: Scheme, authority: Authority, path: PathAndQuery) -> Result<Uri, Failure> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_| Failure::BadRequest("the target is not a path"))
}

/// Takes off what nobody else may set, from a header or trailer section.
pub(super) fn remove_ours(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(OURS)).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}
