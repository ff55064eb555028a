//! What an uplink translates the LAN's IPv6 prefix to: a prefix that is written down, or one that the
//! provider delegates.

use std::{fmt, str::FromStr};

use super::{Ipv6Prefix, ValueError};

/// The word for a prefix that is not written down.
const DELEGATED: &str = "delegated";

/// What an uplink translates the LAN's IPv6 prefix to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UplinkPrefix {
    /// This prefix.
    Fixed(Ipv6Prefix),
    /// What the provider delegates now, as `multihome prefix` tells.
    Delegated,
}

impl FromStr for UplinkPrefix {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == DELEGATED {
            return Ok(Self::Delegated);
        }
        match text.parse() {
            Ok(prefix) => Ok(Self::Fixed(prefix)),
            Err(ValueError::Prefix(given)) => Err(ValueError::UplinkPrefix(given)),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for UplinkPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(prefix) => prefix.fmt(f),
            Self::Delegated => f.write_str(DELEGATED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_prefix_or_delegated() {
        for good in ["2001:db8:1::/48", "delegated"] {
            let prefix: UplinkPrefix = good.parse().expect(good);
            assert_eq!(prefix.to_string(), good);
        }
        assert_eq!(
            "delgated".parse::<UplinkPrefix>().unwrap_err().to_string(),
            "\"delgated\" is neither an IPv6 prefix of a network with a length of 1 to 64, such as \
             \"2001:db8:1::/48\", nor \"delegated\""
        );
        let error = "fe80::/64".parse::<UplinkPrefix>().unwrap_err();
        assert!(
            matches!(error, ValueError::UnusablePrefix { .. }),
            "{error}"
        );
    }
}
