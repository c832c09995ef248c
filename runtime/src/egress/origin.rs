//! The origins of node.toml, each with its pool.

use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Response, Uri, request};
use percent_encoding::percent_decode_str;

use super::connect::Dial;
use super::exchange::{self, Head, Outgoing};
use super::pool::{self, Pool, Protocol, Roots};
use super::upload::Sender;
use super::{Timeouts, headers, refuse_connect};
use crate::config::{self, Diagnostic, Diagnostics, NodeLimits, Place};
use crate::failure::Failure;
use crate::http::{Body, Gate};

/// As long as for ever, but a clock can still be set to it.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How many streams an HTTP/2 origin can be expected to allow on one connection (RFC 9113 §6.5.2). What is sent beyond that would
/// wait inside hyper, and look like an origin that is slow.
const STREAMS: u64 = 100;

/// How many requests an origin may have at once.
fn most(origin: &config::Origin, limits: &NodeLimits) -> u64 {
    let unsaid = if origin.http2 { limits.origin_concurrency.min(STREAMS) } else { limits.origin_concurrency };
    origin.concurrency.unwrap_or(unsaid)
}

/// The gates of these origins, in their order, for all cores.
pub(super) fn gates(origins: &[config::Origin], limits: &NodeLimits) -> Vec<Arc<Gate>> {
    let reason = "the origin has all the requests it may have";
    let gate = |origin| Gate::new(most(origin, limits), limits.origin_queue, limits.origin_queue_wait, reason);
    origins.iter().map(|origin| Arc::new(gate(origin))).collect()
}

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
    http2: bool,
    gate: Arc<Gate>,
    times: Timeouts,
    pool: Pool,
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} = {}://{}{}", self.name, self.scheme, self.authority, self.base)
    }
}

/// All origins, or everything that is wrong with any.
pub(super) fn all(
    origins: &[config::Origin],
    gates: &[Arc<Gate>],
    limits: &NodeLimits,
    dial: &Dial,
) -> Result<Vec<Origin>, Diagnostics> {
    let (mut ready, mut faults): (Vec<Origin>, Vec<Diagnostic>) = (Vec::new(), Vec::new());
    for (origin, gate) in origins.iter().zip(gates) {
        if ready.iter().any(|other| other.name == origin.name) {
            faults.push(fault(format!("origin {} is there twice", origin.name), "rename one of them"));
            continue;
        }
        match one(origin, gate, most(origin, limits), dial.clone()) {
            Ok(origin) => ready.push(origin),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(ready) } else { Err(Diagnostics(faults)) }
}

fn fault(message: String, help: &str) -> Diagnostic {
    Diagnostic::new(Place::default(), message, help)
}

fn one(origin: &config::Origin, gate: &Arc<Gate>, streams: u64, dial: Dial) -> Result<Origin, Diagnostic> {
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
        Some(file) => pool::roots_of(file).map(Roots::Of).map_err(|why| Diagnostic {
            place: Place { file: file.clone(), line: 0, column: 0 },
            message: format!("origin {name}: certificate_authority cannot be read: {why}"),
            help: Some("it must be a PEM file with at least one certificate".to_owned()),
        })?,
        None => Roots::System,
    };
    if secure && matches!(roots, Roots::System) && pool::system_roots().is_empty() {
        return Err(fault(
            "this machine has no trusted certificates, so no https origin can be verified",
            "install the package ca-certificates, or set certificate_authority",
        ));
    }
    // Over HTTP/2 the host is part of the target by which connections are pooled: each name that a client makes up would get a
    // connection of its own.
    let protocol = if origin.http2 && !origin.preserve_host { Protocol::Http2 { streams } } else { Protocol::Http1 };
    let times =
        Timeouts { connect: origin.connect_timeout, first_byte: origin.first_byte_timeout, idle: origin.idle_timeout };
    let times = times.within(Timeouts { connect: YEAR, first_byte: YEAR, idle: YEAR });
    let pool_times = pool::Times { connect: times.connect, idle: origin.keepalive_idle };
    let pool = pool::pool(dial, roots, protocol, pool_times);
    Ok(Origin {
        name: name.clone(),
        scheme: if secure { Scheme::HTTPS } else { Scheme::HTTP },
        authority,
        host,
        base: url.path().trim_end_matches('/').to_owned(),
        preserve_host: origin.preserve_host,
        http2: origin.http2,
        gate: Arc::clone(gate),
        times,
        pool,
    })
}

impl Origin {
    /// Asks, as soon as it may; `host` is the one that was asked for. A worker may have less time than the origin.
    pub(super) async fn send(
        &self,
        head: request::Parts,
        host: Option<HeaderValue>,
        body: Body,
        sender: Sender,
        times: Option<Timeouts>,
    ) -> Result<Response<Body>, Failure> {
        refuse_connect(&head.method)?;
        let head = self.head(head, host)?;
        let permit = Some(self.gate.enter().await?);
        let times = times.map_or(self.times, |times| times.within(self.times));
        exchange::send(&self.pool, Outgoing { head, body, sender, permit }, times).await
    }

    /// The head as this origin gets it.
    fn head(&self, head: request::Parts, host: Option<HeaderValue>) -> Result<Head, Failure> {
        let target = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(self.path(&head.uri)?)
            .build()
            .map_err(|_| Failure::BadRequest("the target is not a path"))?;
        let mut headers = head.headers;
        let host = host.filter(|_| self.preserve_host).unwrap_or_else(|| self.host.clone());
        headers.insert(header::HOST, host);
        if !self.http2 {
            headers::name_te(&mut headers);
        }
        Ok(Head { method: head.method, target, headers })
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}://{}{}{path}", self.scheme, self.authority, self.base)
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
