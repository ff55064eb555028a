//! Delegated prefixes: what `multihome prefix` tells of an uplink, and where it is kept.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::config::{Ipv6Prefix, ValueError};

pub mod command;
pub mod file;

/// The word for a prefix that is no longer delegated.
const NONE: &str = "none";

/// What is told of the prefix of an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delegation {
    /// The provider delegates this one now.
    Prefix(Ipv6Prefix),
    /// The provider delegates none any more.
    Withdrawn,
}

impl Delegation {
    /// The prefix that is delegated.
    pub const fn prefix(self) -> Option<Ipv6Prefix> {
        match self {
            Self::Prefix(prefix) => Some(prefix),
            Self::Withdrawn => None,
        }
    }
}

impl FromStr for Delegation {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == NONE {
            return Ok(Self::Withdrawn);
        }
        text.parse().map(Self::Prefix)
    }
}

impl fmt::Display for Delegation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) => prefix.fmt(f),
            Self::Withdrawn => f.write_str(NONE),
        }
    }
}

impl Serialize for Delegation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Delegation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_prefix_or_none() {
        for good in ["2001:db8:1::/48", "none"] {
            let delegation: Delegation = good.parse().expect(good);
            assert_eq!(delegation.to_string(), good);
            let json = serde_json::to_string(&delegation).expect("a text");
            assert_eq!(json, format!("{good:?}"));
            assert_eq!(
                serde_json::from_str::<Delegation>(&json).expect("a text"),
                delegation
            );
        }
        for bad in ["", "None", "delegated", "2001:db8:1::1/48", "2001:db8::/65"] {
            assert!(bad.parse::<Delegation>().is_err(), "{bad}");
        }
    }
}
