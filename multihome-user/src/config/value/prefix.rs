//! IPv6 prefixes of networks, for prefix translation.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use super::ValueError;

/// An IPv6 prefix of 1 to 64 bits that a network can have, without bits beyond its length.
///
/// 64 is the most because RFC 6296 needs 16 bits beyond the prefix to keep checksums right, and
/// takes them from the interface identifier when the prefix is longer than 48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ipv6Prefix {
    network: Ipv6Addr,
    length: u8,
}

impl Ipv6Prefix {
    /// The longest that there is, in bits.
    pub const MAX_LENGTH: u8 = 64;

    /// Its address, zero beyond the length.
    pub const fn network(self) -> Ipv6Addr {
        self.network
    }

    /// Its length in bits, 1 to 64.
    pub const fn length(self) -> u8 {
        self.length
    }

    /// Whether there are addresses that both have.
    pub fn overlaps(self, other: Self) -> bool {
        let shorter = mask(self.length.min(other.length));
        self.network.to_bits() & shorter == other.network.to_bits() & shorter
    }
}

impl FromStr for Ipv6Prefix {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let not_a_prefix = || ValueError::Prefix(text.into());
        let (address, length) = text.split_once('/').ok_or_else(not_a_prefix)?;
        let address: Ipv6Addr = address.parse().map_err(|_| not_a_prefix())?;
        let digits = length.bytes().all(|b| b.is_ascii_digit());
        let length: u8 = length.parse().map_err(|_| not_a_prefix())?;
        if !digits || !(1..=Self::MAX_LENGTH).contains(&length) {
            return Err(not_a_prefix());
        }
        let network = Ipv6Addr::from_bits(address.to_bits() & mask(length));
        if network != address {
            return Err(ValueError::HostBits {
                given: text.into(),
                network: network.into(),
                length,
            });
        }
        let prefix = Self { network, length };
        match prefix.unusable() {
            Some(reason) => Err(ValueError::UnusablePrefix {
                given: text.into(),
                reason,
            }),
            None => Ok(prefix),
        }
    }
}

impl Ipv6Prefix {
    /// What in it no network can have.
    fn unusable(self) -> Option<&'static str> {
        let none = Ipv6Addr::UNSPECIFIED;
        let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
        let multicast = Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0);
        [
            (none, self.length, "the unspecified address"),
            (link_local, 10, "link-local addresses"),
            (multicast, 8, "multicast addresses"),
        ]
        .into_iter()
        .find(|(other, length, _)| {
            // Two prefixes have addresses in common when the shorter one begins the longer one.
            let mask = mask(self.length.min(*length));
            self.network.to_bits() & mask == other.to_bits() & mask
        })
        .map(|(_, _, reason)| reason)
    }
}

/// The first `length` bits set, of 1 to 128.
const fn mask(length: u8) -> u128 {
    u128::MAX << (128 - length as u32)
}

impl fmt::Display for Ipv6Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prefixes_are_of_networks() {
        for good in [
            "2001:db8:1::/48",
            "fd00::/8",
            "2000::/3",
            "fd12:3456:789a:1::/64",
        ] {
            let prefix: Ipv6Prefix = good.parse().expect(good);
            assert_eq!(prefix.to_string(), good);
        }
        let prefix: Ipv6Prefix = "2001:DB8:0:0::/56".parse().expect("a prefix");
        assert_eq!(
            (prefix.network(), prefix.length()),
            ("2001:db8::".parse().expect("an address"), 56)
        );
        for bad in [
            "",
            "2001:db8::",
            "2001:db8::/0",
            "2001:db8::/65",
            "2001:db8::/+48",
            "2001:db8::/-1",
            "2001:db8::/",
            "2001:db8::/48/48",
            "2001:db8::/300",
            "192.0.2.0/24",
        ] {
            assert_eq!(
                bad.parse::<Ipv6Prefix>(),
                Err(ValueError::Prefix(bad.into()))
            );
        }
    }

    #[test]
    fn explains_what_no_network_can_have() {
        for (text, message) in [
            (
                "2001:db8:1::1/48",
                "\"2001:db8:1::1/48\" has bits set beyond its length; the prefix is \
                 \"2001:db8:1::/48\"",
            ),
            (
                "fe80::/64",
                "\"fe80::/64\" cannot be a network's prefix: it has link-local addresses in it",
            ),
            (
                "ff00::/16",
                "\"ff00::/16\" cannot be a network's prefix: it has multicast addresses in it",
            ),
            (
                "8000::/1",
                "\"8000::/1\" cannot be a network's prefix: it has link-local addresses in it",
            ),
            (
                "::/64",
                "\"::/64\" cannot be a network's prefix: it has the unspecified address in it",
            ),
        ] {
            assert_eq!(text.parse::<Ipv6Prefix>().unwrap_err().to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(bits: u128, length in 1..=64_u8) {
            let text = format!("{}/{length}", Ipv6Addr::from_bits(bits & mask(length)));
            if let Ok(prefix) = text.parse::<Ipv6Prefix>() {
                prop_assert_eq!(prefix.to_string(), text);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9a-f:/.]{0,30}") {
            let _ = text.parse::<Ipv6Prefix>();
        }
    }
}
