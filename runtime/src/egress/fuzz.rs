//! Any URL of a worker: where it leads is allowed, has one spelling, and is what another parser reads in it.

use http::Uri;
use http::uri::Scheme;

use super::policy::{Destination, ORIGINS, Policy};
use crate::config::{AllowedHost, HostPattern};

/// Lines of what a worker may ask, `[SCHEME://]HOST[:PORT]`; after an empty line the URLs that it asks, one a line.
///
/// # Panics
/// When a URL leads where the worker may not go, or has two meanings.
pub fn destination(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (allowed, urls) = text.split_once("\n\n").unwrap_or(("", text));
    let hosts: Vec<AllowedHost> = allowed.lines().filter_map(entry).collect();
    let origins = vec!["api".to_owned()];
    let open = Policy::new(origins.clone(), Vec::new(), true);
    let policy = Policy::new(origins, hosts, false);
    for url in urls.lines() {
        let Ok(uri) = url.parse::<Uri>() else { continue };
        Policy::default().destination(&uri).expect_err("nobody allowed it");
        for policy in [&policy, &open] {
            if let Ok(found) = policy.destination(&uri) {
                check(policy, &uri, &found);
            }
        }
    }
}

/// One allowed host; the room of configuration has the full reader.
pub(super) fn entry(text: &str) -> Option<AllowedHost> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme.parse().ok()?), rest),
        None => (None, text),
    };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
        _ => (rest, None),
    };
    Some(AllowedHost { scheme, host: HostPattern::parse(host).ok()?, port })
}

fn check(policy: &Policy, uri: &Uri, found: &Destination) {
    // Only plain names are read alike by everybody: numbers, escapes and other alphabets are the URL standard's to read.
    let read = uri.host().unwrap_or_default().to_ascii_lowercase();
    let read = read.strip_suffix('.').unwrap_or(&read);
    let last = read.rsplit('.').next().unwrap_or_default();
    let is_plain = read.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        && !read.contains("xn--")
        && !last.starts_with(|first: char| first.is_ascii_digit());
    match found {
        Destination::Origin(name) => {
            assert!(policy.origins.contains(name));
            assert!(!is_plain || read == format!("{name}{ORIGINS}"), "{uri} leads to the origin {name}");
        }
        Destination::Host { scheme, authority } => {
            let again: Uri = format!("{scheme}://{authority}/other?path").parse().expect("what is dialled is a URL");
            assert_eq!(policy.destination(&again).as_ref(), Ok(found), "{uri}");
            assert!(!authority.as_str().contains('@') && !authority.host().ends_with(ORIGINS), "{uri}");
            assert!(!is_plain || read == authority.host(), "{uri} leads to {authority}");
            let secure = *scheme == Scheme::HTTPS;
            let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
            let allows = |allowed: &AllowedHost| {
                let https = allowed.scheme.as_ref().is_none_or(|own| *own == Scheme::HTTPS);
                let host = match &allowed.host {
                    HostPattern::Exact(exact) => authority.host() == &**exact,
                    HostPattern::Below(parent) => authority.host().ends_with(&format!(".{parent}")),
                };
                https == secure && host && allowed.port.unwrap_or(if https { 443 } else { 80 }) == port
            };
            assert!(port != 0 && (policy.open || policy.hosts.iter().any(allows)), "{uri} leads to {authority}");
        }
    }
}
