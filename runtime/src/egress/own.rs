//! This node, as the way out knows it: its listeners, which nothing that leaves the node may reach, and its signature.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use http::HeaderMap;

use super::hops::{Passed, Signature};
use crate::failure::Failure;

/// The addresses that this node listens on, for clients and for its operator, as bound: port 0 must have become a port.
///
/// A worker that reached them could speak to the operator's listener, or call itself without end. Where the way back leads through
/// another server, the signature tells.
#[derive(Clone, Debug)]
pub struct Own {
    listeners: Arc<[SocketAddr]>,
    signature: Signature,
}

impl Default for Own {
    fn default() -> Self {
        Self::new([])
    }
}

impl Own {
    /// The node's listeners, the operator's included.
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { listeners: addresses.into_iter().collect(), signature: Signature::new() }
    }

    /// Whether dialling this address would end at one of the listeners. A wildcard listener is behind every address of this
    /// machine, and the kernel takes the unspecified address for loopback.
    #[must_use]
    pub fn reaches(&self, target: SocketAddr) -> bool {
        self.listeners.iter().any(|own| own.port() == target.port() && same_host(own.ip().to_canonical(), target))
    }

    /// What a request that arrived with these fields says of its way when it goes on.
    ///
    /// # Errors
    /// When it has left this node `limit` times already.
    pub(super) fn sign(&self, headers: &HeaderMap, limit: u64) -> Result<Passed, Failure> {
        self.signature.sign(headers, limit)
    }
}

fn same_host(own: IpAddr, target: SocketAddr) -> bool {
    let address = target.ip().to_canonical();
    own == address
        || (own.is_unspecified() && is_local(target))
        || (address.is_unspecified() && (own.is_loopback() || own.is_unspecified()))
}

/// Whether an address belongs to this machine. To reach an address of its own, the kernel uses that same address as the source, so
/// a socket is asked where it would send from. Nothing is sent. That a socket can be bound to an address would prove nothing:
/// with `ip_nonlocal_bind` it can be bound to any. This is asked only for the port of a wildcard listener, and interfaces may
/// come and go, so the answer is not kept.
fn is_local(target: SocketAddr) -> bool {
    let address = target.ip().to_canonical();
    if address.is_loopback() || address.is_unspecified() {
        return true;
    }
    let any = match address {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let target = if address == target.ip() { target } else { SocketAddr::new(address, target.port()) };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(target)?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reaches(own: &str, target: &str) -> bool {
        Own::new([own.parse().unwrap()]).reaches(target.parse().unwrap())
    }

    #[test]
    fn a_listener_is_reached_by_its_address_in_every_form() {
        assert!(reaches("127.0.0.1:80", "127.0.0.1:80"));
        assert!(reaches("127.0.0.1:80", "[::ffff:127.0.0.1]:80"));
        assert!(reaches("127.0.0.1:80", "0.0.0.0:80"));
        assert!(reaches("[::1]:80", "[::]:80"));
        assert!(!reaches("127.0.0.1:80", "127.0.0.1:81"));
        assert!(!reaches("127.0.0.1:80", "127.0.0.2:80"));
    }

    #[test]
    fn a_wildcard_listener_is_reached_by_every_address_of_the_machine() {
        for own in ["0.0.0.0:80", "[::]:80"] {
            for target in ["127.0.0.1:80", "127.8.9.1:80", "[::1]:80", "0.0.0.0:80", "[::]:80", "[::ffff:127.0.0.1]:80"]
            {
                assert!(reaches(own, target), "{own} {target}");
            }
            assert!(!reaches(own, "127.0.0.1:81"));
            // TEST-NET-3 (RFC 5737) is nobody's.
            assert!(!reaches(own, "203.0.113.1:80"));
        }
    }

    /// Where the machine has an address besides loopback, the socket that reaches a foreign network shows it.
    #[test]
    fn an_address_of_an_interface_is_local() {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("203.0.113.1:80").is_ok() {
            let outward = socket.local_addr().unwrap().ip();
            assert!(is_local(SocketAddr::new(outward, 80)), "{outward}");
        }
    }
}
