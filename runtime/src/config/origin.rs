//! `[[origin]]` of node.toml: the upstream HTTP servers that we were told about.

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
    /// Prior-knowledge HTTP/2 over plain text. Over TLS, ALPN decides.
    pub http2: bool,
    /// Roots to trust in place of the system's, PEM. For private certificate authorities and tests.
    pub certificate_authority: Option<PathBuf>,
}

pub(super) const NAME: Key = key("name", "a name", "\"shop\"");
const URL: Key = key("url", "a URL", "\"http://127.0.0.1:3000\"");
const PRESERVE_HOST: Key = key("preserve_host", "true or false", "true");
const CONNECT: Key = key("connect_timeout", "a time", "\"1s\"");
const FIRST_BYTE: Key = key("first_byte_timeout", "a time", "\"30s\"");
const IDLE: Key = key("idle_timeout", "a time", "\"30s\"");
const HTTP2: Key = key("http2", "true or false", "true");
const AUTHORITY: Key = key("certificate_authority", "the path of a PEM file", "\"ca.pem\"");

pub(super) fn read_origin(table: &Table<'_>) -> (Option<Spanned<String>>, Option<Origin>) {
    let name = table.required_with(NAME, form::name);
    let url = table.required_with(URL, form::base_url);
    let flag = |key| table.optional::<bool>(key).is_some_and(Spanned::into_inner);
    let time = |key, default| {
        table.optional_with(key, units::positive_time).map_or(Duration::from_secs(default), Spanned::into_inner)
    };
    let http2 = flag(HTTP2);
    let authority = table.optional::<String>(AUTHORITY);
    if let Some(url) = &url {
        let secure = url.get_ref().scheme() == "https";
        if http2
            && secure
            && let Some(value) = table.value(HTTP2.name)
        {
            let help = "leave `http2` out: over TLS, ALPN chooses HTTP/2 where the origin has it";
            table.source.fault(value.span(), "`http2` is for plain text, and the origin's URL is https", help);
        }
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
    let (connect_timeout, first_byte_timeout, idle_timeout) = (time(CONNECT, 1), time(FIRST_BYTE, 30), time(IDLE, 30));
    let origin = name.clone().zip(url).map(|(name, url)| Origin {
        name: name.into_inner(),
        url: url.into_inner(),
        preserve_host,
        connect_timeout,
        first_byte_timeout,
        idle_timeout,
        http2,
        certificate_authority,
    });
    (name, origin)
}

/// A path made absolute. That no file is there is a fault now, when it can be put right, not when it is first used.
pub(super) fn existing_file(source: &Source, name: &str, path: &Spanned<String>) -> PathBuf {
    let absolute = source.absolute(path.get_ref());
    source.names(absolute.clone(), &path.span());
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
