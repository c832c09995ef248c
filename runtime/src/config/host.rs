//! The host of a route or of a destination, parsed once into the spelling that requests are brought to.

use std::fmt;

use url::Host;

use super::reader::Wrong;
use crate::http::host;

/// Which hosts are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// `example.com`: this host, in the canonical form of [`host::canonical`].
    Exact(Box<str>),
    /// `*.example.com`: every host below `example.com`, at any depth, and not `example.com`, which is what this holds.
    Below(Box<str>),
}

impl HostPattern {
    /// Reads an exact host, or `*.` in front of one for all hosts below it.
    pub(crate) fn parse(text: &str) -> Result<Self, Wrong> {
        match text.strip_prefix("*.") {
            Some(parent) => {
                let parent = exact(parent)?;
                if parent.parse::<std::net::Ipv4Addr>().is_ok() || parent.starts_with('[') {
                    return Err(Wrong::new("an address has no hosts below it", "write \"*.example.com\""));
                }
                Ok(Self::Below(parent))
            }
            None if text.contains('*') => Err(Wrong::new(
                "`*` may only be the whole first label",
                "write \"*.example.com\"; for any host, leave it out",
            )),
            None => exact(text).map(Self::Exact),
        }
    }

    /// Where `eyot dev` serves a worker that has no routes: a name is a label, so this is a host.
    #[must_use]
    pub fn localhost(worker: &str) -> Self {
        Self::Exact(format!("{worker}.localhost").into())
    }

    /// Whether a canonical host is one of them.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(exact) => host == &**exact,
            Self::Below(parent) => {
                host.strip_suffix(&**parent).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
            }
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Below(parent) => write!(f, "*.{parent}"),
        }
    }
}

/// One host in the ASCII form in which it comes over the wire (IDNA): lower case, no port, no final dot.
fn exact(text: &str) -> Result<Box<str>, Wrong> {
    let help = "write a host such as \"example.com\"";
    if text.ends_with('.') {
        return Err(Wrong::new("it ends in a dot", "leave the final dot out: both spellings are matched"));
    }
    // The URL parser would decode these or read them as something else than they look like.
    if text.contains(['%', '*', '/', '@', '?', '#', '\\']) {
        return Err(Wrong::new("this is not a host", help));
    }
    if text.contains(':') && !text.starts_with('[') {
        return Err(Wrong::new("it has a port, or is an IPv6 address without brackets", help));
    }
    let ascii = match Host::parse(text).map_err(|error| Wrong::new(error.to_string(), help))? {
        Host::Domain(domain) => domain,
        Host::Ipv4(address) if address.to_string() != text => {
            return Err(Wrong::new(format!("it would be read as the address {address}"), help));
        }
        address => address.to_string(),
    };
    // What a request's host may be is decided in one place: anything else could never match.
    match host::canonical(&ascii) {
        Ok(canonical) => Ok(canonical.into()),
        Err(_) => Err(Wrong::new(
            "a host has at most 253 characters, in labels of 1 to 63 letters, digits, hyphens and underscores",
            help,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_turned_into_what_comes_over_the_wire() {
        for (text, shown) in [
            ("Bücher.Example", "xn--bcher-kva.example"),
            ("*.Example.COM", "*.example.com"),
            ("127.0.0.1", "127.0.0.1"),
            ("[0::1]", "[::1]"),
            ("[::ffff:7f00:1]", "[::ffff:127.0.0.1]"),
            ("my_app.internal", "my_app.internal"),
        ] {
            assert_eq!(HostPattern::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_no_request_can_ask_for_is_refused() {
        for wrong in [
            "",
            "*",
            "a.*",
            "*a.com",
            "*.*.com",
            "a..b",
            "a.com.",
            "a.com:80",
            "[::1]:80",
            "::1",
            "[::1",
            "1.2.3",
            "0x7f.1",
            "ex%61.com",
            "a b",
            "a/b",
            "*.127.0.0.1",
            "*.[::1]",
            "http://a",
            "user@a",
            "a!b.example",
            "a,b",
            "a;b",
            "a'b",
            &"x".repeat(64),
            &"ab.".repeat(90),
        ] {
            assert!(HostPattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hosts_below_a_host_are_whole_labels_in_front_of_it() {
        let below = HostPattern::parse("*.example.com").unwrap();
        assert!(below.matches("a.example.com") && below.matches("a.b.example.com"));
        for other in ["example.com", ".example.com", "aexample.com", "a.example.com.evil", "com"] {
            assert!(!below.matches(other), "{other}");
        }
        assert!(HostPattern::parse("a.b").unwrap().matches("a.b"));
    }
}
