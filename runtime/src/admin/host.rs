//! Which names the operator's listener answers to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::Request;
use hyper::header::HOST;
use hyper::http::uri::Authority;

/// Checks that every name by which the request calls us is one of loopback: the target's authority (HTTP/2, absolute form)
/// and each `Host`.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), &'static str> {
    const FOREIGN: &str = "this listener answers only to localhost and loopback addresses";
    let target = request.uri().authority();
    let mut named = target.is_some();
    if target.is_some_and(|authority| !is_loopback(authority)) {
        return Err(FOREIGN);
    }
    for value in request.headers().get_all(HOST) {
        named = true;
        let authority = Authority::try_from(value.as_bytes()).map_err(|_| "the Host header is not valid")?;
        if !is_loopback(&authority) {
            return Err(FOREIGN);
        }
    }
    if named { Ok(()) } else { Err("the Host header is missing") }
}

fn is_loopback(authority: &Authority) -> bool {
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    if let Some(literal) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return literal.parse::<Ipv6Addr>().is_ok_and(|address| IpAddr::V6(address).to_canonical().is_loopback());
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return address.is_loopback();
    }
    // RFC 6761 §6.3: names below localhost resolve to loopback, too.
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(host: &str) -> bool {
        check(&Request::builder().header("host", host).body(()).unwrap()).is_ok()
    }

    #[test]
    fn loopback_is_answered_in_every_spelling() {
        let loopback =
            ["localhost", "LOCALHOST:9090", "localhost.:1", "a.localhost", "127.0.0.1:9090", "127.1.2.3", "[::1]:9090"];
        for host in loopback {
            assert!(allows(host), "{host}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        let foreign = [
            "",
            "example.com",
            "localhost.example.com",
            "notlocalhost",
            "10.0.0.1",
            "[::2]",
            "localhost@example.com",
            "0.0.0.0",
            "127.1",
        ];
        for host in foreign {
            assert!(!allows(host), "{host}");
        }
    }

    #[test]
    fn a_request_must_name_its_host_and_each_name_counts() {
        assert!(check(&Request::builder().uri("/").body(()).unwrap()).is_err());
        assert!(check(&Request::builder().uri("http://localhost/").body(()).unwrap()).is_ok());
        let mixed = Request::builder().uri("http://example.com/").header("host", "localhost").body(()).unwrap();
        assert!(check(&mixed).is_err());
        let two = Request::builder().header("host", "localhost").header("host", "example.com").body(()).unwrap();
        assert!(check(&two).is_err());
    }
}
