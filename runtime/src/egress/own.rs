//! The node's own listeners, which nothing that leaves the node may reach.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

/// The addresses that this node listens on, for clients and for its operator, as bound: port 0 must have become a port.
///
/// A worker that reached them could speak to the operator's listener, or call itself without end.
#[derive(Clone, Debug, Default)]
pub struct Own(Arc<[SocketAddr]>);

impl Own {
    /// The node's listeners, the operator's included.
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self(addresses.into_iter().collect())
    }

    /// Whether dialling this address would end at one of the listeners. A wildcard listener is behind every address of this
    /// machine, and the kernel takes the unspecified address for loopback.
    #[must_use]
    pub fn reaches(&self, target: SocketAddr) -> bool {
        self.0.iter().any(|own| own.port() == target.port() && same_host(own.ip().to_canonical(), target))
    }
}

fn same_host(own: IpAddr, target: SocketAddr) -> bool {
    let address = target.ip().to_canonical();
    own == address
        || (own.is_unspecified() && is_local(target))
        || (address.is_unspecified() && (own.is_loopback() || own.is_unspecified()))
}

/// Whether an address belongs to this machine: the kernel lets a socket be bound to it. Nothing is sent. It is asked only for
/// the port of a wildcard listener, and interfaces may come and go, so the answer is not kept.
fn is_local(mut target: SocketAddr) -> bool {
    let address = target.ip().to_canonical();
    target.set_port(0);
    address.is_loopback() || address.is_unspecified() || UdpSocket::bind(target).is_ok()
}

#[cfg(test)]
mod tests {
    use super::Own;

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
}
