//! Which addresses are public. A worker's own allow list may lead to these and to nothing else: the names on the list are the
//! worker's, and so may be their DNS records.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is globally reachable unicast, by the IANA special-purpose registries (RFC 6890), and no other address hides
/// in it.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

fn v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0, ..]                         // "this network", and the unspecified address (RFC 791 §3.2)
            | [10, ..]                  // private (RFC 1918)
            | [100, 64..=127, ..]       // shared by a carrier's customers (RFC 6598)
            | [127, ..]                 // loopback (RFC 1122 §3.2.1.3)
            | [169, 254, ..]            // link-local (RFC 3927), and the metadata services of clouds
            | [172, 16..=31, ..]        // private
            | [192, 0, 0, _]            // protocol assignments (RFC 6890)
            | [192, 0, 2, _]            // documentation (RFC 5737)
            | [192, 88, 99, _]          // relays of 6to4 (RFC 7526)
            | [192, 168, ..]            // private
            | [198, 18..=19, ..]        // benchmarks (RFC 2544)
            | [198, 51, 100, _]         // documentation
            | [203, 0, 113, _]          // documentation
            | [224..=255, ..] // multicast, reserved, broadcast (RFC 1112, RFC 919)
    )
}

fn v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    match segments {
        // Outside 2000::/3 nothing is assigned to be reached (RFC 4291 §2.4). That covers ::, ::1, IPv4-mapped and
        // IPv4-compatible addresses, NAT64 (64:ff9b::/96, 64:ff9b:1::/48), fc00::/7, fe80::/10, fec0::/10, ff00::/8.
        [0..=0x1fff | 0x4000..=0xffff, ..] => false,
        // Protocol assignments (RFC 2928), Teredo 2001::/32 among them, and documentation.
        [0x2001, 0..=0x01ff | 0x0db8, ..] => false,
        // 6to4 holds an IPv4 address (RFC 3056 §2).
        [0x2002, ..] => false,
        // Documentation, the second block (RFC 9637).
        [0x3fff, 0..=0x0fff, ..] => false,
        // ISATAP: the interface identifier ends in an IPv4 address, which a router on the way may unpack (RFC 5214 §6.1).
        [.., 0 | 0x0200, 0x5efe, high, low] => v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::is_public;

    #[test]
    fn private_reserved_and_disguised_addresses_are_not_public() {
        let refused = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "::8.8.8.8",
            "64:ff9b::10.0.0.1",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::a00:1",
            "100::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::",
            "3fff::1",
            "4000::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "2600::5efe:10.0.0.1",
            "2600::200:5efe:127.0.0.1",
        ];
        for text in refused {
            assert!(!is_public(text.parse().unwrap()), "{text} is not public");
        }
        let accepted = [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.0.3.1",
            "192.167.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2001:200::1",
            "2003::1",
            "2600::1",
            "2a00:1450::1",
            "2600::5efe:8.8.8.8",
        ];
        for text in accepted {
            assert!(is_public(text.parse().unwrap()), "{text} is public");
        }
    }
}
