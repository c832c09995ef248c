//! How many connections each client address has: one address that opens them without end leaves the node's to the others.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;

/// The counts of all cores together.
#[derive(Debug)]
pub(super) struct Addresses {
    most: u64,
    /// Whose connections are many clients'.
    proxies: Vec<IpNet>,
    open: Mutex<HashMap<IpAddr, u64>>,
}

/// One connection of its address, for as long as it is there.
#[derive(Debug)]
pub(super) struct Counted {
    addresses: Arc<Addresses>,
    client: Option<IpAddr>,
}

impl Addresses {
    pub(super) fn new(most: u64, proxies: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Self { most, proxies, open: Mutex::default() })
    }

    /// One connection more, or `None` where its address has all that it may have.
    pub(super) fn count(self: &Arc<Self>, peer: IpAddr) -> Option<Counted> {
        let peer = peer.to_canonical();
        let client = (!self.proxies.iter().any(|net| net.contains(&peer))).then(|| client(peer));
        if let Some(client) = client {
            let mut open = self.lock();
            let count = open.entry(client).or_default();
            if *count >= self.most {
                return None;
            }
            *count += 1;
        }
        Some(Counted { addresses: Arc::clone(self), client })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, u64>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A site gets at least a /64 of IPv6 addresses, all of which one client may use (RFC 6177).
fn client(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        IpAddr::V4(_) => peer,
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some(client) = self.client else { return };
        let mut open = self.addresses.lock();
        if let Some(count) = open.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_so_many_and_takes_none_of_another_s() {
        let addresses = Addresses::new(2, Vec::new());
        let held = [addresses.count(ip("192.0.2.1")).unwrap(), addresses.count(ip("::ffff:192.0.2.1")).unwrap()];
        assert!(addresses.count(ip("192.0.2.1")).is_none());
        assert!(addresses.count(ip("192.0.2.2")).is_some());
        drop(held);
        assert!(addresses.count(ip("192.0.2.1")).is_some());
        assert!(addresses.lock().is_empty(), "who has gone is forgotten");
    }

    #[test]
    fn the_addresses_of_an_ipv6_site_are_one_client_s_and_a_trusted_proxy_is_not_counted() {
        let addresses = Addresses::new(1, vec!["203.0.113.0/24".parse().unwrap()]);
        let _first = addresses.count(ip("2001:db8::1")).unwrap();
        assert!(addresses.count(ip("2001:db8::ffff:2")).is_none());
        let _other = addresses.count(ip("2001:db8:0:1::1")).unwrap();
        let _proxied = [addresses.count(ip("203.0.113.9")).unwrap(), addresses.count(ip("203.0.113.9")).unwrap()];
    }
}
