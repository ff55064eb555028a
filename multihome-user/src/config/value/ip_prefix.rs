//! Prefixes of either family, as rules name them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use super::ValueError;

/// A prefix of IPv4 or IPv6 addresses, without bits beyond its length; a single address is one of full length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IpPrefix {
    network: IpAddr,
    length: u8,
}

impl IpPrefix {
    /// Its address, zero beyond the length.
    pub const fn network(self) -> IpAddr {
        self.network
    }

    /// Its length in bits: 0 to 32, or to 128.
    pub const fn length(self) -> u8 {
        self.length
    }

    /// Whether it is of IPv4 addresses.
    pub const fn is_ipv4(self) -> bool {
        self.network.is_ipv4()
    }

    /// Its first and its last address as numbers.
    pub fn range(self) -> (u128, u128) {
        let (first, bits) = number(self.network);
        let beyond = bits - u32::from(self.length);
        let rest = if beyond == 128 {
            u128::MAX
        } else {
            (1 << beyond) - 1
        };
        (first, first | rest)
    }
}

/// An address as a number, and how many bits its family's have.
fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (v4.to_bits().into(), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

impl FromStr for IpPrefix {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let not_a_prefix = || ValueError::IpPrefix(text.into());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| not_a_prefix())?;
        let (bits, full) = number(address);
        let length = match length {
            None => full as u8,
            Some(length) => {
                let digits = length.bytes().all(|b| b.is_ascii_digit());
                let number = length.parse::<u8>().ok();
                number
                    .filter(|number| digits && u32::from(*number) <= full)
                    .ok_or_else(not_a_prefix)?
            }
        };
        let (_, last) = Self {
            network: address,
            length,
        }
        .range();
        let beyond = full - u32::from(length);
        let first = if beyond == 128 {
            0
        } else {
            last >> beyond << beyond
        };
        let network = match address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(first as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(first)),
        };
        if first != bits {
            return Err(ValueError::HostBits {
                given: text.into(),
                network,
                length,
            });
        }
        Ok(Self { network, length })
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if u32::from(self.length) == number(self.network).1 {
            write!(f, "{}", self.network)
        } else {
            write!(f, "{}/{}", self.network, self.length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prefixes_are_of_either_family() {
        for (text, first, last) in [
            ("10.0.0.0/8", 0x0a00_0000, 0x0aff_ffff),
            ("192.0.2.1", 0xc000_0201, 0xc000_0201),
            ("0.0.0.0/0", 0, 0xffff_ffff),
            ("::/0", 0, u128::MAX),
            ("::1", 1, 1),
            ("2001:db8::/32", 0x2001_0db8 << 96, (0x2001_0db9 << 96) - 1),
        ] {
            let prefix: IpPrefix = text.parse().expect(text);
            assert_eq!(
                (prefix.range(), prefix.to_string()),
                ((first, last), text.into())
            );
        }
        for bad in [
            "",
            "10.0.0/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "net",
            "10.0.0.0/8/8",
        ] {
            assert_eq!(
                bad.parse::<IpPrefix>(),
                Err(ValueError::IpPrefix(bad.into()))
            );
        }
        assert_eq!(
            "10.1.2.3/8".parse::<IpPrefix>().unwrap_err().to_string(),
            "\"10.1.2.3/8\" has bits set beyond its length; the prefix is \"10.0.0.0/8\""
        );
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(bits: u128, v4: bool, length in 0..=128_u8) {
            let (address, full): (IpAddr, _) = if v4 {
                (Ipv4Addr::from_bits(bits as u32).into(), 32)
            } else {
                (Ipv6Addr::from_bits(bits).into(), 128)
            };
            match format!("{address}/{}", length % (full + 1)).parse::<IpPrefix>() {
                Ok(prefix) => prop_assert_eq!(prefix.to_string().parse(), Ok(prefix)),
                Err(ValueError::HostBits { network, length, .. }) => {
                    let text = format!("{network}/{length}");
                    prop_assert!(text.parse::<IpPrefix>().is_ok());
                }
                Err(error) => prop_assert!(false, "{}", error),
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9a-f:/.]{0,30}") {
            let _ = text.parse::<IpPrefix>();
        }
    }
}
