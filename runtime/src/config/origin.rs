//! `[[origin]]` of node.toml: the upstream HTTP servers that we were told about.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::form;
use super::reader::{Key, Source, Table, key};
use super::units;

/// An upstream HTTP server that we were told about.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The name that routes and workers use; a guest reaches it as `http://NAME.origin.internal/`.
    pub name: String,
    /// Scheme, authority and a base path that is put before the request's path.
    pub url: url::Url,
    /// Send the client's `Host` on, in place of the origin's own authority.
    pub preserve_host: bool,
    /// Time to resolve, connect and shake hands.
    pub connect_timeout: Duration,
    /// Time from the request to the response head.
    pub first_byte_timeout: Duration,
    /// Time without a byte in the response body.
    pub idle_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub keepalive_idle: Duration,
    /// Requests at once, in place of limit `origin_concurrency`.
    pub concurrency: Option<u64>,
    /// HTTP/2: by ALPN over TLS, by prior knowledge over plain text. Else HTTP/1.1.
    pub http2: bool,
    /// Roots to trust in place of the system's, PEM. For private certificate authorities and tests.
    pub certificate_authority: Option<PathBuf>,
}

impl Origin {
    /// An origin about which nothing else is said.
    #[must_use]
    pub fn new(name: String, url: url::Url) -> Self {
        Self {
            name,
            url,
            preserve_host: false,
            connect_timeout: Duration::from_secs(1),
            first_byte_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(30),
            // Node.js, Apache and uvicorn close an idle connection after 5 s. It is better that we do: a request that meets a
            // closing connection may be lost.
            keepalive_idle: Duration::from_secs(4),
            concurrency: None,
            http2: false,
            certificate_authority: None,
        }
    }
}

pub(super) const NAME: Key = key("name", "a name", "\"shop\"");
const URL: Key = key("url", "a URL", "\"http://127.0.0.1:3000\"");
const PRESERVE_HOST: Key = key("preserve_host", "true or false", "true");
const CONNECT: Key = key("connect_timeout", "a time", "\"1s\"");
const FIRST_BYTE: Key = key("first_byte_timeout", "a time", "\"30s\"");
const IDLE: Key = key("idle_timeout", "a time", "\"30s\"");
const KEEPALIVE: Key = key("keepalive_idle", "a time", "\"4s\"");
const CONCURRENCY: Key = key("concurrency", "a whole number from 1", "100");
const HTTP2: Key = key("http2", "true or false", "true");
const AUTHORITY: Key = key("certificate_authority", "the path of a PEM file", "\"ca.pem\"");

pub(super) fn read_origin(table: &Table<'_>) -> (Option<Spanned<String>>, Option<Origin>) {
    let name = table.required_with(NAME, form::name);
    let url = table.required_with(URL, form::base_url);
    let flag = |key| table.optional::<bool>(key).is_some_and(Spanned::into_inner);
    let time = |key| table.optional_with(key, units::positive_time).map(Spanned::into_inner);
    let http2 = flag(HTTP2);
    let authority = table.optional::<String>(AUTHORITY);
    if let Some(url) = &url {
        let secure = url.get_ref().scheme() == "https";
        if let Some(authority) = authority.as_ref().filter(|_| !secure) {
            let message = "`certificate_authority` is for TLS, and the origin's URL is http";
            table.source.fault(authority.span(), message, "write an https URL, or leave it out");
        }
    }
    let certificate_authority = authority.map(|path| existing_file(table.source, AUTHORITY.name, &path));
    let preserve_host = flag(PRESERVE_HOST);
    if preserve_host
        && http2
        && let Some(value) = table.value(PRESERVE_HOST.name)
    {
        // Over HTTP/2 the host is part of the target by which connections are pooled: each name that a client makes up would
        // get a connection of its own.
        let help = "leave one of them out: an origin that needs the client's Host is asked by HTTP/1.1";
        table.source.fault(value.span(), "`preserve_host` and `http2` do not go together", help);
    }
    let concurrency = table.optional::<NonZeroU64>(CONCURRENCY);
    let (connect, first_byte, idle) = (time(CONNECT), time(FIRST_BYTE), time(IDLE));
    let keepalive = time(KEEPALIVE);
    let origin = name.clone().zip(url).map(|(name, url)| {
        let unsaid = Origin::new(name.into_inner(), url.into_inner());
        Origin {
            preserve_host,
            connect_timeout: connect.unwrap_or(unsaid.connect_timeout),
            first_byte_timeout: first_byte.unwrap_or(unsaid.first_byte_timeout),
            idle_timeout: idle.unwrap_or(unsaid.idle_timeout),
            keepalive_idle: keepalive.unwrap_or(unsaid.keepalive_idle),
            concurrency: concurrency.map(|most| most.into_inner().get()),
            http2,
            certificate_authority,
            ..unsaid
        }
    });
    (name, origin)
}

/// A path made absolute. That no file is there is a fault now, when it can be put right, not when it is first used.
pub(super) fn existing_file(source: &Source, name: &str, path: &Spanned<String>) -> PathBuf {
    let absolute = source.absolute(path.get_ref());
    source.names(absolute.clone(), &path.span());
    if source.is_from_afar {
        return absolute;
    }
    // The kind is looked at first: to open a named pipe would wait for its other end.
    let why = match std::fs::metadata(&absolute) {
        Ok(found) if !found.is_file() => Some("it is not a file".to_owned()),
        Ok(_) => std::fs::File::open(&absolute).err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    if let Some(why) = why {
        let message = format!("`{name}`: cannot read {}: {why}", absolute.display());
        source.fault(path.span(), message, "paths start at the folder of this file; check path and permissions");
    }
    absolute
}
