//! The origins of node.toml, each with its pool.

use std::time::Duration;

use http::header::{self, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Uri, request};
use percent_encoding::percent_decode_str;

use super::connect::Dial;
use super::exchange::{Head, Outgoing};
use super::pool::{self, Pool, Protocol};
use super::upload::Sender;
use super::{Timeouts, refuse_connect};
use crate::config::{self, Diagnostic, Diagnostics, Place};
use crate::failure::Failure;
use crate::http::Body;

/// As long as for ever, but a clock can still be set to it.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// One origin, ready to be asked.
pub(super) struct Origin {
    pub(super) name: String,
    scheme: Scheme,
    authority: Authority,
    /// The authority, as the value of `Host`.
    host: HeaderValue,
    /// Without a slash at its end; empty: none.
    base: String,
    preserve_host: bool,
    pub(super) times: Timeouts,
    pub(super) pool: Pool,
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} = {}://{}{}", self.name, self.scheme, self.authority, self.base)
    }
}

/// All origins, or everything that is wrong with any.
pub(super) fn all(origins: &[config::Origin], dial: &Dial) -> Result<Vec<Origin>, Diagnostics> {
    let (mut ready, mut faults): (Vec<Origin>, Vec<Diagnostic>) = (Vec::new(), Vec::new());
    for origin in origins {
        if ready.iter().any(|other| other.name == origin.name) {
            faults.push(fault(format!("origin {} is there twice", origin.name), "rename one of them"));
            continue;
        }
        match one(origin, dial.clone()) {
            Ok(origin) => ready.push(origin),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(ready) } else { Err(Diagnostics(faults)) }
}

/// A fault that no origin has caused: TLS itself cannot be set up.
pub(super) fn unusable(why: String) -> Diagnostics {
    Diagnostics(vec![fault(format!("TLS cannot be set up: {why}"), "this is a fault of the build; report it")])
}

fn fault(message: String, help: &str) -> Diagnostic {
    Diagnostic::new(Place::default(), message, help)
}

fn one(origin: &config::Origin, dial: Dial) -> Result<Origin, Diagnostic> {
    let (name, url) = (&origin.name, &origin.url);
    let fault = |what: &str, help: &str| fault(format!("origin {name}: {what}"), help);
    let secure = url.scheme() == "https";
    if !secure && url.scheme() != "http" {
        return Err(fault(&format!("{url} is neither http nor https"), "write http://HOST or https://HOST"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(fault("its URL may have a host, a port and a path, and nothing else", "leave the rest out"));
    }
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let (Ok(host), Ok(authority)) = (HeaderValue::from_str(authority), Authority::try_from(authority)) else {
        return Err(fault(&format!("{url} has no usable host"), "write http://HOST or https://HOST"));
    };
    let roots = match &origin.certificate_authority {
        Some(file) => pool::roots_of(file).map_err(|why| Diagnostic {
            place: Place { file: file.clone(), line: 0, column: 0 },
            message: format!("origin {name}: certificate_authority cannot be read: {why}"),
            help: Some("it must be a PEM file with at least one certificate".to_owned()),
        })?,
        None => pool::system_roots(),
    };
    if secure && roots.is_empty() {
        return Err(fault(
            "this machine has no trusted certificates, so no https origin can be verified",
            "install the package ca-certificates, or set certificate_authority",
        ));
    }
    // Over HTTP/2 the host is part of the target by which connections are pooled: each name that a client makes up would get a
    // connection of its own.
    let protocol = match (origin.preserve_host, origin.http2 && !secure) {
        (true, _) => Protocol::Http1,
        (false, true) => Protocol::Http2,
        (false, false) => Protocol::Negotiated,
    };
    let times =
        Timeouts { connect: origin.connect_timeout, first_byte: origin.first_byte_timeout, idle: origin.idle_timeout };
    let times = times.within(Timeouts { connect: YEAR, first_byte: YEAR, idle: YEAR });
    let pool = pool::pool(dial, roots, protocol, times.connect).map_err(|why| fault(&why, "report it"))?;
    Ok(Origin {
        name: name.clone(),
        scheme: if secure { Scheme::HTTPS } else { Scheme::HTTP },
        authority,
        host,
        base: url.path().trim_end_matches('/').to_owned(),
        preserve_host: origin.preserve_host,
        times,
        pool,
    })
}

impl Origin {
    /// The request as this origin gets it; `host` is the one that was asked for.
    pub(super) fn outgoing(
        &self,
        head: request::Parts,
        host: Option<HeaderValue>,
        body: Body,
        sender: Sender,
    ) -> Result<Outgoing, Failure> {
        refuse_connect(&head.method)?;
        let target = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(self.path(&head.uri)?)
            .build()
            .map_err(|_| Failure::BadRequest("the target is not a path"))?;
        let mut headers = head.headers;
        let host = host.filter(|_| self.preserve_host).unwrap_or_else(|| self.host.clone());
        headers.insert(header::HOST, host);
        Ok(Outgoing { head: Head { method: head.method, target, headers }, body, sender })
    }

    fn path(&self, uri: &Uri) -> Result<PathAndQuery, Failure> {
        let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        if !path.as_str().starts_with('/') {
            return Err(Failure::BadRequest("the target is not a path"));
        }
        if self.base.is_empty() {
            return Ok(path);
        }
        if climbs(path.path()) {
            return Err(Failure::BadRequest("a path with dot segments cannot be put below another"));
        }
        PathAndQuery::try_from(format!("{}{path}", self.base))
            .map_err(|_| Failure::BadRequest("the target is too long"))
    }
}

/// Whether a path has a dot segment in any spelling: one could lead out of the base path that the operator set.
fn climbs(path: &str) -> bool {
    let decoded = percent_decode_str(path).collect::<Vec<u8>>();
    decoded.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| matches!(segment, b"." | b".."))
}

#[cfg(test)]
mod tests {
    use super::climbs;

    #[test]
    fn dot_segments_are_found_in_every_spelling() {
        for path in ["/..", "/a/../b", "/.", "/%2e%2e/b", "/%2E./b", "/a%2f..%2fb", "/a\\..\\b", "/a%5c..", "/./b"] {
            assert!(climbs(path), "{path}");
        }
        for path in ["/", "/a/b", "/a..b", "/...", "/.well-known/x", "/a.b", "/%2520"] {
            assert!(!climbs(path), "{path}");
        }
    }
}
