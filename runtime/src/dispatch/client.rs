//! Who the client is: the peer, or whom a trusted proxy names.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::uri::Scheme;
use http::{HeaderMap, Request, Uri};
use ipnet::IpNet;

use crate::failure::Failure;
use crate::http::Client;

/// Who asks, and by way of whom.
pub(super) struct Caller {
    pub(super) client: Arc<Client>,
    /// The peer, where it is a proxy that node.toml trusts.
    pub(super) proxy: Option<IpAddr>,
    /// What the client spoke with that proxy, as the proxy tells.
    scheme: Option<Scheme>,
}

impl Caller {
    /// The client of a request, from its connection and its header section.
    ///
    /// # Errors
    /// When a trusted proxy says what cannot be read: then nobody knows who the client is, and to take the proxy for it would let
    /// everybody past `allow_addresses`.
    pub(super) fn read(client: &Arc<Client>, headers: &HeaderMap, trusted: &[IpNet]) -> Result<Self, Failure> {
        let peer = client.address.ip();
        if !contains(trusted, peer) {
            return Ok(Self { client: Arc::clone(client), proxy: None, scheme: None });
        }
        let scheme = last(headers, "x-forwarded-proto").and_then(|scheme| match scheme {
            scheme if scheme.eq_ignore_ascii_case(b"https") => Some(Scheme::HTTPS),
            scheme if scheme.eq_ignore_ascii_case(b"http") => Some(Scheme::HTTP),
            _ => None,
        });
        let client = match named(headers, trusted)? {
            // What the proxy has proven in its handshake, the client that it names has not.
            Some(address) => Arc::new(Client { address, certificate: None, ..(**client).clone() }),
            None => Arc::clone(client),
        };
        Ok(Self { client, proxy: Some(peer), scheme })
    }

    /// Puts the scheme that the client spoke into the target, so that a worker does not send a client of https to http.
    pub(super) fn correct_scheme<B>(&self, request: &mut Request<B>) {
        let Some(scheme) = &self.scheme else { return };
        let mut parts = request.uri().clone().into_parts();
        parts.scheme = Some(scheme.clone());
        // The target is absolute, and stays so.
        if let Ok(target) = Uri::from_parts(parts) {
            *request.uri_mut() = target;
        }
    }
}

/// Whether an address lies in one of these blocks.
pub(super) fn contains(nets: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    nets.iter().any(|net| net.contains(&address))
}

/// The last address of `X-Forwarded-For` that is not a trusted proxy itself; where all are, the first. What stands before it was
/// written by nobody whom we trust, and is not read. `None` where there is no such field: the proxy asks for itself.
fn named(headers: &HeaderMap, trusted: &[IpNet]) -> Result<Option<SocketAddr>, Failure> {
    const FIELD: &str = "x-forwarded-for";
    let mut first = None;
    for element in elements(headers, FIELD) {
        let address = address(element).ok_or(Failure::BadRequest("X-Forwarded-For is not a list of addresses"))?;
        if !contains(trusted, address.ip()) {
            return Ok(Some(address));
        }
        first = Some(address);
    }
    match first {
        None if headers.contains_key(FIELD) => Err(Failure::BadRequest("X-Forwarded-For names nobody")),
        first => Ok(first),
    }
}

/// The elements of a list field from last to first, all its lines together. Empty ones do not count (RFC 9110 §5.6.1.2).
fn elements<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).iter().rev();
    let elements = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

fn last<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a [u8]> {
    elements(headers, name).next()
}

/// An address with or without a port; one of IPv6 may stand in brackets, and must where it has a port.
fn address(element: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(element).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).filter(|bare| bare.contains(':'));
    let address = bare.unwrap_or(text).parse::<IpAddr>().map(|address| SocketAddr::new(address, 0));
    address.or_else(|_| text.parse()).ok().map(|found| SocketAddr::new(found.ip().to_canonical(), found.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(peer: &str, lines: &[&[u8]]) -> Result<(String, Option<IpAddr>), Failure> {
        let client = Arc::new(Client {
            address: format!("{peer}:1000").parse().unwrap(),
            local: "127.0.0.1:80".parse().unwrap(),
            tls: None,
            certificate: None,
        });
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", http::HeaderValue::from_bytes(line).unwrap());
        }
        let caller = Caller::read(&client, &headers, &["10.0.0.0/8".parse().unwrap()])?;
        Ok((caller.client.address.ip().to_string(), caller.proxy))
    }

    #[test]
    fn only_a_trusted_peer_is_believed() {
        let spoken: &[&[u8]] = &[b"203.0.113.9"];
        assert_eq!(from("192.0.2.1", spoken).unwrap(), ("192.0.2.1".to_owned(), None));
        assert_eq!(from("10.0.0.1", spoken).unwrap(), ("203.0.113.9".to_owned(), "10.0.0.1".parse().ok()));
        from("192.0.2.1", &[b"rubbish"]).unwrap();
    }

    #[test]
    fn the_last_address_that_is_no_proxy_is_the_client() {
        let lines: [(&[&[u8]], &str); 10] = [
            (&[b"198.51.100.1, 203.0.113.9"], "203.0.113.9"),
            (&[b"198.51.100.1", b"203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            (&[b"203.0.113.9,10.0.0.3 , ,\t10.0.0.2,"], "203.0.113.9"),
            (&[b"10.0.0.4, 10.0.0.3"], "10.0.0.4"),
            (&[b"203.0.113.9:4711"], "203.0.113.9"),
            (&[b"2001:db8::9"], "2001:db8::9"),
            (&[b"[2001:db8::9]:4711, [::ffff:10.0.0.2]"], "2001:db8::9"),
            (&[b"::ffff:203.0.113.9"], "203.0.113.9"),
            (&[b"\xff, unknown, 203.0.113.9"], "203.0.113.9"),
            (&[], "10.0.0.1"),
        ];
        for (lines, client) in lines {
            assert_eq!(from("10.0.0.1", lines).unwrap().0, client, "{lines:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_nobody_and_never_the_proxy() {
        let lines: [&[&[u8]]; 10] = [
            &[b"203.0.113.9, \xff"],
            &[b"\xff"],
            &[b"203.0.113.9, unknown"],
            &[b"203.0.113.9", b"x\xe9, 10.0.0.2"],
            &[b"1.2.3"],
            &[b"1.2.3.4:"],
            &[b"1.2.3.4:99999"],
            &[b"[1.2.3.4]"],
            &[b""],
            &[b" , "],
        ];
        for lines in lines {
            assert_eq!(from("10.0.0.1", lines).unwrap_err().code(), "bad_request", "{lines:?}");
        }
    }
}
